"""From the worst case to probability: how often chips drawn at random are as bad, with an exact interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import betaincinv, ndtr
from scipy.stats import chi2

from kppstat.engine import Evaluator
from kppstat.errors import SettingError
from kppstat.noise import Gaussian, Law, NoiseModel, Selective, Variation
from kppstat.onnx_io import Model
from kppstat.performance import Top1
from kppstat.sampling.result import shown
from kppstat.stats.share import share_bound
from kppstat.worst_case.attack import Attack
from kppstat.worst_case.region import Region, largest

CONFIDENCE = 0.95
_PARTS = 16  # in which the inputs are shown to an instance, until it is sure to be better or worse
_ROUNDING = 1e-12
_FAR, _HALVINGS = 38.0, 60  # standard normals beyond which there is nothing; steps of bisection


@dataclass(frozen=True)
class Probability:
    """How likely a chip is to be as bad as the worst case found, or worse.

    The true worst case may be lower than the one found, and a chip gets there less often; so `high` bounds its
    probability too.

    Attributes
    ----------
    performance : float
        Top-1 accuracy of the worst case found, as a fraction.
    instances, as_bad : int
        Chips drawn at random, and those of this accuracy or a lower one.
    low, high : float
        Clopper and Pearson's interval for the probability of that: exact.
    confidence : float
    within : float or None
        Probability that all deviations of a chip stay within the bound, exact from the noise model; None where it has
        no such form.
    noise : mapping
        The device variation as a plain description.
    evaluations : float
        Cost: instances are shown inputs only until it is certain on which side they lie.
    guarantee : str
        ``exact``.
    """

    performance: float
    instances: int
    as_bad: int
    low: float
    high: float
    confidence: float
    within: float | None
    noise: Mapping[str, Any]
    evaluations: float
    guarantee: str = "exact"

    @property
    def staying(self) -> str:
        """The probability of staying within the bound as text."""
        return "unknown" if self.within is None else f"{self.within:.3g}" if self.within > 0 else "below 1e-300"

    def summary(self) -> str:
        """Return the answer in sentences."""
        worst, high = shown(self.performance, fraction=True), f"{100 * self.high:.3g} %"
        sure = f"{100 * self.confidence:.12g} % confidence, guarantee {self.guarantee}"
        if self.as_bad:
            answer = (
                f"{self.as_bad:,} of {self.instances:,} chips drawn at random are that bad or worse: the worst case "
                f"found has a probability between {100 * self.low:.3g} % and {high} ({sure})"
            )
        else:
            answer = (
                f"None of {self.instances:,} chips drawn at random is that bad: the worst case at this bound has a "
                f"probability below {high} ({sure})"
            )
        stays = "" if self.within is None else f" A chip stays within the bound with probability {self.staying}."
        above = f", so the KPP is above {worst} at every k above {high}" if self.high < 1 else ""
        return f"{answer}{above}.{stays}"

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON."""
        return asdict(self)


def probability(
    attack: Attack,
    variation: Variation,
    *,
    instances: int = 300,
    progress: Callable[[int, int], None] = lambda _done, _as_bad: None,
) -> Probability:
    """Say how likely a chip is to be as bad as the worst case that an attack has found.

    Parameters
    ----------
    attack : Attack
        After its search.
    variation : Variation
        The device variation of chips.
    instances : int
        How many to draw.
    progress : callable
        Called after each with how many are done and how many of them are as bad.

    Returns
    -------
    Probability

    Raises
    ------
    KppstatError
        If the variation does not fit the model, or there are no instances.
    """
    check_chips(attack.model, variation, instances)
    evaluator = Evaluator(attack.model, variation, attack.data, Top1(), seed=attack.seed)
    evaluator.targets = attack.certifier.targets
    order = np.random.default_rng(attack.seed).permutation(len(attack.data))
    as_bad, seen = 0, 0
    for index in range(instances):
        lost, inputs = _as_bad(evaluator, index, order, round(attack.worst * len(order)))
        as_bad, seen = as_bad + lost, seen + inputs
        progress(index + 1, as_bad)
    tail = (1 - CONFIDENCE) / 2
    return Probability(
        performance=attack.worst,
        instances=instances,
        as_bad=as_bad,
        low=float(betaincinv(as_bad, instances - as_bad + 1, tail)) if as_bad else 0.0,
        high=share_bound(as_bad, instances, 1 - tail),
        confidence=CONFIDENCE,
        within=within(attack, variation),
        noise=variation.to_dict(),
        evaluations=seen / len(order),
    )


