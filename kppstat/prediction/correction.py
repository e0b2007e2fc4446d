"""How instances differ from the law of the logits, and a law corrected by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kppstat.prediction.distribution import shared

_CERTAIN = 3.0  # standard errors from which on they differ
_BEND = 4  # coefficients of what the law expects as a function of the guess
_ALIKE = 0.2  # relative error, about, where what inputs share is taken to grow as all of their variance does
_FLOOR = 0.2  # of the mean spread about that: the least anywhere


@dataclass(frozen=True, eq=False)
class Difference:
    """Performance by a few inputs, of instances less of the law, as a line in the guess of how far out they lie.

    Attributes
    ----------
    shift, error : ndarray, shape (2,)
        Constant and slope, and their standard errors.
    stretch : float
        Spread of instances about that line over the spread of the law.
    resolution : float
        What a single input in one of the instances may make of the line.
    """

    shift: np.ndarray
    error: np.ndarray
    stretch: float
    resolution: float

    @property
    def certain(self) -> bool:
        """Whether the difference is more than chance."""
        return bool((np.abs(self.shift) > _CERTAIN * self.error + self.resolution).any())


def difference(
    guess: np.ndarray, there: np.ndarray, at: np.ndarray, seen: np.ndarray, weights: np.ndarray
) -> Difference:
    """Compare instances with a law, given how far out each lies.

    What the law expects at a guess is a cubic of it; how much single draws spread about that, a parabola. Both come
    from many draws; instances tell only a line and one ratio of spreads, by weighted least squares.

    Parameters
    ----------
    guess, there : ndarray, shape (draws,)
        Of drawn instances: how far out they lie, and their performance by a few inputs.
    at, seen : ndarray, shape (m,)
        Of sampled instances.
    weights : ndarray, shape (n,)
        What each of the few inputs stands for in the performance.
    """
    bend = np.linalg.lstsq(_powers(guess, _BEND), there, rcond=None)[0]
    apart = there - _powers(guess, _BEND) @ bend
    size = float(np.abs(apart).mean())
    m = len(seen)
    resolution = _CERTAIN * float(weights.max()) / m + 1e-9
    if size <= 1e-12:
        spread_there, spread = np.ones_like(guess), np.ones_like(at)
    else:
        parabola = np.linalg.lstsq(_powers(guess, 3), np.abs(apart), rcond=None)[0]
        spread_there, spread = (np.maximum(_powers(x, 3) @ parabola, _FLOOR * size) for x in (guess, at))
    terms = _powers(at, 2) / spread[:, None]
    wanted = (seen - _powers(at, _BEND) @ bend) / spread
    shift = np.linalg.lstsq(terms, wanted, rcond=None)[0]
    left = np.sqrt(((wanted - terms @ shift) ** 2).sum() / max(m - 2, 1))
    usual = np.sqrt(((apart / spread_there) ** 2).mean())
    error = np.sqrt(np.diag(np.linalg.pinv(terms.T @ terms))) * max(left, usual)
    return Difference(shift, error, float(left / usual) if usual > 1e-12 else 1.0, resolution)


def corrected(drawn: np.ndarray, guess: np.ndarray, by: Difference) -> np.ndarray:
    """Return performances of drawn instances with what sampled ones differ in.

    Parameters
    ----------
    drawn, guess : ndarray, shape (draws,)
        Performance by any inputs, and how far out each draw lies.
    by : Difference

    Examples
    --------
    >>> guess = np.linspace(-2, 2, 200)
    >>> law = 0.8 + 0.1 * guess
    >>> by = difference(guess, law, guess[::10], 0.7 + 0.2 * guess[::10], np.full(100, 0.01))
    >>> corrected(law, guess, by)[[0, 100, 199]].round(2).tolist()
    [0.3, 0.7, 1.1]
    """
    terms = _powers(guess, _BEND)
    expected = terms @ np.linalg.lstsq(terms, drawn, rcond=None)[0]
    return np.asarray(expected + terms[:, :2] @ by.shift + by.stretch * (drawn - expected))


@dataclass(frozen=True, eq=False)
class Few:
    """A few of the followed inputs, by which instances are judged.

    Attributes
    ----------
    places : ndarray of int, shape (n,)
        Where they are among the followed ones.
    weights : ndarray, shape (n,)
        What each stands for in the performance.
    clean : ndarray, shape (n,)
        Their scores with the intended weights.
    """

    places: np.ndarray
    weights: np.ndarray
    clean: np.ndarray

    def change(self, scores: np.ndarray) -> np.ndarray:
        """Return by how much performance changes, shape (m,), from their scores in instances, shape (m, n)."""
        return np.asarray((scores - self.clean) @ self.weights)


def variance_of_all(
    drawn: np.ndarray, shares: np.ndarray, few: Few, there: np.ndarray, own: np.ndarray, count: float, total: int
) -> float:
    """Return the variance over instances of the performance on all inputs, from what instances show on a few.

    By as much as what the few share grows or shrinks, what all share does; and where chances of their own hide what
    they share, as all of their variance does. Between the two is decided as by the posterior mean of a log-normal
    growth whose prior is the latter (Gelman et al., Bayesian Data Analysis, section 2.5).

    Parameters
    ----------
    drawn : ndarray, shape (draws, rows)
        Scores of the followed inputs in drawn instances.
    shares : ndarray, shape (rows,)
        How much each of these stands for.
    few : Few
    there : ndarray, shape (draws,)
        Performance of drawn instances by the few, corrected.
    own : ndarray, shape (n,)
        Variance of the score of each of the few in sampled instances.
    count : float
        How many sampled instances there are, as if all counted alike.
    total : int
        All inputs.
    """
    each = drawn.var(axis=0)
    here, there_variance = float(few.change(drawn[:, few.places]).var()), float(there.var())
    before, after = shared(here, each[few.places], few.weights), shared(there_variance, own, few.weights)
    rest = float(few.weights @ own) / total
    if before <= 0:
        return after + rest
    error = there_variance / np.sqrt(2 * count) / _ALIKE
    trust = after**2 / max(after**2 + error**2, 1e-300)
    growth = (after / before) ** trust * (there_variance / here) ** (1 - trust)
    return shared(float((drawn @ shares).var()), each, shares) * growth + rest


def _powers(x: np.ndarray, count: int) -> np.ndarray:
    return np.asarray(x[:, None] ** np.arange(count))
