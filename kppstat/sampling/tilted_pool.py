"""Pools: places along the directions drawn from the nominal law, of which known probabilities make instances.

Places that the surrogate expects alike are of one kind, and become instances with one probability. The kinds come from
other places, so that they are fixed before those that count are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kppstat.noise.philox import words
from kppstat.sampling.tilted_space import Space
from kppstat.sampling.tilted_surrogate import Surrogate

__all__ = ["LEAST", "MOST", "Drawn", "Kinds", "uniforms"]

#: Fewest and most draws of a pool.
LEAST, MOST = 20_000, 20_000_000
_KINDS = 400
_KIND_POOL = 4093  # number of the pool that the kinds are made from; no wave has it
_CHUNK = 1 << 17
#: Streams of random words, one for each purpose; instances never draw from them.
_COINS = (1 << 24) - 4096


@dataclass(frozen=True, eq=False)
class Drawn:
    """A pool.

    Attributes
    ----------
    share : ndarray, shape (kinds,)
        Share of the draws that is of each kind.
    places : ndarray, shape (n, m)
        Of the draws that became instances.
    kind : ndarray of int, shape (n,)
    coin : ndarray, shape (n,)
        Even between 0 and 1, below the probability with which it became an instance.
    """

    share: np.ndarray
    places: np.ndarray
    kind: np.ndarray
    coin: np.ndarray


@dataclass(frozen=True, eq=False)
class Kinds:
    """Sorts places by what the surrogate expects there.

    Attributes
    ----------
    location : ndarray, shape (kinds,)
        What is expected of each.
    share : ndarray, shape (kinds,)
        About how many of all places are of each.
    """

    space: Space
    surrogate: Surrogate
    edges: np.ndarray
    location: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, space: Space, surrogate: Surrogate, size: int) -> Kinds:
        """Return kinds for pools of this size."""
        location = surrogate.location(space.pool(_KIND_POOL, 0, min(_CHUNK, size)))
        # Finer in the lower tail, which few draws make up.
        levels = np.unique(np.concatenate([np.geomspace(1e-5, 0.5, _KINDS // 2), np.linspace(0.5, 1, _KINDS // 2)]))
        edges = np.quantile(location, levels[: _KINDS - 1])
        kind = np.searchsorted(edges, location, side="right")
        count = np.bincount(kind, minlength=_KINDS)
        # The nearest edge stands for kinds that are empty.
        near = np.append(edges, edges[-1])[np.minimum(np.arange(_KINDS), len(edges))]
        middle = np.where(count > 0, np.bincount(kind, location, _KINDS) / np.maximum(count, 1), near)
        return cls(space, surrogate, edges, np.asarray(middle), count / len(location))

    def kind(self, location: np.ndarray) -> np.ndarray:
        """Return the kinds of places where this is expected."""
        return np.searchsorted(self.edges, location, side="right")

    def draw(self, number: int, size: int, inclusion: np.ndarray, seed: int, first: int) -> Drawn:
        """Draw a pool, and make instances of its draws with these probabilities.

        Parameters
        ----------
        number : int
            Of the pool.
        size : int
        inclusion : ndarray, shape (kinds,)
        seed, first : int
            Fix every draw, with the number.
        """
        shares, chosen = np.zeros(_KINDS), []
        for start in range(0, size, _CHUNK):
            count = min(_CHUNK, size - start)
            places = self.space.pool(number, start, count)
            kind = self.kind(self.surrogate.location(places))
            shares += np.bincount(kind, minlength=_KINDS)
            coin = uniforms(seed, first + start // _CHUNK, number * 16, count)
            into = np.flatnonzero(coin < inclusion[kind])
            chosen.append((places[into], kind[into], coin[into]))
        return Drawn(shares / size, *(np.concatenate([c[k] for c in chosen]) for k in range(3)))


def uniforms(seed: int, index: int, purpose: int, count: int) -> np.ndarray:
    """Return uniform numbers between 0 and 1 that no instance draws from."""
    drawn = words(seed, index, _COINS + purpose, 2 * count)
    return np.asarray((drawn[0::2].astype(np.float64) * 2.0**32 + drawn[1::2]) * 2.0**-64)
