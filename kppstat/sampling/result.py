"""What an estimation of KPP yields: states on the way, and the estimate at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kppstat.style import Drawable

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

GUARANTEES = {
    "exact": "exact: holds for any network, at the confidence stated",
    "anytime": "anytime: holds for any network, whenever and for whatever reason the run is stopped",
    "asymptotic": "asymptotic: holds in the limit of many instances, under the assumption stated",
    "none": "none: a prediction without a promise",
}
#: Why a run ends: by its own rule, by its budget, by somebody.
REACHED, SPENT, STOPPED = "the wanted half-width is reached", "the budget of evaluations is spent", "interrupted"


@dataclass(frozen=True, slots=True)
class State:
    """Where an estimator stands. All performances are scores: larger is better.

    Attributes
    ----------
    instances : int
        Instances that count so far.
    evaluations : float
        Cost so far in full passes over the inputs, everything counted.
    kpp, low, high : float
        Estimate and its interval as of now.
    guarantee : str
        What the interval promises if the run ended here.
    phase : str
        What the estimator is doing, in a few words.
    expected : float
        Cost at which it expects to end; NaN where it cannot tell.
    done : bool
        Whether this is the last state.
    converged : bool
        Whether the wanted half-width is reached.
    """

    instances: int
    evaluations: float
    kpp: float
    low: float
    high: float
    guarantee: str
    phase: str
    expected: float = math.nan
    done: bool = False
    converged: bool = False

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True)
class Sample:
    """What is known of each instance when the run ends, as scores.

    Attributes
    ----------
    performance : ndarray, shape (instances,)
        Best guess of the performance of each instance.
    mean, sd : float
        Mean and spread of performance over instances; the spread is NaN where performances are infinite.
    """

    performance: np.ndarray
    mean: float
    sd: float

    @classmethod
    def of(cls, performance: np.ndarray) -> Sample:
        """Return the sample with mean and spread of these performances, one of each instance."""
        if not all(map(math.isfinite, performance)):
            return cls(performance, float(performance.mean()), math.nan)
        return cls(performance, float(performance.mean()), float(performance.std(ddof=min(1, performance.size - 1))))


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimate(Drawable):
    """The k-th percentile performance of a model under device variation, with its interval.

    Performances are in the unit of the performance measure: fractions for accuracies; for a loss, the loss itself
    (then the KPP is the loss that all but k % of the instances stay below).

    Attributes
    ----------
    kpp, ci_low, ci_high : float
        Estimate and interval.
    confidence : float
        Confidence of the interval, such as 0.95.
    guarantee : str
        ``exact``, ``anytime``, ``asymptotic`` or ``none``.
    k : float
        Percent.
    sigma : float or None
        Standard deviation of a weight's deviation in units of its tensor's max abs; None where the noise has no one.
    noise : mapping
        The noise model as a plain description.
    method, performance : str
    clean : float
        Performance of the intended weights.
    mean, sd : float
        Over instances.
    evaluations : float
        Cost in full passes over the inputs, everything counted.
    instances : int
    inputs : int
        Number of inputs in the evaluation set.
    converged : bool
        Whether the wanted half-width was reached.
    half_width : float
        The wanted half-width.
    stop_reason : str
    seed : int
    seconds : float
    model, data : str
        Where they came from.
    model_sha256, data_sha256 : str
    versions : mapping of str to str
    loss, fraction : bool
        Whether performance is a loss; whether it is a fraction, shown in percent.
    values : ndarray, shape (instances,)
        Best guess of each instance's performance.
    trace : tuple of State
        States on the way, thinned; as scores.
    notes : tuple of str
        What the reader must know: what was done to model and data, what was chosen and why.
    factor : float, optional
        How many times the cost plain Monte Carlo would take for an interval as narrow, as far as the run can tell.
    hidden_mass : float, optional
        Of tilted sampling: no more of all instances than this fail where the surrogate sees less reason to look than
        elsewhere; exact.
    hidden_threshold : float, optional
        The performance at which an instance counts as failing in that.
    """

    kpp: float
    ci_low: float
    ci_high: float
    confidence: float
    guarantee: str
    k: float
    sigma: float | None
    noise: Mapping[str, Any]
    method: str
    performance: str
    clean: float
    mean: float
    sd: float
    evaluations: float
    instances: int
    inputs: int
    converged: bool
    half_width: float
    stop_reason: str
    seed: int
    seconds: float
    model: str
    data: str
    model_sha256: str
    data_sha256: str
    versions: Mapping[str, str]
    loss: bool
    fraction: bool
    values: np.ndarray = field(repr=False)
    trace: tuple[State, ...] = field(repr=False)
    notes: tuple[str, ...] = ()
    factor: float | None = None
    hidden_mass: float | None = None
    hidden_threshold: float | None = None

    def summary(self) -> str:
        """Return the answer in one honest sentence, or two where the interval has a blind spot."""
        if math.isnan(self.kpp):
            cost = f"{self.evaluations:,.0f} evaluations"
            return f"Nothing is known of the KPP yet: the run ended before an instance counted, at the cost of {cost}."
        side = "stay below a" if self.loss else "reach a"
        interval = f"[{self.show(self.ci_low)}, {self.show(self.ci_high)}]"
        reach = f"All but {self.k:g} % of the instances {side} {self.performance} of {self.show(self.kpp)}"
        return (
            f"{reach}; {100 * self.confidence:.12g} % interval {interval}, guarantee {self.guarantee}, "
            f"from {self.instances:,} instances at the cost of {self.evaluations:,.0f} evaluations.{self._blind_spot()}"
        )

    def _blind_spot(self) -> str:
        if self.hidden_mass is None or self.hidden_threshold is None:
            return ""
        most = f"at most {100 * self.hidden_mass:.2g} % of all instances, exactly, at the same confidence"
        return f" Failures that it cannot see ({self.show(self.hidden_threshold)} or worse): {most}."

    def show(self, performance: float) -> str:
        """Return a performance as text: in percent where it is a fraction."""
        return shown(performance, fraction=self.fraction)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON; ends of the interval that are not finite are None."""
        out = {name: getattr(self, name) for name in _JSON}
        out["noise"], out["versions"], out["notes"] = dict(self.noise), dict(self.versions), list(self.notes)
        return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in out.items()}

    def _drawn(self) -> Figure:
        """Return the distribution of performance."""
        from kppstat.sampling.figures import distribution

        return distribution(self)


def shown(performance: float, *, fraction: bool) -> str:
    """Return a performance as text: in percent where it is a fraction.

    Examples
    --------
    >>> shown(0.8417, fraction=True), shown(0.8417, fraction=False), shown(-math.inf, fraction=True)
    ('84.17 %', '0.8417', 'unknown')
    """
    if not math.isfinite(performance):
        return "unknown"
    return f"{100 * performance:.2f} %" if fraction else f"{performance:.4g}"


_JSON = (
    "kpp", "ci_low", "ci_high", "confidence", "guarantee", "k", "sigma", "noise", "method", "performance", "clean",
    "mean", "sd", "evaluations", "instances", "inputs", "converged", "half_width", "stop_reason", "seed", "seconds",
    "model", "data", "model_sha256", "data_sha256", "versions", "notes", "factor", "hidden_mass",
    "hidden_threshold",
)  # fmt: skip
