"""A training from question to result: load, check, run, write."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kppstat import data as data_room
from kppstat.data import Dataset, from_arrays
from kppstat.data.dataset import content_hash
from kppstat.errors import DataError, ModelError, SettingError
from kppstat.noise import NoiseModel, Variation, variation_of
from kppstat.onnx_io import Model, load
from kppstat.performance import performance_named, require_output_each
from kppstat.sampling.study import versions
from kppstat.training.checkpoint import Checkpoint
from kppstat.training.examples import Examples
from kppstat.training.graph_network import GraphNetwork
from kppstat.training.loop import Loop, Progress
from kppstat.training.member import MakeOptimiser
from kppstat.training.module_network import ModuleNetwork
from kppstat.training.objective import objective_for
from kppstat.training.plan import Plan
from kppstat.training.precision import fast_precision
from kppstat.training.result import Training
from kppstat.training.strategies import Scene, Strategy, strategy_named
from kppstat.training.variation import equal_sigma

_LOOK = 64  # inputs that the loss and the strategy are fitted on


class Session:
    """A training: everything loaded and checked before the first step.

    Parameters
    ----------
    model : path, Model or torch.nn.Module
        An ONNX file, whose trained copy goes to `out`; or a module of one input, which is trained in place.
    strategy : str or Strategy
    plan : Plan
    variation : Variation
        The device variation to become robust to.
    data : str, path, Dataset or pair of arrays
        Labelled inputs to train on, never those of the test; a part is kept for validation.
    performance : str or callable
        As in `kppstat.estimate`.
    out : path, optional
        The ONNX file to write; ``model_STRATEGY.onnx`` beside the model if not given.
    checkpoint : path, optional
        Where an interrupted training can go on from: beside `out`, with ``.checkpoint`` behind, if not given. A module
        has none unless it is given.
    resume : bool
        Go on from the checkpoint.
    settings : mapping, optional
        Settings of the strategy by name.
    optimiser : callable, optional
        Makes a `torch.optim.Optimizer` of a list of tensors; Adam with the learning rate of the plan if not given.
    device : str, optional
        Torch device; CUDA where there is one if not given, in mixed precision (`kppstat.training.precision`).

    Raises
    ------
    KppstatError
        If model, data or settings cannot be used; the message says what to do.
    """

    def __init__(
        self,
        model: str | Path | Model | nn.Module,
        strategy: str | Strategy,
        plan: Plan,
        variation: Variation,
        *,
        data: Any,
        performance: Any = "top-1",
        out: str | Path | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        settings: Mapping[str, Any] | None = None,
        optimiser: MakeOptimiser | None = None,
        device: str | None = None,
    ) -> None:
        self.strategy = strategy if isinstance(strategy, Strategy) else strategy_named(strategy, settings)
        self.plan, self.variation = plan, variation
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network: GraphNetwork | ModuleNetwork
        self.out: Path | None = None
        self.notes: tuple[str, ...] = ()
        if isinstance(model, nn.Module):
            self.network, self.source = ModuleNetwork(model, self.device), type(model).__name__
            self.data = _module_data(data)
        else:
            loaded = model if isinstance(model, Model) else load(model)
            self.source, self.notes = str(loaded.path), loaded.notes
            self.network = GraphNetwork(loaded, self.device)
            self.out = (
                loaded.path.with_name(f"{loaded.path.stem}_{self.strategy.name}.onnx") if out is None else Path(out)
            )
            self._try_export(self.network, self.out)
            self.data = _onnx_data(data, loaded)
            if checkpoint is None:
                checkpoint = self.out.with_name(f"{self.out.name}.checkpoint")
        self.variation.require_matches(self.network.noisy)
        self.examples = Examples.split(self.data, plan.val_share, plan.val_inputs, plan.seed, self.device)
        self._check_group(self.network.group or 1)
        start = self.network.random(plan.seed) if plan.from_scratch else self.network.start
        self.scene = self._scene(start)
        self.performance = performance_named(performance)
        make = optimiser or self._adam
        identity = {**self._identity(start), "optimiser": _described(make(list(start.values())))}
        self.checkpoint = None if checkpoint is None else Checkpoint(Path(checkpoint), identity)
        if self.checkpoint is not None and not resume:
            self.checkpoint.refuse_existing()
        if resume and self.checkpoint is None:
            raise SettingError("there is no checkpoint to resume", where="resume", remedy="Name it with checkpoint=")
        labels = self.examples.targets[self.examples.train[: len(self.scene.outputs)]]
        objective = objective_for(self.performance, self.scene.outputs.cpu().numpy(), labels, self.examples.targets)
        self.performance, self.objective = objective.performance, objective
        self.loop = Loop(
            self.network,
            self.examples,
            objective,
            self.scene,
            self.strategy,
            plan,
            make=make,
            checkpoint=self.checkpoint,
            resume=resume,
        )
        self.stop_reason = "all epochs are done"

    def states(self) -> Iterator[Progress]:
        """Train, yielding where it stands."""
        yield from self.loop.run()

    def interrupt(self) -> None:
        """Say that the user stopped the training: the best epoch so far is kept, and the checkpoint too."""
        self.stop_reason = "interrupted"

    def finish(self) -> Training:
        """Write the best weights, and return the result.

        Raises
        ------
        SettingError
            If no epoch was completed.
        """
        loop = self.loop
        if loop.best is None:
            raise SettingError("no epoch was completed", remedy="Allow more time")
        values, statistics = loop.kept
        if isinstance(self.network, GraphNetwork):
            assert self.out is not None
            self.network.export(values, statistics, self.out)
        else:
            self.network.export(values, statistics)
        if self.checkpoint is not None and self.stop_reason != "interrupted":
            self.checkpoint.remove()
        return Training(
            strategy=self.strategy.to_dict(),
            plan=self.plan.to_dict(),
            noise=self.variation.to_dict(),
            best=loop.best,
            history=tuple(loop.history),
            performance=self.performance.name,
            loss=self.performance.loss,
            fraction=(self.performance.low, self.performance.high) == (0, 1),
            model=self.source,
            data=self.data.source,
            out="" if self.out is None else str(self.out),
            train_inputs=len(self.examples.train),
            val_inputs=len(self.examples.validation),
            seconds=loop.seconds,
            stop_reason=self.stop_reason,
            versions={**versions(), "torch": version("torch")},
            notes=(*self.notes, *self.data.notes),
        )

    def _adam(self, tensors: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(tensors, self.plan.lr)

    def _scene(self, start: dict[str, Tensor]) -> Scene:
        """Look at the network on a few inputs."""
        few = self.examples.train[: self.network.group or _LOOK]
        inputs, _ = self.examples.batch(few)
        try:
            with torch.no_grad():
                outputs, _ = self.network.run(start, self.network.statistics, inputs, training=False)
        except (RuntimeError, TypeError, ValueError) as error:  # a module says in its own way that inputs do not fit
            reason = str(error).strip().split("\n")[0]
            raise ModelError(f"cannot be run on the data: {reason}", where=self.source) from error
        require_output_each(outputs.shape, len(few))
        sigma = equal_sigma(start, self.network.noisy, self.variation)
        seed, precision = self.plan.seed, fast_precision(self.device)
        return Scene(self.network, start, self.variation, sigma, inputs, outputs, seed, precision)

    def _check_group(self, group: int) -> None:
        for rows, what in ((self.examples.train, "train on"), (self.examples.validation, "select on")):
            if len(rows) < group:
                raise DataError(
                    f"{len(rows)} inputs to {what} do not fill a batch of {group}, which the model fixes",
                    where=self.data.source,
                    remedy="Give more data, or another --val-share",
                )

    def _try_export(self, network: GraphNetwork, out: Path) -> None:
        """Find out now, and not after training, whether the file can hold every trained tensor."""
        if not out.parent.is_dir():
            raise SettingError("there is no such folder", where=str(out.parent), remedy="Make it first")
        with tempfile.TemporaryDirectory() as folder:
            network.export(network.start, network.statistics, Path(folder) / "trial.onnx")

    def _identity(self, start: dict[str, Tensor]) -> dict[str, Any]:
        arrays = {n: v.cpu().numpy() for n, v in start.items()}
        return {
            "model": content_hash(arrays, None),
            "data": self.data.sha256,
            "noise": repr(self.variation.to_dict()),
            "strategy": repr(self.strategy.to_dict()),
            "settings": repr(self.plan.to_dict()),
            "performance": self.performance.name,
            "torch": version("torch"),
            "loop": 3,  # of what a step does; grows when that changes
        }


def _described(optimiser: torch.optim.Optimizer) -> str:
    return f"{type(optimiser).__name__} {optimiser.defaults}"


def _onnx_data(data: Any, model: Model) -> Dataset:
    if data is None:
        raise DataError(
            "no data was given to train on", where="--data", remedy="Give labelled inputs other than the test set"
        )
    if isinstance(data, tuple):
        targets = None if data[1] is None else _array(data[1])
        return from_arrays({"x": _array(data[0])}, targets, model)
    return data if isinstance(data, Dataset) else data_room.load(data, model)


def _module_data(data: Any) -> Dataset:
    if isinstance(data, Dataset):
        return data
    if not isinstance(data, tuple) or len(data) != 2:
        raise DataError("the data of a module must be a pair", where="data", remedy="Give (inputs, targets) as arrays")
    x, y = _array(data[0]), _array(data[1])
    if not x.ndim or len(x) != len(y):
        raise DataError(f"{x.shape} inputs and {y.shape} targets differ in length", where="data")
    inputs = {"x": x}
    return Dataset(inputs, {"x": x.dtype}, frozenset(), y, "arrays", content_hash(inputs, y), ())


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def train(
    model: str | Path | Model | nn.Module,
    strategy: str | Strategy = "kpp",
    *,
    sigma: float | None = None,
    noise: Variation | NoiseModel | None = None,
    data: Any,
    **settings: Any,
) -> Training:
    """Train a network so that its k-th percentile performance under device variation is good.

    Parameters
    ----------
    model : path, Model or torch.nn.Module
        An ONNX file, whose trained copy goes to `out`; or a module of one input, which is trained in place.
    strategy : str or Strategy
        See `kppstat.training.strategies`.
    sigma : float, optional
        Additive Gaussian variation of this standard deviation, in units of each tensor's max abs weight.
    noise : Variation or NoiseModel, optional
        Any other device variation; give this or `sigma`.
    data : str, path, Dataset or pair of arrays
        Labelled inputs to train on, never those of the test; a part is kept for validation.
    **settings
        The fields of `Plan` (epochs, seed, k, batch, lr, val_share, instances, val_inputs, from_scratch, augment) and
        of `Session` (performance, out, checkpoint, resume, settings, optimiser, device).

    Returns
    -------
    Training
        Ctrl-C ends with the best weights so far.

    Raises
    ------
    KppstatError
        If model, data or settings cannot be used; the message says what to do.

    Examples
    --------
    >>> import tempfile, kppstat
    >>> from kppstat.demo import DATA, MODEL
    >>> with np.load(DATA) as few, tempfile.TemporaryDirectory() as folder:
    ...     done = train(MODEL, "gaussian", sigma=0.1, data=(few["x"][:200], few["y"][:200]), epochs=1, instances=5,
    ...         out=f"{folder}/robust.onnx")
    ...     kppstat.load(done.out).weights[0].name
    'layers.0.weight'
    """
    asked = {name: settings.pop(name) for name in Plan.__dataclass_fields__ if name in settings}
    if "augment" in asked:
        asked["augment"] = tuple(asked["augment"])
    session = Session(model, strategy, replace(Plan(), **asked), variation_of(sigma, noise), data=data, **settings)
    try:
        for _ in session.states():
            pass
    except KeyboardInterrupt:
        session.interrupt()
    return session.finish()
