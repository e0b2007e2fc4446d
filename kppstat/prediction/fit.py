"""Whether instances agree with the law of the logits, and which variant of it is closest to them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_CERTAIN = 3.0  # standard errors from which on they disagree


def disagreements(predicted: np.ndarray, seen: np.ndarray, weights: np.ndarray, stands_for: np.ndarray) -> list[str]:
    """Compare drawn scores with those of instances on the same inputs; say where they differ by more than chance.

    Mean and spread of the weighted scores are compared. Chance is that of the wider law, with the kurtosis that heavy
    tails give: if the prediction held, instances would vary as predicted, whatever they happen to show.

    Parameters
    ----------
    predicted : ndarray, shape (draws, n)
    seen : ndarray, shape (instances, n)
    weights : ndarray, shape (n,)
        What each input stands for.
    stands_for : ndarray, shape (instances,)
        What each instance stands for; they sum to one. They tell as much as ``1 / sum of squares`` equal ones (Kish,
        Survey Sampling, 1965, section 11.7).

    Examples
    --------
    >>> steady, wild = np.ones((100, 4)), (np.arange(1200).reshape(300, 4) % 5 < 4).astype(float)
    >>> alike = np.full(100, 0.01)
    >>> disagreements(wild, wild[:100], np.ones(4), alike)
    []
    >>> disagreements(wild, steady, np.ones(4), alike)[0]
    '100 instances have a mean performance of 1 on 4 inputs, for which 0.8 is predicted'
    """
    share = weights / weights.sum()
    ours, theirs = predicted @ share, seen @ share
    count = 1 / float((stands_for**2).sum())
    mean, own_spread, own_kurtosis = moments(theirs, stands_for)
    own_spread *= np.sqrt(count / max(count - 1, 1))
    usual = float(ours.std(ddof=1))
    spread = max(usual, own_spread)
    where = f"on {len(weights)} inputs, for which"
    notes = []
    if abs(ours.mean() - mean) > _CERTAIN * spread / np.sqrt(count) + 1e-9:
        notes.append(
            f"{len(seen)} instances have a mean performance of {mean:.4g} {where} {ours.mean():.4g} is predicted"
        )
    heavy = max(moments(ours, np.full(len(ours), 1 / len(ours)))[2], own_kurtosis)
    # A single input that flips in one of few instances is no evidence.
    chance = _CERTAIN * spread / 2 * np.sqrt((heavy - 1) / count) + share.max() / np.sqrt(count)
    if abs(usual - own_spread) > chance:
        notes.append(f"{len(seen)} instances spread by {own_spread:.3g} {where} {usual:.3g} is predicted")
    return notes


def closest(variants: Iterable[np.ndarray], seen: np.ndarray, stands_for: np.ndarray) -> int:
    """Return which of several laws has the mean score of each input closest to that of instances.

    Parameters
    ----------
    variants : iterable of ndarray, shape (draws, n)
        Scores drawn from each.
    seen : ndarray, shape (instances, n)
    stands_for : ndarray, shape (instances,)
        What each instance stands for; they sum to one.
    """
    wanted = stands_for @ seen
    return int(np.argmin([((drawn.mean(axis=0) - wanted) ** 2).sum() for drawn in variants]))


def moments(values: np.ndarray, stands_for: np.ndarray) -> tuple[float, float, float]:
    """Return mean, standard deviation and kurtosis, which counts as 3, as of a normal law, where nothing varies.

    Examples
    --------
    >>> moments(np.array([1.0, -1.0]), np.array([0.5, 0.5]))
    (0.0, 1.0, 1.0)
    """
    mean = float(stands_for @ values)
    square = float(stands_for @ (values - mean) ** 2)
    return mean, float(np.sqrt(square)), float(stands_for @ (values - mean) ** 4) / square**2 if square > 0 else 3.0
