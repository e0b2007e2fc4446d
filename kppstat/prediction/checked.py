"""Performances of instances drawn from the law of the logits, checked against sampled instances, corrected by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kppstat.noise import Variation
from kppstat.prediction.bend import bent, responses
from kppstat.prediction.correction import Difference, Few, corrected, difference, variance_of_all
from kppstat.prediction.directions import Principal
from kppstat.prediction.distribution import of_all
from kppstat.prediction.far import Guess, in_normals, placed
from kppstat.prediction.fit import closest, disagreements
from kppstat.prediction.ground import Ground
from kppstat.prediction.logits import Logits
from kppstat.prediction.result import percentile

_INSTANCES, _CORRECTING, _FEW = 128, 512, 256  # on which the law is checked and corrected, by so many followed inputs
MOST = _CORRECTING * _FEW
"""Forward passes of one input that this takes at most."""
_DEEP = 0.15  # of the range of the performance: where the KPP is lower by more, no law is close enough by itself
_SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)  # of the nonlinear variance, tried where the law is contradicted
_FITTING = 1024  # draws for each trial


class Laws(Protocol):
    """The law of the logits of the evenly chosen and of the followed inputs at one device variation."""

    def evenly(self) -> Logits:
        """Return the law of all logits of the evenly chosen inputs."""

    def chosen(self, calibrated: bool) -> Logits:
        """Return that of the leads of the followed inputs, with correlations inside the network corrected or not."""


@dataclass(frozen=True, eq=False)
class Followed:
    """The inputs that are followed, and the directions of the weights in which their logits move.

    Attributes
    ----------
    rows, shares : ndarray
        Their numbers, and how much each stands for.
    together : Principal
        The direction along which logits bend.
    errors : Principal
        Those along which answers change, and instances are placed.
    """

    rows: np.ndarray
    shares: np.ndarray
    together: Principal
    errors: Principal


@dataclass(frozen=True, eq=False)
class Checked:
    """Performances of drawn instances, higher better, and what was found about them.

    Attributes
    ----------
    values : ndarray, shape (draws,)
    doubts : tuple of str
        Where sampled instances contradict the law.
    remarks : tuple of str
        How it was corrected.
    """

    values: np.ndarray
    doubts: tuple[str, ...]
    remarks: tuple[str, ...]


class _Drawn:
    """Instances drawn from a law of the leads of the followed inputs, and how far out each lies."""

    def __init__(self, ground: Ground, law: Logits, followed: Followed, along: np.ndarray, draws: int) -> None:
        rows, shares = followed.rows, followed.shares
        self.scores = ground.scores(law, rows, draws)
        self.places = ground.places(law, along, draws)
        self.guess = Guess(self.places, (self.scores - ground.clean[rows]) @ shares)
        self.far = self.guess(self.places)


def checked(
    ground: Ground, variation: Variation, spread: float, laws: Laws, followed: Followed, draws: int, k: float
) -> Checked:
    """Draw instances from the law, and correct their performances where sampled ones differ or the KPP is far off.

    Sampled instances are placed where drawn ones lie, more of them where failures are expected: there the law is at
    its worst, and few would come by themselves.

    Parameters
    ----------
    ground, variation
    spread : float
        Standard deviation of the lead over instances.
    laws : Laws
    followed : Followed
    draws : int
    k : float
        Percent of instances that may fall below the KPP.
    """
    rows, shares, measure = followed.rows, followed.shares, ground.measure
    level, low, high, total = float(ground.clean.mean()), measure.low, measure.high, len(ground.data)
    weights = ground.moments(variation)
    step = followed.together.step(weights)
    found = responses(step, weights, lambda other: ground.answers(rows, other)) if step else None
    directions = in_normals(ground.model, variation, followed.errors.slopes)
    along = followed.errors.along[:, : 0 if directions is None else directions.count]

    def law_of(calibrated: bool, nonlinear: float) -> Logits:
        law = laws.chosen(calibrated).with_nonlinear(nonlinear)
        return law if found is None else bent(law, followed.together.along[:, 0], found)

    some, part = ground.chosen([spread], _FEW, among=rows)
    few = Few(some, len(rows) * part * shares[some], ground.clean[rows[some]])
    sampled: list[tuple[np.ndarray, ...]] = []

    def sample(count: int) -> None:
        """Sample instances; keep their scores by the few inputs, their places, and what each stands for."""
        done = sum(len(scores) for scores, *_ in sampled)
        places, stands_for = np.zeros((count, 0)), np.full(count, 1 / count)
        if directions is not None:
            chosen, stands_for = placed(drawn.far, count)
            places = drawn.places[chosen]
        scores = ground.watched(variation, rows[some], range(done, done + count), directions, places)
        sampled.append((scores, places, stands_for))

    def differing() -> Difference:
        """Return how all instances that were sampled differ from drawn ones."""
        scores, places, _ = (np.concatenate(parts) for parts in zip(*sampled, strict=True))
        here = few.change(drawn.scores[:, some])
        return difference(drawn.far, here, drawn.guess(places), few.change(scores), few.weights)

    drawn = _Drawn(ground, law_of(True, 1.0), followed, along, draws)
    sample(_INSTANCES)
    ((seen, _, stands_for),) = sampled
    doubts = disagreements(drawn.scores[:, some], seen, few.weights, stands_for)
    differ = differing().certain
    if doubts:
        # A network that contradicts the usual law is not to be trusted to any variant of it. The closest gives the
        # shape. (Choosing always would add the chance of the few instances.)
        variants = [(c, share) for c in (True, False) for share in _SHARES]
        trials = (ground.scores(law_of(*v).take(some), rows[some], _FITTING) for v in variants)
        drawn = _Drawn(ground, law_of(*variants[closest(trials, seen, stands_for)]), followed, along, draws)
    missed = ground.missed(spread, rows, shares, drawn.scores.mean(axis=0) - ground.clean[rows])
    values = of_all(drawn.scores, ground.clean[rows], shares, level, total, low, high, missed)
    remarks = []
    if doubts or differ or level - percentile(values, k, loss=False) > _DEEP * (high - low):
        sample(_CORRECTING - _INSTANCES)
        by = differing()
        scores, _, stands_for = (np.concatenate(parts) for parts in zip(*sampled, strict=True))
        stands_for = stands_for / stands_for.sum()
        own = stands_for @ (scores - stands_for @ scores) ** 2
        values, there = (corrected(v, drawn.far, by) for v in (values, few.change(drawn.scores[:, some])))
        wanted = variance_of_all(drawn.scores, shares, few, there, own, 1 / float((stands_for**2).sum()), total)
        factor = np.sqrt(wanted / values.var()) if values.var() > 0 else 1.0
        values = np.clip(values.mean() + factor * (values - values.mean()), low, high)
        remarks.append(f"performances are corrected by {len(scores)} instances on {len(some)} inputs")
    return Checked(values, tuple(doubts), tuple(remarks))
