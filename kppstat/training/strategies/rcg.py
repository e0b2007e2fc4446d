"""RCG, the training of TRICE: right-censored Gaussian noise, its sigma searched while training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from kppstat.errors import SettingError
from kppstat.noise import NoiseModel, RightCensored, Variation
from kppstat.training.network import Values
from kppstat.training.strategies.strategy import Scene, Step, Strategy, strategy, within

#: Below this width of the interval, relative to where it began, the search is over (CIM_CW stops at 1e-4 of 0.1).
_NARROW = 1e-3


@dataclass
class Interval:
    """Where the best sigma is looked for: three candidates, and a rule that halves it or takes a quarter away.

    The rule is that of MariusAnje/CIM_CW, branch adv, ``utils.TQMTrain``.
    """

    low: float
    high: float
    whole: float

    @property
    def narrow(self) -> bool:
        """Whether the search is over."""
        return self.high - self.low < _NARROW * self.whole

    @property
    def candidates(self) -> tuple[float, ...]:
        """The points at a quarter, a half and three quarters; the middle one when the search is over."""
        quarter, middle = (self.high - self.low) / 4, (self.low + self.high) / 2
        return (middle,) if self.narrow else (self.low + quarter, middle, self.high - quarter)

    def shrink(self, best: int) -> None:
        """Cut off what lies beyond the outer candidates that are worse than the best."""
        if self.narrow:
            return
        left, _, right = self.candidates
        self.low, self.high = ((self.low, right), (left, right), (left, self.high))[best]


@strategy("rcg")
@dataclass(kw_only=True)
class Rcg(Strategy):
    """Right-censored Gaussian noise with the automatic search of TRICE.

    Three copies are trained on the same mini-batches with three sigmas; after each epoch the one with the best KPP on
    the validation part gives its weights to all, and the interval of sigma shrinks around it. Source: arXiv 2307.15853;
    the search from MariusAnje/CIM_CW, branch adv, ``utils.TQMTrain``. Three differences: selection is on a validation
    part and not on the test set; the optimiser's state of the best copy goes with its weights; all copies see the same
    standard normals, so that sigma alone tells them apart.

    Parameters
    ----------
    threshold : float
        Largest deviation in units of sigma. The published code tries 0.5 to 2; no value is published as the best.
    reach : float
        Upper end of the interval of sigma in units of the device's own sigma. Published: 0.1 for a device of 0.0577.
    sigma : float
        A fixed sigma in place of the search; 0 searches.
    """

    threshold: float = 1.0
    reach: float = 2.0
    sigma: float = 0.0
    interval: Interval = field(init=False, repr=False, compare=False)
    noisy: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        within("threshold", self.threshold, -10)
        within("reach", self.reach, 1e-6)
        within("sigma", self.sigma, 0)

    def law(self, sigma: float) -> NoiseModel:
        """Return the noise that is injected."""
        return RightCensored(sigma, self.threshold)

    def begin(self, scene: Scene) -> Values:
        """Open the interval."""
        if scene.sigma == 0 and self.sigma == 0:
            raise SettingError(
                "there is no device variation to search a sigma for", where="--sigma", remedy="Take --strategy plain"
            )
        self.noisy = scene.network.noisy
        width = self.reach * scene.sigma
        low, high = (self.sigma, self.sigma) if self.sigma else (0.0, width)
        self.interval = Interval(low, high, width or 1.0)
        return {}

    def losses(self, step: Step) -> Iterator[Tensor]:
        """Yield the loss of one draw of the noise of this copy."""
        law = self.law(self.interval.candidates[step.member])
        yield step.loss(step.programmed(variation=Variation(law)))

    @property
    def population(self) -> int:
        """Three while the search is on."""
        return len(self.interval.candidates)

    def select(self, kpps: Sequence[float]) -> int:
        """Shrink the interval around the best copy."""
        best = super().select(kpps)
        self.interval.shrink(best)
        return best

    def state(self) -> dict[str, float]:
        """Return the interval."""
        return {"low": self.interval.low, "high": self.interval.high}

    def restore(self, state: Mapping[str, float]) -> None:
        """Take the interval over."""
        self.interval.low, self.interval.high = state["low"], state["high"]
