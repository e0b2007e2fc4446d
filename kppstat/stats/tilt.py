"""Proposals that tilt standard normals along a few directions, and their exact likelihood ratios.

A component tilts one scalar ``t = d . z`` along a unit direction `d` and leaves the rest of `z` as it was given `t`, so
its likelihood ratio depends on `t` alone, in any dimension. A mixture of components with a nominal share ``a_0`` has
``w = 1 / (a_0 + sum_j a_j g_j(d_j . z))``, with ``g_j`` the density of component `j` over the nominal one: never above
``1 / a_0``, whatever the components are.

Source: defensive mixtures, Owen & Zhou, Safe and effective importance sampling, J. Amer. Statist. Assoc. 95 (2000);
the density ``phi sqrt(r)`` for an event with conditional probability `r` has the least second moment, by the
Cauchy-Schwarz inequality.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from kppstat.errors import DataError, SettingError

__all__ = ["Tilt", "mixture_weights", "root_tilt", "shift_tilt"]

_REACH, _CELLS = 8.0, 1600


def _edges() -> np.ndarray:
    """Return the edges between cells of the normal scale; the two outer cells reach to infinity."""
    return np.linspace(-_REACH, _REACH, _CELLS + 1)


def _nominal(edges: np.ndarray) -> np.ndarray:
    """Return the standard normal probability of each cell, shape (m + 1,)."""
    # The upper half from its own tail: a difference of numbers near 1 would lose the far cells.
    lower = np.diff(ndtr(edges), prepend=0, append=1)
    upper = -np.diff(ndtr(-edges), prepend=1, append=0)
    return np.asarray(np.where(np.append(edges, math.inf) <= 0, lower, upper))


@dataclass(frozen=True, slots=True, eq=False)
class Tilt:
    """A law of one scalar that is proportional to the standard normal within each of many cells.

    Attributes
    ----------
    edges : ndarray, shape (m,)
        Between the cells, rising; the outer cells reach to infinity.
    masses : ndarray, shape (m + 1,)
        Probability of each cell, adding to 1.
    """

    edges: np.ndarray
    masses: np.ndarray

    def __post_init__(self) -> None:
        fits = self.masses.shape == (self.edges.size + 1,) and (np.diff(self.edges) > 0).all()
        if not fits or not (self.masses >= 0).all() or not math.isclose(self.masses.sum(), 1, abs_tol=1e-9):
            raise SettingError("the masses of the cells are no law", where="Tilt")

    def ratio(self, t: ArrayLike) -> np.ndarray:
        """Return the density over the standard normal one at `t`, of any shape.

        Examples
        --------
        >>> float(shift_tilt(-1.0).ratio(-1.5).round(1))  # about exp(-t - 1 / 2), averaged over the cell
        2.7
        """
        cell = np.searchsorted(self.edges, np.asarray(t, dtype=np.float64), side="right")
        return np.asarray((self.masses / _nominal(self.edges))[cell])

    def draw(self, uniform: ArrayLike) -> np.ndarray:
        """Return the scalars at these uniform numbers, by the inverse distribution function.

        Parameters
        ----------
        uniform : array_like, any shape
            Between 0 and 1, the ends left out.

        Raises
        ------
        DataError
            If a number is not between 0 and 1.

        Examples
        --------
        >>> float(shift_tilt(-1.0).draw(0.5).round(2))
        -1.0
        """
        u = np.asarray(uniform, dtype=np.float64)
        if not ((u > 0) & (u < 1)).all():
            raise DataError("a number is not strictly between 0 and 1", where="uniform")
        total = np.cumsum(self.masses)
        # A cell of no mass is never hit: searching from the right passes over it.
        cell = np.minimum(np.searchsorted(total, u, side="right"), np.flatnonzero(self.masses)[-1])
        start = np.where(cell > 0, total[np.maximum(cell - 1, 0)], 0.0)
        within = np.clip((u - start) / self.masses[cell], 1e-16, 1 - 1e-16)
        left, right = np.append(-math.inf, self.edges)[cell], np.append(self.edges, math.inf)[cell]
        # Mirror the upper half, where the normal distribution function has no digits left.
        mirror = left >= 0
        a = np.where(mirror, ndtr(-right), ndtr(left))
        b = np.where(mirror, ndtr(-left), ndtr(right))
        z = ndtri(np.where(mirror, b - within * (b - a), a + within * (b - a)))
        return np.asarray(np.clip(np.where(mirror, -z, z), left, np.nextafter(right, -math.inf)))


def shift_tilt(mean: float, sd: float = 1.0) -> Tilt:
    """Return the normal law of this mean and standard deviation, cell by cell.

    Raises
    ------
    SettingError
        If the mean is beyond 6 or the standard deviation is not between 0.1 and 2.
    """
    if not (abs(mean) <= 6 and 0.1 <= sd <= 2):
        raise SettingError(f"a shift by {mean!r} with standard deviation {sd!r} is out of range", where="shift")
    scaled = (_edges() - mean) / sd
    masses = np.diff(ndtr(scaled), prepend=0, append=1)
    return Tilt(_edges(), masses / masses.sum())


def root_tilt(conditional: Callable[[np.ndarray], np.ndarray]) -> Tilt:
    """Return the best law for an event whose conditional probability given the scalar is known, or guessed.

    Parameters
    ----------
    conditional : callable
        Maps scalars of shape (m,) to the probability of the event given each; the density becomes proportional to
        the normal one times its square root.

    Raises
    ------
    SettingError
        If it returns anything but probabilities, or 0 everywhere.

    Examples
    --------
    >>> tilt = root_tilt(lambda t: ndtr(-3 - 2 * t))
    >>> bool(tilt.draw(0.5) < -1)
    True
    """
    edges = _edges()
    middles = np.concatenate([[edges[0]], (edges[:-1] + edges[1:]) / 2, [edges[-1]]])
    chance = np.asarray(conditional(middles), dtype=np.float64)
    if chance.shape != middles.shape or not ((chance >= 0) & (chance <= 1)).all():
        raise SettingError("the conditional probabilities are not between 0 and 1", where="conditional")
    masses = _nominal(edges) * np.sqrt(chance)
    if masses.sum() <= 0:
        raise SettingError("the event has no probability anywhere", where="conditional")
    return Tilt(edges, masses / masses.sum())


def mixture_weights(scalars: ArrayLike, tilts: Sequence[Tilt], shares: ArrayLike) -> np.ndarray:
    """Return the likelihood ratios of the nominal law to a defensive mixture of tilts.

    Parameters
    ----------
    scalars : array_like, shape (n, m)
        ``d_j . z`` of every draw along the unit direction of every component, from whichever component it came.
    tilts : sequence of Tilt, length m
    shares : array_like, shape (m,)
        Probability of each component, adding to less than 1; the rest is the nominal share.

    Returns
    -------
    ndarray, shape (n,)
        Between 0 and one over the nominal share.

    Raises
    ------
    DataError
        If the scalars do not fit the tilts or some are NaN.
    SettingError
        If the shares leave nothing to the nominal law.

    Examples
    --------
    >>> mixture_weights([[0.0], [-3.0]], [shift_tilt(-3.0)], [0.5]).round(2)
    array([1.98, 0.02])
    """
    t, a = np.asarray(scalars, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    if a.shape != (len(tilts),) or not (a >= 0).all() or not a.sum() < 1:
        raise SettingError(
            f"shares {a.tolist()} for {len(tilts)} tilts leave no nominal share",
            where="shares",
            remedy="Give one share for each tilt, less than 1 together",
        )
    if t.ndim != 2 or t.shape[1] != len(tilts) or np.isnan(t).any():
        raise DataError(f"scalars of shape {t.shape} do not fit {len(tilts)} tilts", where="scalars")
    density = np.full(t.shape[0], 1 - a.sum())
    for j, tilt in enumerate(tilts):
        density += a[j] * tilt.ratio(t[:, j])
    return 1 / density
