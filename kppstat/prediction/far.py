"""How far out instances lie: a guess of their performance from their places along a few directions.

Instances that are placed where a tail is, and not met by chance, tell what becomes of it; places come from the law of
standard normals, so whatever the guess is worth, instances at them are those of the device variation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kppstat.errors import DataError
from kppstat.noise import Variation
from kppstat.onnx_io import Model
from kppstat.stats.directions import Directions

_EACH = 10  # draws for each coefficient of the guess
_TAIL = 0.5  # share of the instances that go, in equal parts, to each halving of the chance of the lower tail
_LAST = 0.002  # of all instances: where the halving ends
_NODE = np.sqrt(3.0)  # of the three-point Gauss-Hermite rule, whose outer weights are 1/6
_ROOM = 1 << 25  # numbers that directions may fill


def usable(model: Model, variation: Variation, draws: int, most: int) -> int:
    """Return how many directions draws of a law can bear, and memory."""
    normals = sum(variation.of(w.name).draws(w.shape) for w in model.weights)
    count = min(most, _ROOM // max(normals, 1))
    while count > 0 and _EACH * (count + 1) * (count + 2) // 2 > draws:
        count -= 1
    return count


class Guess:
    """A quadratic function of places, fitted to drawn performances, in their standard deviations from their mean.

    Parameters
    ----------
    places : ndarray, shape (draws, count)
    performances : ndarray, shape (draws,)

    Examples
    --------
    >>> places = np.linspace(-1, 1, 9)[:, None]
    >>> Guess(places, 0.7 - 0.2 * places[:, 0])(np.array([[0.0], [9.0]])).round(2).tolist()
    [0.0, -1.55]
    """

    def __init__(self, places: np.ndarray, performances: np.ndarray) -> None:
        terms = _quadratic(places)
        self._slopes = np.linalg.lstsq(terms, performances, rcond=None)[0]
        found = terms @ self._slopes
        spread = float(found.std())
        # Where nothing varies but for rounding nothing is far out.
        still = spread <= 1e-9 * max(float(np.abs(found).max()), 1e-300)
        self._middle, self._scale = float(found.mean()), 0.0 if still else 1 / spread
        self._ends = (found.min(), found.max())

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Return the guess at some places, shape (n,); beyond all places that were fitted, that at the last."""
        found = np.clip(_quadratic(places) @ self._slopes, *self._ends)
        return np.asarray((found - self._middle) * self._scale)


def _quadratic(places: np.ndarray) -> np.ndarray:
    """Return 1, the coordinates, their squares and products, as columns."""
    count = places.shape[1]
    first, second = np.triu_indices(count)
    return np.concatenate([np.ones((len(places), 1)), places, places[:, first] * places[:, second]], axis=1)


def placed(guess: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose draws for instances to be placed at, more of them where the guess is low.

    The choice is systematic in the order of the guess. About half of it is even; the rest gives every halving of the
    chance of the tail as many as the one before.

    Parameters
    ----------
    guess : ndarray, shape (draws,)
    count : int

    Returns
    -------
    chosen : ndarray of int, shape (count,)
        A draw may be chosen more than once.
    stands_for : ndarray, shape (count,)
        How much each stands for; they sum to one.

    Examples
    --------
    >>> chosen, stands_for = placed(np.arange(1000.0), 100)
    >>> int((chosen < 100).sum()), round(float(stands_for[chosen < 100].sum()), 2)
    (41, 0.1)
    """
    n = len(guess)
    ranks = (np.arange(n) + 0.5) / n
    chance = 1 - _TAIL + _TAIL / (np.maximum(ranks, _LAST) * np.log(1 / _LAST))
    ends = np.cumsum(chance / chance.sum())
    at = np.minimum(np.searchsorted(ends, (np.arange(count) + 0.5) / count), n - 1)
    stands_for = 1 / chance[at]
    return np.argsort(guess, kind="stable")[at], stands_for / stands_for.sum()


def in_normals(model: Model, variation: Variation, slopes: Sequence[Mapping[str, np.ndarray]]) -> Directions | None:
    """Return directions of the weights as directions of the standard normals that make them.

    A weight enters by its mean slope in each of its normals, ``E[z W]``. None where no direction is left of one of
    them, as where weights only jump far out.

    Parameters
    ----------
    model : Model
    variation : Variation
        Under which weights are independent.
    slopes : sequence of mapping of str to ndarray
        Of each direction, with respect to the weights.
    """
    parts = {}
    for w in model.weights:
        law, intended = variation.of(w.name), model.graph.constants[w.name]
        each = law.draws(intended.shape) // max(intended.size, 1)
        columns = np.zeros((each, intended.size, len(slopes)), np.float32)
        if any(w.name in s for s in slopes):
            for i in range(each):
                z = np.zeros((each, intended.size), np.float32)
                z[i] = _NODE
                response = law.weights(intended, z.reshape(-1)) - law.weights(intended, -z.reshape(-1))
                for j, s in enumerate(slopes):
                    if w.name in s:
                        columns[i, :, j] = (s[w.name] * response).reshape(-1)
        parts[w.name] = columns.reshape(each * intended.size, len(slopes))
    try:
        found = Directions(parts)
    except DataError:
        return None
    return found if found.count == len(slopes) else None
