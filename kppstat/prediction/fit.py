"""Whether pilot instances agree with the law of the logits, and which variant of it is closest to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kppstat.prediction.logits import Logits

_SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)  # of the nonlinear variance, tried on the pilot
_APART = 0.6  # ratio of spreads on the pilot from which on they disagree


@dataclass(frozen=True)
class Fit:
    """A variant of the law, the scores that it draws for the pilot inputs, and what spoke against the usual one."""

    calibrated: bool
    share: float
    drawn: np.ndarray
    rejected: tuple[str, ...] = ()


def best_fit(law_of: Callable[[bool, float], Logits], draw: Callable[[Logits], np.ndarray], seen: np.ndarray) -> Fit:
    """Choose whether correlations are corrected, and how much of the nonlinear variance counts.

    All of both, unless the pilot instances contradict that: then the variant whose mean score of each pilot input is
    closest to theirs. (Choosing always would add the pilot's own noise.)

    Parameters
    ----------
    law_of : callable
        From whether correlations are corrected, and the share of the nonlinear variance, to the law of pilot inputs.
    draw : callable
        From a law to drawn scores, shape (draws, n).
    seen : ndarray, shape (instances, n)
        Scores in pilot instances.
    """
    usual = Fit(True, 1.0, draw(law_of(True, 1.0)))
    against = tuple(_disagreements(usual.drawn, seen))
    if not against:
        return usual
    best, least = usual, np.inf
    for calibrated in (True, False):
        for share in _SHARES:
            drawn = draw(law_of(calibrated, share))
            error = float(((drawn.mean(axis=0) - seen.mean(axis=0)) ** 2).sum())
            if error < least:
                best, least = Fit(calibrated, share, drawn, against), error
    return best


def _disagreements(predicted: np.ndarray, seen: np.ndarray) -> list[str]:
    """Compare the prediction with the pilot instances on the same inputs; say where they differ by more than chance."""
    notes = []
    ours, theirs = predicted.mean(axis=1), seen.mean(axis=1)
    # If the prediction held, the pilot would spread as predicted, whatever it happens to show.
    error = max(theirs.std(ddof=1), ours.std(ddof=1)) / np.sqrt(len(theirs))
    if abs(ours.mean() - theirs.mean()) > 3 * error + 1e-9:
        notes.append(
            f"{len(theirs)} pilot instances have a mean performance of {theirs.mean():.4g} on {seen.shape[1]} inputs, "
            f"for which {ours.mean():.4g} is predicted"
        )
    narrow, wide = sorted((ours.std(ddof=1), theirs.std(ddof=1)))
    # A single input that flips in one of few instances is no evidence.
    if narrow < _APART * wide and wide - narrow > 1 / seen.shape[1]:
        notes.append(
            f"pilot instances spread by {theirs.std(ddof=1):.3g}, for which {ours.std(ddof=1):.3g} is predicted"
        )
    return notes