def check_chips(model: Model, variation: Variation, instances: int) -> None:
    """Raise if there are no instances, or a pattern of the variation matches no weight.

    Raises
    ------
    SettingError
        If there are no instances.
    NoiseError
        If a pattern matches no weight.
    """
    variation.require_matches(w.name for w in model.weights)
    if instances < 1:
        raise SettingError(f"instances is {instances}", where="--instances", remedy="Give a whole number of 1 or more")


def _as_bad(evaluator: Evaluator, index: int, order: np.ndarray, right: int) -> tuple[bool, int]:
    """Return whether an instance is right on at most so many inputs, and how many it had to be shown."""
    session, targets, most = evaluator.session(index), evaluator.targets, len(order) - right
    assert targets is not None
    good, shown_to = 0, 0
    for rows in np.array_split(order, min(_PARTS, len(order))):
        good += int(evaluator.performance.scores(evaluator.run(session, rows), targets[rows]).sum())
        shown_to += len(rows)
        if good > right:
            return False, shown_to
        if shown_to - good >= most:
            return True, shown_to
    return True, shown_to


def within(attack: Attack, variation: Variation) -> float | None:
    """Return the probability that no weight of an instance leaves the region, exact; None where there is no formula.

    There is one for laws of weights, of one normal each and independent, under ``linf``; under ``l2`` for Gaussians;
    and for the density of the variation itself.
    """
    if attack.region.norm == "density":
        n = sum(attack.model.graph.constants[name].size for name in attack.names)
        return float(chi2.cdf(n * attack.region.bound**2, n)) if variation == attack.region.variation else None
    total = 0.0
    for name in attack.names:
        law, w = variation.of(name), attack.model.graph.constants[name].astype(np.float64)
        part = inside(law, w, attack.region)
        if part is None:
            return None
        total += part
    return math.exp(total)


def inside(law: NoiseModel, w: np.ndarray, region: Region) -> float | None:
    """Return the logarithm of the probability that the deviations of one tensor lie in the region; None if unknown.

    Examples
    --------
    >>> w = np.ones(1)
    >>> [round(math.exp(inside(Gaussian(0.1), w, Region(0.1, norm))), 4) for norm in ("linf", "l2")]
    [0.6827, 0.6827]
    """
    if region.norm == "l2":
        if not isinstance(law, Gaussian):
            return None
        ratio = region.bound / law.sigma if law.sigma else math.inf
        return float(chi2.logcdf(w.size * ratio**2, w.size)) if w.size and largest(w) else 0.0
    outside = _outside(law, w, region.bound)
    with np.errstate(divide="ignore"):  # a weight that is sure to be outside
        return None if outside is None else float(np.log1p(-np.minimum(outside, 1.0)).sum())


def _outside(law: NoiseModel, w: np.ndarray, bound: float) -> np.ndarray | None:
    """Return for each weight the probability that it deviates by more than the bound."""
    if isinstance(law, Selective):
        one, other = _outside(law.verified, w, bound), _outside(law.noise, w, bound)
        return None if one is None or other is None else np.where(law.mask.array, one, other)
    if not (isinstance(law, Law) and law.signed and law.each == 1):
        return None
    unit = largest(w)
    if unit == 0:
        return np.zeros(w.shape)
    x, bound = w / unit, bound * (1 + _ROUNDING) + _ROUNDING  # laws cut off at the bound stay inside it

    def deviation(z: np.ndarray) -> np.ndarray:
        return np.asarray(law.apply(x, x, z[None])) - x

    # The map is monotone in z: rising, or for laws in proportion to a negative weight falling.
    rising = np.where(deviation(np.full(x.shape, 1.0)) < deviation(np.full(x.shape, -1.0)), -1.0, 1.0)
    above, below = np.full(x.shape, _FAR), np.full(x.shape, -_FAR)
    if (deviation(rising * above) > bound).any():
        above = _last(lambda z: deviation(rising * z) <= bound, x.shape)
    if (deviation(rising * below) < -bound).any():
        below = -_last(lambda z: deviation(-rising * z) >= -bound, x.shape)
    return np.asarray(ndtr(below) + ndtr(-above))


def _last(holds: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Return, elementwise, up to which z a condition holds that fails beyond some z."""
    low, high = np.full(shape, -_FAR), np.full(shape, _FAR)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        true = holds(middle)
        low, high = np.where(true, middle, low), np.where(true, high, middle)
    return np.where(holds(np.full(shape, _FAR)), _FAR, low)
