"""Whether instances agree with the law of the logits, and which variant of it is closest to them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_CERTAIN = 3.0  # standard errors from which on they disagree


def disagreements(predicted: np.ndarray, seen: np.ndarray, weights: np.ndarray) -> list[str]:
    """Compare drawn scores with those of instances on the same inputs; say where they differ by more than chance.

    Mean and spread of the weighted scores are compared. Chance is that of the wider law, with the kurtosis that heavy
    tails give: if the prediction held, instances would vary as predicted, whatever they happen to show.

    Parameters
    ----------
    predicted : ndarray, shape (draws, n)
    seen : ndarray, shape (instances, n)
    weights : ndarray, shape (n,)
        What each input stands for.

    Examples
    --------
    >>> steady, wild = np.ones((100, 4)), (np.arange(1200).reshape(300, 4) % 5 < 4).astype(float)
    >>> disagreements(wild, wild[:100], np.ones(4))
    []
    >>> disagreements(wild, steady, np.ones(4))[0]
    '100 instances have a mean performance of 1 on 4 inputs, for which 0.8 is predicted'
    """
    share = weights / weights.sum()
    ours, theirs = predicted @ share, seen @ share
    count = len(theirs)
    spread = max(ours.std(ddof=1), theirs.std(ddof=1))
    where = f"on {len(weights)} inputs, for which"
    notes = []
    if abs(ours.mean() - theirs.mean()) > _CERTAIN * spread / np.sqrt(count) + 1e-9:
        notes.append(
            f"{count} instances have a mean performance of {theirs.mean():.4g} {where} {ours.mean():.4g} is predicted"
        )
    heavy = max(kurtosis(ours), kurtosis(theirs))
    difference = abs(ours.std(ddof=1) - theirs.std(ddof=1))
    # A single input that flips in one of few instances is no evidence.
    if difference > _CERTAIN * spread / 2 * np.sqrt((heavy - 1) / count) + share.max() / np.sqrt(count):
        notes.append(
            f"{count} instances spread by {theirs.std(ddof=1):.3g} {where} {ours.std(ddof=1):.3g} is predicted"
        )
    return notes


def closest(variants: Iterable[np.ndarray], seen: np.ndarray) -> int:
    """Return which of several laws has the mean score of each input closest to that of instances.

    Parameters
    ----------
    variants : iterable of ndarray, shape (draws, n)
        Scores drawn from each.
    seen : ndarray, shape (instances, n)
    """
    return int(np.argmin([((drawn.mean(axis=0) - seen.mean(axis=0)) ** 2).sum() for drawn in variants]))


def kurtosis(values: np.ndarray) -> float:
    """Return the fourth central moment over the square of the second; 3, as of a normal law, where nothing varies."""
    apart = values - values.mean()
    square = float((apart**2).mean())
    return float((apart**4).mean()) / square**2 if square > 0 else 3.0
