"""What training returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kppstat.sampling.result import shown
from kppstat.style import Drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Epoch:
    """One epoch, validated. Scores are larger where better; number 0 is the network as it was given.

    Attributes
    ----------
    number : int
    loss : float
        Mean training loss; NaN for number 0.
    kpp, mean, clean : float
        On the validation part: estimated KPP, mean over instances, performance without device variation.
    seconds : float
        Since training began.
    settings : mapping of str to float
        Where the strategy's own search stands.
    """

    number: int
    loss: float
    kpp: float
    mean: float
    clean: float
    seconds: float
    settings: Mapping[str, float] = field(default_factory=dict)

    def to_list(self) -> list[Any]:
        """Return the fields in order."""
        return [self.number, self.loss, self.kpp, self.mean, self.clean, self.seconds, dict(self.settings)]

    @classmethod
    def from_list(cls, fields: list[Any]) -> Epoch:
        """Undo `to_list`."""
        return cls(*fields)


@dataclass(frozen=True, eq=False)
class Training(Drawable):
    """The outcome of a training.

    Attributes
    ----------
    strategy, plan, noise : dict
        What was asked.
    best : Epoch
        The one whose weights were kept, by the KPP on the validation part.
    history : tuple of Epoch
        All epochs, from number 0.
    performance : str
    loss, fraction : bool
        Whether the performance is a loss; whether it is a fraction, such as an accuracy.
    model, data, out : str
        Files, or what stands for them; `out` is empty where a module was trained in place.
    train_inputs, val_inputs : int
        Inputs trained on, and inputs that each validation read.
    seconds : float
    stop_reason : str
    versions : dict
    notes : tuple of str
    """

    strategy: dict[str, Any]
    plan: dict[str, Any]
    noise: dict[str, Any]
    best: Epoch
    history: tuple[Epoch, ...]
    performance: str
    loss: bool
    fraction: bool
    model: str
    data: str
    out: str
    train_inputs: int
    val_inputs: int
    seconds: float
    stop_reason: str
    versions: dict[str, str]
    notes: tuple[str, ...]

    def show(self, score: float) -> str:
        """Return a mean score as text, a loss with its own sign."""
        return shown(-score if self.loss else score, fraction=self.fraction)

    def summary(self) -> str:
        """Return one sentence or two."""
        first, best, k = self.history[0], self.best, self.plan["k"]
        text = (
            f"KPP({k:g}) on the validation part: {self.show(best.kpp)} after epoch {best.number} "
            f"(before training {self.show(first.kpp)}); clean {self.show(best.clean)} "
            f"(before {self.show(first.clean)})."
        )
        if best.number == 0:
            text += " No epoch was better than the network as it was given, so its weights are kept."
        return text

    def _drawn(self) -> Figure:
        """Return performance against the epoch."""
        from kppstat.training.figure import by_epoch

        return by_epoch(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, losses with their own sign, unknown numbers as None."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "best": self._epoch(self.best),
            "history": [self._epoch(e) for e in self.history],
            "notes": list(self.notes),
        }

    def _epoch(self, e: Epoch) -> dict[str, Any]:
        sign = -1.0 if self.loss else 1.0
        numbers = {"loss": e.loss, "kpp": sign * e.kpp, "mean": sign * e.mean, "clean": sign * e.clean}
        return {
            "number": e.number,
            **{name: x if math.isfinite(x) else None for name, x in numbers.items()},
            "seconds": e.seconds,
            "settings": dict(e.settings),
        }


_PLAIN = (
    "strategy", "plan", "noise", "performance", "loss", "fraction", "model", "data", "out", "train_inputs",
    "val_inputs", "seconds", "stop_reason", "versions",
)  # fmt: skip
