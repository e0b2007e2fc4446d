"""What a search for the worst case yields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kppstat.onnx_io import Model, save
from kppstat.sampling.result import shown
from kppstat.style import Drawable
from kppstat.worst_case.region import Norm

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, kw_only=True)
class WorstCase(Drawable):
    """The lowest accuracy found within a bound, and the weights that have it.

    The weights are exhibited and were evaluated on all inputs as they are stored, so the true worst case over the
    region, on these inputs, is `performance_worst` or lower: that is exact. How much lower no search can say.

    Attributes
    ----------
    performance : str
        ``top-1 accuracy``, or of data without targets the agreement with the clean model.
    performance_worst, clean : float
        That of the worst weights found and of the intended ones, as fractions.
    bound : float
        In units of max|W| of each tensor; for ``density`` in standard deviations.
    norm : {"linf", "l2", "density"}
        Largest deviation of a weight, root mean square over each tensor, or that over all; see `Region`.
    noise : mapping or None
        The device variation of ``density`` as a plain description.
    reached : float
        How far the weights found reach in that norm, at most `bound`.
    passes : float
        Gradient passes (a forward and a backward over all inputs), everything counted; a forward alone is a third.
    evaluations : float
        The same cost in evaluations: three for a gradient pass.
    method : str
    guarantee : str
        ``exact``, of the statement that the worst case is at `performance_worst` or below.
    layers : tuple of str
        The tensors that were attacked.
    inputs : int
    stop_reason : str
    seed : int
    seconds : float
    model, data : str
    model_sha256, data_sha256 : str
    versions : mapping of str to str
    notes : tuple of str
    trace : tuple of (float, float)
        Passes, and the accuracy certified by then.
    curve : tuple of (float, float)
        Bound, and the lowest accuracy exhibited within it: the deviation found, scaled down. Empty if not asked for.
    weights : mapping of str to ndarray
        The attacked tensors, in the dtype of the file.
    """

    performance: str
    performance_worst: float
    clean: float
    bound: float
    norm: Norm
    noise: Mapping[str, Any] | None
    reached: float
    passes: float
    evaluations: float
    method: str
    guarantee: str
    layers: tuple[str, ...]
    inputs: int
    stop_reason: str
    seed: int
    seconds: float
    model: str
    data: str
    model_sha256: str
    data_sha256: str
    versions: Mapping[str, str]
    notes: tuple[str, ...]
    trace: tuple[tuple[float, float], ...] = field(repr=False)
    curve: tuple[tuple[float, float], ...] = field(repr=False)
    weights: Mapping[str, np.ndarray] = field(repr=False)

    def summary(self) -> str:
        """Return the answer in one honest sentence."""
        return (
            f"With {self.reading}, the worst {self.performance} is {self.show(self.performance_worst)} or lower "
            f"(clean {self.show(self.clean)}): such weights are exhibited, found by {self.method} "
            f"at the cost of {self.passes:.3g} gradient passes."
        )

    @property
    def reading(self) -> str:
        """The bound in words."""
        if self.norm == "linf":
            return f"every weight within {100 * self.bound:g} % of max|W|"
        if self.norm == "l2":
            return f"root mean square within {100 * self.bound:g} % of max|W|"
        typical = math.sqrt(sum(w.size for w in self.weights.values()))
        length = typical * self.bound
        return (
            f"a root mean square of {self.bound:g} standard deviations or less, a length of {length:.4g} in all (chips "
            f"drawn at random: about 1 and {typical:.4g}; density at least exp(-{length**2 / 2:.4g}) of the highest)"
        )

    def show(self, performance: float) -> str:
        """Return an accuracy as text, in percent."""
        return shown(performance, fraction=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON, without the weights."""
        out = {name: getattr(self, name) for name in _JSON}
        out["versions"] = dict(self.versions)
        for name in ("layers", "notes"):
            out[name] = list(out[name])
        for name in ("trace", "curve"):
            out[name] = [list(pair) for pair in out[name]]
        return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in out.items()}

    def save(self, model: Model, out: str | Path) -> None:
        """Write the model with the weights found; see `kppstat.onnx_io.save`.

        Raises
        ------
        ModelError
            If the file cannot be written.
        """
        save(model, self.weights, out)

    def _drawn(self) -> Figure:
        """Return the accuracy against the bound."""
        from kppstat.worst_case.figures import against_bound

        return against_bound(self)


_JSON = (
    "performance", "performance_worst", "clean", "bound", "norm", "noise", "reached", "passes", "evaluations",
    "method", "guarantee", "layers", "inputs", "stop_reason", "seed", "seconds", "model", "data", "model_sha256",
    "data_sha256", "versions", "notes", "trace", "curve",
)  # fmt: skip
