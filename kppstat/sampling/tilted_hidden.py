"""An exact bound on the mass of failures that the surrogate does not see."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from kppstat.sampling.tilted_ledger import Looks, stages
from kppstat.stats.audit import LOWER
from kppstat.stats.share import share_bound_ever

__all__ = ["HiddenMass"]

#: With which probability an audit may overlook a failure; the bound makes up for it.
_ERROR = 0.05


class HiddenMass:
    """Counts failures in the blind spot of the surrogate among instances of the nominal share.

    Threshold and blind spot are fixed before they are drawn. Each is audited: inputs are revealed until it is shown to
    be above the threshold, with an error, or else it counts as a failure. So each is a hit with no less than the mass
    times one minus that error, and the bets of `kppstat.stats.share.share_bound_ever` bound it: they hold at all looks,
    although what was met so far decides how many are drawn next, and however audits steer each other
    (`kppstat.stats.betting`). How many of a wave count is decided before the wave.

    Parameters
    ----------
    looks : Looks
    confidence : float
    threshold : float
        A performance at or below this is a failure, as a share.
    """

    def __init__(self, looks: Looks, confidence: float, threshold: float) -> None:
        self._looks, self._confidence, self.threshold = looks, confidence, threshold
        self._draws = self._hits = 0
        self._best = 1.0

    def audit(self, ids: np.ndarray, blind: np.ndarray, share: float, most: float) -> Iterator[int]:
        """Audit the first of these nominal instances, as far as should cost so many evaluations; yield now and then.

        Parameters
        ----------
        ids : ndarray of int
            All instances of the nominal share of a wave.
        blind : ndarray of bool
            Whether the surrogate has them looked at less often than the average; the others are not hidden.
        share : float
            Of all instances that are blind, about, as found elsewhere.
        most : float
            Decided before the wave.
        """
        ledger, inputs = self._looks.ledger, self._looks.inputs
        needed = -math.log(_ERROR)
        price = min(1.0, 2 * needed / max(float(ledger.rate_above[0]), 1e-9) / inputs)
        count = int(most / price / max(share, 1e-9))
        draws = min(count, len(ids))
        ids = ids[:draws][blind[:draws]]
        open_, before = ids, ledger.cost
        while len(open_):
            shown = ledger.book.evidence(open_, self.threshold, LOWER) >= needed
            seen = ledger.book.seen(open_)
            open_ = open_[~shown & (seen < inputs)]
            # Chance may have left out the first look at some.
            wanted = np.clip(2 * ledger.book.seen(open_), min(stages(inputs)[0], inputs), inputs).astype(np.int64)
            if ledger.cost - before + float((wanted - ledger.book.seen(open_)).sum()) / inputs > 2 * most:
                break  # those left open count as failures
            yield from self._looks.more(open_, wanted)
        if draws:
            self._draws += draws
            self._hits += int((ledger.book.evidence(ids, self.threshold, LOWER) < needed).sum())
            bound = share_bound_ever(self._hits, self._draws, self._confidence)
            self._best = min(self._best, bound / (1 - _ERROR))  # all of them hold at once

    def bound(self) -> float:
        """Return what the mass is not above, with the confidence given."""
        return min(self._best, 1.0)
