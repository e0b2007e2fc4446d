"""What a prediction yields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kppstat.stats.order import quantile_rank
from kppstat.style import Drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_JSON = (
    "kpp",
    "k",
    "mean",
    "sd",
    "mse",
    "clean",
    "guarantee",
    "trusted",
    "sigma",
    "performance",
    "evaluations",
    "inputs",
    "seed",
    "seconds",
    "model_sha256",
    "data_sha256",
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction(Drawable):
    """The distribution of performance over instances, predicted from the law of the logits.

    Performances are in the unit of the performance measure; for a loss, the loss itself.

    Attributes
    ----------
    kpp : float
        Predicted k-th percentile performance.
    k : float
        Percent.
    mean, sd : float
        Over instances.
    mse : float
        Mean squared deviation of a logit from that of the intended weights, over inputs, logits and instances: from
        programming noise and, where the noise model quantises, from quantisation.
    mse_by_weight : dict of str to float
        The same if only this weight deviated. They need not add up to `mse`: shifts of several weights meet.
    clean : float
        Performance of the intended weights on all inputs.
    values : ndarray
        Drawn performances; any other percentile can be read off them.
    by_weight : dict of str to float
        Share of each weight in the variance of the logits; what the shares leave to 1 is nonlinear.
    nonlinear : float
        Share of the variance that no linear fit in the weights explains.
    cost : dict of str to float
        What the deviations of each weight cost: by how much the KPP would rise if the weight were exact, to first order
        in its variances (see `kppstat.prediction.kpp_gradients`). Empty unless asked for.
    trusted : bool
        Whether the checks found the prediction in its depth; if not, `notes` say why.
    notes : tuple of str
        Doubts, and how the prediction was corrected.
    evaluations : float
        Cost in full passes over the inputs; a forward and backward pass counts as three. Where several sigmas share
        derivatives, this one's part.
    inputs, total : int
        Inputs that were followed, and inputs in all.
    sigma : float or None
    noise : mapping
    performance, guarantee : str
    loss, fraction : bool
    seed : int
    seconds : float
    model_sha256, data_sha256 : str
    """

    kpp: float
    k: float
    mean: float
    sd: float
    mse: float
    mse_by_weight: Mapping[str, float]
    clean: float
    values: np.ndarray = field(repr=False)
    by_weight: Mapping[str, float]
    nonlinear: float
    cost: Mapping[str, float]
    trusted: bool
    notes: tuple[str, ...]
    evaluations: float
    inputs: int
    total: int
    sigma: float | None
    noise: Mapping[str, Any]
    performance: str
    loss: bool
    fraction: bool
    seed: int
    seconds: float
    model_sha256: str
    data_sha256: str
    guarantee: str = "none"

    def percentile(self, k: float) -> float:
        """Return the predicted performance that all but `k` percent of the instances reach."""
        return percentile(self.values, k, loss=self.loss)

    def show(self, performance: float) -> str:
        """Return a performance as text: in percent where it is a fraction."""
        return f"{100 * performance:.2f} %" if self.fraction else f"{performance:.4g}"

    def summary(self) -> str:
        """Return the answer in one honest sentence."""
        side = "stay below a" if self.loss else "reach a"
        warning = "" if self.trusted else " It is out of its depth here: sample instead."
        return (
            f"All but {self.k:g} % of the instances are predicted to {side} {self.performance} of "
            f"{self.show(self.kpp)} (mean {self.show(self.mean)}, spread {self.show(self.sd)}), without a guarantee, "
            f"at the cost of {self.evaluations:.1f} evaluations.{warning}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON."""
        out = {name: getattr(self, name) for name in _JSON}
        out["by_weight"], out["nonlinear"] = dict(self.by_weight), self.nonlinear
        out["mse_by_weight"] = dict(self.mse_by_weight)
        out["cost"] = dict(self.cost)
        out["noise"], out["notes"] = dict(self.noise), list(self.notes)
        return {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in out.items()}

    def _drawn(self) -> Figure:
        """Return the predicted distribution."""
        from kppstat.prediction.figure import predicted

        return predicted(self)


def percentile(values: np.ndarray, k: float, *, loss: bool) -> float:
    """Return the order statistic of drawn performances that is the KPP: inf{a : P(A <= a) >= k/100}.

    Examples
    --------
    >>> percentile(np.array([0.9, 0.7, 0.8, 0.6]), 50, loss=False)
    0.7
    >>> percentile(np.arange(1.0, 101.0), 7, loss=False)  # although 7 / 100 * 100 is 7.000000000000001
    7.0
    """
    ordered = np.sort(values)[::-1] if loss else np.sort(values)
    return float(ordered[quantile_rank(len(ordered), k / 100) - 1])
