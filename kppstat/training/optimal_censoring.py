"""Threshold and sigma of right-censored training noise from the gradient of the predicted KPP, without any training.

TRICE looks for the sigma of its noise by training three copies of the network and measuring whose KPP is best; its
threshold is chosen by hand. Here one question is asked instead: under which noise does a step of training raise the KPP
most? To first order a step along ``d``, the mean descent direction of the loss under the noise, changes the predicted
KPP by the product of ``d`` with the gradient of the predicted KPP, which the analytic core gives once for all
candidates. Ours.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kppstat import data as data_room
from kppstat.data import Dataset
from kppstat.errors import DataError, SettingError
from kppstat.noise import NoiseModel, RightCensored, Variation, variation_of
from kppstat.onnx_io import Model, load
from kppstat.performance import performance_named
from kppstat.prediction import kpp_gradients
from kppstat.training.graph_network import GraphNetwork
from kppstat.training.network import Values
from kppstat.training.objective import as_targets, objective_for
from kppstat.training.seeds import mixed
from kppstat.training.strategies.rcg import Rcg
from kppstat.training.variation import equal_sigma, programmed

#: In units of sigma; the published code tries 0.5 to 2, and noise censored at 3 is all but Gaussian.
THRESHOLDS = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
#: In units of the device's own sigma.
REACHES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
_STREAM = 0xCE4504
_STEP = 0.01  # root mean square of a step, in units of max|W|


@dataclass(frozen=True)
class Candidate:
    """A training noise and what a step of training under it does to the predicted KPP.

    Attributes
    ----------
    threshold : float
        Largest deviation in units of sigma.
    sigma : float
        Before censoring, in units of each tensor's max|W|.
    slope : float
        Change of the predicted KPP for a step that moves every tensor by a root mean square of one hundredth of its
        max|W|.
    """

    threshold: float
    sigma: float
    slope: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Censoring:
    """The candidates, best first, and what it took to find them.

    Attributes
    ----------
    candidates : tuple of Candidate
    kpp : float
        Predicted KPP of the network as it was given.
    k : float
    evaluations : float
        Cost in full passes over the inputs.
    seconds : float
    guarantee : str
    """

    candidates: tuple[Candidate, ...]
    kpp: float
    k: float
    evaluations: float
    seconds: float
    guarantee: str = "none"

    @property
    def best(self) -> Candidate:
        """The candidate that raises the predicted KPP fastest."""
        return self.candidates[0]

    def strategy(self) -> Rcg:
        """Return the training that uses it: `rcg` without its search."""
        return Rcg(threshold=self.best.threshold, sigma=self.best.sigma)

    def summary(self) -> str:
        """Return one sentence."""
        return (
            f"Right-censored noise of sigma {self.best.sigma:.3g}, cut at {self.best.threshold:g} sigma, raises the "
            f"predicted KPP({self.k:g}) of {100 * self.kpp:.2f} % fastest; found at the cost of {self.evaluations:.0f} "
            "evaluations."
        )


def censoring(
    model: str | Path | Model,
    *,
    data: Any,
    sigma: float | None = None,
    noise: Variation | NoiseModel | None = None,
    k: float = 1.0,
    thresholds: Sequence[float] = THRESHOLDS,
    reaches: Sequence[float] = REACHES,
    inputs: int = 256,
    draws: int = 16,
    seed: int = 0,
) -> Censoring:
    """Find the right-censored noise to train with.

    Parameters
    ----------
    model : path or Model
    data : str, path or Dataset
        Labelled inputs to train on, never those of the test.
    sigma : float, optional
        Additive Gaussian device variation; give this or `noise`.
    noise : Variation or NoiseModel, optional
    k : float
        Percent of instances that may fall below.
    thresholds, reaches : sequence of float
        Candidates: where noise is censored in units of its sigma, and its sigma in units of the device's.
    inputs : int
        Inputs that the prediction follows, and that each draw of noise is differentiated on.
    draws : int
        Draws of noise for each candidate, about as many as the momentum of Adam averages over; all candidates share
        their standard normals.
    seed : int

    Returns
    -------
    Censoring
        Give its `strategy()` to `kppstat.train`.

    Raises
    ------
    KppstatError
        If the model cannot be predicted or trained, or a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from tempfile import TemporaryDirectory
    >>> from kppstat.demo import DATA, MODEL
    >>> with np.load(DATA) as every, TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/few.npz", x=every["x"][:60], y=every["y"][:60])
    ...     found = censoring(MODEL, data=f"{folder}/few.npz", sigma=0.1, thresholds=[1], reaches=[1, 1.5], draws=2)
    >>> found.strategy().threshold, len(found.candidates)
    (1.0, 2)
    """
    begun = time.monotonic()
    if not thresholds or not reaches or draws < 2:
        raise SettingError("there must be a threshold, a reach and two draws at least", where="censoring")
    model = model if isinstance(model, Model) else load(model)
    dataset = data if isinstance(data, Dataset) else data_room.load(data, model)
    if dataset.targets is None:
        raise DataError("there are no targets to train on", where=dataset.source, remedy="Add an array y of labels")
    variation = variation_of(sigma, noise)
    steps = _Steps(model, dataset, dataset.targets, inputs, draws, seed)
    size = equal_sigma(steps.network.start, steps.network.noisy, variation)
    if size == 0:
        raise SettingError("there is no device variation to train for", where="sigma", remedy="Give one above 0")
    predicted = kpp_gradients(model, variation, dataset, k, inputs=min(inputs, len(dataset)), seed=seed)
    towards = {n: np.asarray(slope, np.float64) * steps.scale[n] for n, slope in predicted.by_value.items()}
    found = []
    for threshold, reach in product(thresholds, reaches):
        direction = steps.direction(RightCensored(reach * size, threshold))
        found.append(Candidate(float(threshold), reach * size, _slope(direction, towards)))
    passes = 3 * draws * len(found) * steps.passed
    return Censoring(
        candidates=tuple(sorted(found, key=lambda c: -c.slope)),
        kpp=predicted.kpp,
        k=k,
        evaluations=predicted.evaluations + passes / len(dataset),
        seconds=time.monotonic() - begun,
    )


class _Steps:
    """Descent directions of the loss under noise, averaged over draws, in units of each tensor's max|W|."""

    def __init__(self, model: Model, data: Dataset, targets: np.ndarray, inputs: int, draws: int, seed: int) -> None:
        self.network = GraphNetwork(model, torch.device("cpu"))
        self.data, self.targets, self.draws, self.seed = data, targets, draws, seed
        self.scale = {n: float(self.network.start[n].abs().max()) for n in self.network.noisy}
        self.passed = self.network.group or min(inputs, len(data))
        order = np.random.default_rng([seed, _STREAM]).permutation(len(data))
        self.rows = [np.sort(np.resize(order, draws * self.passed)[i::draws]) for i in range(draws)]
        outputs = self._outputs(self.network.start, self.rows[0])
        self.objective = objective_for(
            performance_named("top-1"), outputs.detach().numpy(), targets[self.rows[0]], targets
        )

    def direction(self, noise: RightCensored) -> Values:
        """Return the mean descent direction."""
        total = {n: torch.zeros_like(self.network.start[n]) for n in self.network.noisy}
        for i in range(self.draws):
            for name, slope in self._gradients(noise, i).items():
                total[name] -= slope / self.draws
        return total

    def _gradients(self, noise: RightCensored, i: int) -> Values:
        start = self.network.start
        leaves = {n: start[n].clone().requires_grad_() for n in self.network.noisy}
        generator = torch.Generator().manual_seed(mixed(self.seed, _STREAM, i))
        drawn = programmed({**start, **leaves}, self.network.noisy, Variation(noise), generator)
        rows = self.rows[i]
        loss = self.objective(self._outputs(drawn, rows), as_targets(self.targets[rows], torch.device("cpu")))
        slopes = torch.autograd.grad(loss, list(leaves.values()))
        return {n: g * self.scale[n] for n, g in zip(leaves, slopes, strict=True)}

    def _outputs(self, values: Mapping[str, Tensor], rows: np.ndarray) -> Tensor:
        inputs = {n: torch.from_numpy(a.copy()) for n, a in self.data.batch(rows).items()}
        return self.network.run(values, self.network.statistics, inputs, training=False)[0]


def _slope(direction: Values, towards: Mapping[str, np.ndarray]) -> float:
    """Return the change of the KPP for a step of the same root mean square in every tensor, as that of Adam is."""
    total = 0.0
    for name, d in direction.items():
        length = float(d.square().mean().sqrt())
        if length > 0:
            total += float((torch.from_numpy(towards[name]).to(d) * d).sum()) / length
    return _STEP * total
