"""The distribution of performance over instances, from the law of the logits of some inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import ndtri

from kppstat.prediction.curve import PLACES, between
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
    n, outputs = law.mean.shape
    places = (law.columns + outputs * np.arange(n)[:, None]).reshape(-1)
    followed = np.flatnonzero(law.followed)
    flat = _rows(law)
    moving, middle = places[followed], law.mean.astype(np.float32).reshape(-1)
    bends = np.zeros((len(PLACES), len(middle)), np.float32)
    if law.bend is not None:
        bends[:, places] = law.bend.reshape(len(law.bend), -1)
    parts = []
    for z in _normals(law, flat, draws, seed):
        count = z.shape[1]
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


def coordinates(law: Logits, along: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Return where the instances that `scores` draws lie along directions, shape (draws, count).

    Parameters
    ----------
    law, draws, seed
        As for `scores`.
    along : ndarray, shape (r, count)
        Directions in the space of the features.
    """
    parts = []
    for z in _normals(law, _rows(law), draws, seed):
        at = z.T @ along
        parts += [at, -at]
    return np.concatenate(parts)[:draws]


def _rows(law: Logits) -> np.ndarray:
    """Return the features of the logits that are followed, as long as their standard deviations."""
    followed = np.flatnonzero(law.followed)
    flat = law.features.reshape(-1, law.features.shape[2])[followed]
    flat *= np.sqrt(law.smooth, dtype=np.float32).reshape(-1, 1)[followed]
    return flat


def _normals(law: Logits, flat: np.ndarray, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the normals of half of the instances drawn, some at a time, shape (r, count); the others mirror them."""
    n, outputs = law.mean.shape
    rng = np.random.default_rng([seed, 1])
    basis = _leading(flat, rng)
    half = -(-draws // 2)
    spread_out = _stratified(basis.shape[1], half, rng)
    at_once = max(1, min(half, _AT_ONCE // max(2 * n * outputs, 1)))
    for begin in range(0, half, at_once):
        count = min(at_once, half - begin)
        z = rng.standard_normal((flat.shape[1], count), dtype=np.float32)
        z += basis @ (spread_out[:, begin : begin + count] - basis.T @ z)
        yield z


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
    variance, each = changes.var(ddof=1), drawn.var(axis=0, ddof=1)
    wanted = shared(variance, each, weights) + float(weights @ each) / total
    factor = np.sqrt(wanted / variance) if variance > 0 else 0.0
    return np.clip(level + shift + changes.mean() + factor * (changes - changes.mean()), low, high)


def shared(variance: float, each: np.ndarray, weights: np.ndarray) -> float:
    """Return what inputs have in common of the variance of a weighted sum of scores: their covariances.

    Parameters
    ----------
    variance : float
        Of the weighted sum over instances.
    each : ndarray, shape (n,)
        Variance of the score of each input.
    weights : ndarray, shape (n,)

    Examples
    --------
    >>> round(shared(0.26, np.ones(4), np.full(4, 0.25)), 6)
    0.01
    """
    return max(float(variance) - float(weights**2 @ each), 0.0)
