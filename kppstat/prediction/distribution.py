"""The distribution of performance over instances, from the law of the logits of some inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtri

from kppstat.prediction.curve import PLACES, between
from kppstat.prediction.fit import kurtosis
from kppstat.prediction.logits import Logits

DRAWS = 4096
_LEADING, _ROUNDS = 16, 4  # directions in which draws are stratified, and how they are found
_AT_ONCE = 1 << 23  # logits drawn at a time


def scores(
    law: Logits, score: Callable[[np.ndarray, np.ndarray], np.ndarray], draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """Return the score of each input in drawn instances, shape (draws, n).

    Parameters
    ----------
    law : Logits
    score : callable
        From logits of the shape (m, outputs) and the numbers of their inputs (m,) to scores (m,).
    draws : int
    seed : int
    """
    n, turns, r = law.features.shape
    outputs = law.mean.shape[1]
    places = (law.columns + outputs * np.arange(n)[:, None]).reshape(-1)
    followed = np.flatnonzero(law.followed)
    flat = law.features.reshape(n * turns, r)[followed]
    flat *= np.sqrt(law.smooth, dtype=np.float32).reshape(-1, 1)[followed]
    moving, middle = places[followed], law.mean.astype(np.float32).reshape(-1)
    bends = np.zeros((len(PLACES), len(middle)), np.float32)
    if law.bend is not None:
        bends[:, places] = law.bend.reshape(len(law.bend), -1)
    rng = np.random.default_rng([seed, 1])
    basis = _leading(flat, rng)
    half = -(-draws // 2)
    spread_out = _stratified(basis.shape[1], half, rng)
    at_once = max(1, min(half, _AT_ONCE // max(2 * n * outputs, 1)))
    parts = []
    for begin in range(0, half, at_once):
        count = min(at_once, half - begin)
        z = rng.standard_normal((r, count), dtype=np.float32)
        z += basis @ (spread_out[:, begin : begin + count] - basis.T @ z)
        # An instance and its mirror image, which is as likely.
        at = np.zeros(2 * count) if law.along is None else np.concatenate([law.along @ z, -law.along @ z])
        values = between(at).astype(np.float32) @ bends
        values += middle
        apart = z.T @ flat.T
        values[:count, moving] += apart
        values[count:, moving] -= apart
        rows = np.broadcast_to(np.arange(n), (2 * count, n)).reshape(-1)
        parts.append(score(values.reshape(2 * count * n, outputs), rows).reshape(2 * count, n))
    return np.concatenate(parts)[:draws]


def _leading(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an orthonormal basis of about the leading directions of the rows, by subspace iteration."""
    basis = rng.standard_normal((rows.shape[1], min(_LEADING, *rows.shape)), dtype=np.float32)
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
    return basis


def _stratified(dimensions: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return normals, shape (dimensions, draws), each row with one value in every stratum (Latin hypercube)."""
    strata = np.array([rng.permutation(draws) for _ in range(dimensions)]).reshape(dimensions, draws)
    return ndtri((strata + rng.uniform(size=strata.shape)) / draws).astype(np.float32)


def of_all(
    drawn: np.ndarray,
    clean: np.ndarray,
    weights: np.ndarray,
    level: float,
    total: int,
    low: float,
    high: float,
    shift: float = 0.0,
) -> np.ndarray:
    """Return drawn performances on all `total` inputs from drawn scores of the chosen ones.

    An instance's performance is the clean one plus the weighted sum of the changes of the chosen inputs. Its variance
    over instances is the covariance of pairs of inputs, which a part estimates, plus what is each input's own, of
    which a part has too much: it falls with the number of inputs. The performances are drawn together until their
    variance is that of `total` inputs, which keeps their shape.

    Parameters
    ----------
    drawn : ndarray, shape (draws, n)
    clean : ndarray, shape (n,)
        Scores of the intended weights.
    weights : ndarray, shape (n,)
        Such that a weighted sum estimates a mean over all inputs.
    level : float
        Performance of the intended weights on all inputs.
    total : int
    low, high : float
        Bounds of the performance.
    shift : float
        What a guess for every input says that the chosen ones miss of the mean change.
    """
    changes = (drawn - clean) @ weights
    each = drawn.var(axis=0, ddof=1)
    variance = changes.var(ddof=1)
    shared = max(variance - float(weights**2 @ each), 0.0)
    wanted = shared + float(weights @ each) / total
    factor = np.sqrt(wanted / variance) if variance > 0 else 0.0
    return np.clip(level + shift + changes.mean() + factor * (changes - changes.mean()), low, high)


def corrected(
    drawn: np.ndarray, there: np.ndarray, seen: np.ndarray, low: float, high: float, doubt: float
) -> np.ndarray:
    """Return drawn performances with mean and spread corrected by what instances show on a few inputs.

    The mean is what they show. Spread they tell less well: it moves towards theirs by the share ``d^2 / (d^2 + e^2)``
    of the way, where d is `doubt` and e the relative standard error of a standard deviation from so many instances,
    ``e^2 = (kurtosis - 1) / (4 m)``. That is the posterior mean of the log of the spread, if the spread of the law is
    off by a normal relative error of the standard deviation d (Gelman et al., Bayesian Data Analysis, section 2.5).

    Parameters
    ----------
    drawn : ndarray, shape (draws,)
    there, seen : ndarray, shape (draws,) and (m,)
        Performances by a few inputs only: drawn ones, and those of instances.
    low, high : float
        Bounds of the performance.
    doubt : float
        By how much the spread of the law may be off, relative; infinite, and the spread is that of the instances.

    Examples
    --------
    >>> drawn, there, seen = np.array([0.4, 0.6]), np.array([0.5, 0.6]), np.array([0.4, 0.6])
    >>> [corrected(drawn, there, seen, 0, 1, doubt).round(3).tolist() for doubt in (0, np.inf)]
    [[0.35, 0.55], [0.25, 0.65]]
    """
    ours, theirs = float(there.std(ddof=1)), float(seen.std(ddof=1))
    error = np.sqrt((max(kurtosis(there), kurtosis(seen)) - 1) / (4 * len(seen)))
    trust = 1 / (1 + (error / doubt) ** 2) if doubt > 0 else 0.0
    factor = (theirs / ours) ** trust if ours > 0 else 1.0
    return np.clip(drawn.mean() + seen.mean() - there.mean() + factor * (drawn - drawn.mean()), low, high)
