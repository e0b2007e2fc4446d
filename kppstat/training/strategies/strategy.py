"""What a strategy is: the few lines in which one way of training differs from another."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from kppstat.errors import SettingError
from kppstat.noise import Variation
from kppstat.training.network import Network, Values
from kppstat.training.objective import Objective
from kppstat.training.precision import products_in, raised
from kppstat.training.variation import programmed


@dataclass(frozen=True, eq=False)
class Scene:
    """What a strategy may look at before training begins.

    Attributes
    ----------
    network : Network
    start : dict of str to Tensor
        Where training starts.
    variation : Variation
        The device variation to become robust to.
    sigma : float
        Its size, as additive Gaussian variation of the same mean squared deviation.
    inputs : dict of str to Tensor
        A small mini-batch.
    outputs : Tensor
        What the network gives for them.
    seed : int
    precision : torch.dtype
        Type that products in training are computed in: see `Step.run`.
    """

    network: Network
    start: Values
    variation: Variation
    sigma: float
    inputs: Values
    outputs: Tensor
    seed: int
    precision: torch.dtype = torch.float32


@dataclass(frozen=True, eq=False)
class Step:
    """One mini-batch, as a strategy sees it.

    Attributes
    ----------
    scene : Scene
    values : dict of str to Tensor
        The trained tensors of the network; the optimiser changes them in place.
    extra : dict of str to Tensor
        The strategy's own trained tensors.
    inputs, targets : dict of str to Tensor, Tensor
    objective : Objective
    generator : torch.Generator
        For standard normals z.
    member : int
        Number of this member of the population.
    progress : float
        Share of all steps that is done.
    """

    scene: Scene
    values: Values
    extra: Values
    inputs: Values
    targets: Tensor
    objective: Objective
    generator: torch.Generator
    member: int
    progress: float

    def run(
        self, values: Mapping[str, Tensor], *, measured: Values | None = None, keep: Sequence[str] = ()
    ) -> tuple[Tensor, Values]:
        """Return the outputs, and the values of `keep`, with these weights, as float32 whatever the precision.

        Weights, their deviations, losses and the optimiser stay in float32. Batch normalisations use the statistics of
        these inputs under these weights, or `measured`.
        """
        network = self.scene.network
        with products_in(self.scene.precision, self.targets.device):
            outputs, kept = network.run(
                values, network.statistics, self.inputs, training=True, measured=measured, keep=keep
            )
        return raised(outputs), {name: raised(value) for name, value in kept.items()}

    def measured(self, values: Mapping[str, Tensor]) -> Values:
        """Return the statistics that batch normalisations meet with these weights; gradients flow through them."""
        with products_in(self.scene.precision, self.targets.device):
            found = self.scene.network.measured(values, self.inputs)
        return {name: raised(value) for name, value in found.items()}

    def loss(self, values: Mapping[str, Tensor], *, measured: Values | None = None) -> Tensor:
        """Return the loss with these weights."""
        return self.objective(self.run(values, measured=measured)[0], self.targets)

    def dealt(self, count: int) -> list[Step]:
        """Return steps that share the inputs out: `count` at most, one where the network takes a fixed number."""
        n = len(self.targets)
        count = 1 if self.scene.network.group is not None else min(count, n)
        ends = [i * n // count for i in range(count + 1)]
        parts = [slice(first, last) for first, last in pairwise(ends)]
        # What has another length is the same for all inputs, such as an initial state.
        return [
            replace(
                self, inputs={k: x[p] if len(x) == n else x for k, x in self.inputs.items()}, targets=self.targets[p]
            )
            for p in parts
        ]

    def programmed(
        self,
        values: Mapping[str, Tensor] | None = None,
        *,
        variation: Variation | None = None,
        scale: float = 1.0,
        through: bool = False,
    ) -> Values:
        """Return one draw of the programmed weights: of `values` or the trained ones, under the device variation."""
        network = self.scene.network
        law = self.scene.variation if variation is None else variation
        of = self.values if values is None else values
        return programmed(of, network.noisy, law, self.generator, scale=scale, through=through)


@dataclass(kw_only=True)
class Strategy(ABC):
    """One way of training. The fields of a subclass are its settings.

    Attributes
    ----------
    name : str
        What the command line calls it.
    """

    name: ClassVar[str] = ""

    def begin(self, scene: Scene) -> Values:
        """Prepare for training and return the strategy's own tensors to be trained."""
        return {}

    @abstractmethod
    def losses(self, step: Step) -> Iterable[Tensor]:
        """Yield the losses of a mini-batch; the optimiser makes one step for each, before the next is computed."""

    def after_step(self, values: Values, extra: Values, noisy: Sequence[str]) -> None:  # noqa: B027
        """Change the trained tensors in place after each step of the optimiser."""

    def intended(self, values: Values, extra: Values, member: int) -> Values:
        """Return the intended weights of a member of the population, which are validated and exported."""
        return values

    @property
    def population(self) -> int:
        """Number of copies of the network that are trained side by side."""
        return 1

    def select(self, kpps: Sequence[float]) -> int:
        """Take note of the validated KPP of each copy after an epoch; return the one that all go on from."""
        return max(range(len(kpps)), key=kpps.__getitem__)

    def state(self) -> dict[str, float]:
        """Return what must be known to go on after an interruption."""
        return {}

    def restore(self, state: Mapping[str, float]) -> None:  # noqa: B027
        """Go on from a state."""

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the settings."""
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}
        return {"strategy": self.name, **{k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}}


_strategies: dict[str, type[Strategy]] = {}
S = TypeVar("S", bound=type[Strategy])


def strategy(name: str) -> Callable[[S], S]:
    """Register a strategy under a name."""

    def register(cls: S) -> S:
        cls.name = name
        _strategies[name] = cls
        return cls

    return register


def strategies() -> dict[str, type[Strategy]]:
    """Return all strategies by name."""
    return dict(_strategies)


def strategy_named(name: str, settings: Mapping[str, Any] | None = None) -> Strategy:
    """Return a strategy with these settings, texts read as numbers where numbers are meant.

    Raises
    ------
    SettingError
        If there is no such strategy or setting, or a value is no number.

    Examples
    --------
    >>> strategy_named("rcg", {"threshold": "0.7"}).threshold
    0.7
    """
    if name not in _strategies:
        raise SettingError(
            f"there is no strategy '{name}'", where="--strategy", remedy=f"Take one of {', '.join(_strategies)}"
        )
    cls, given = _strategies[name], dict(settings or {})
    fields = {f.name: f.default for f in dataclasses.fields(cls) if f.init}
    for key, value in given.items():
        if key not in fields:
            known = ", ".join(fields) or "none"
            raise SettingError(f"strategy {name} has no setting '{key}'", where="--set", remedy=f"It has: {known}")
        given[key] = _read(key, value, fields[key])
    return cls(**given)


def _read(key: str, value: Any, default: Any) -> Any:
    """Return a value in the type of the default; a tuple is written with commas."""
    try:
        if isinstance(default, tuple):
            parts = value.split(",") if isinstance(value, str) else value
            return tuple((type(default[0]) if default else str)(p) for p in parts if p != "")
        number = type(default)(value)
        if isinstance(default, int) and float(value) != number:
            raise ValueError
    except (TypeError, ValueError):
        kind = "numbers with commas" if isinstance(default, tuple) else "a number"
        raise SettingError(f"{key} is {value!r}", where="--set", remedy=f"Give {kind}, such as {default}") from None
    return number


def within(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Refuse a setting out of its range.

    Raises
    ------
    SettingError
    """
    if not low <= value <= high:
        raise SettingError(f"{name} is {value}", where="--set", remedy=f"Give a number from {low:g} to {high:g}")
