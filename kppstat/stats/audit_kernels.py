"""Kernels of audits: the tables of `kppstat.stats.audit.AuditBook`, one row for each instance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

#: Sides of a bound: that the mean is above a threshold, and that it is below one.
LOWER, UPPER = 0, 1

#: Runs of draws kept for each instance; two neighbours are merged when they are full.
RUNS = 32
#: Columns of the table of sums.
SEEN, SCORE, WEIGHT, EXPECTED, ESTIMATES, SIDES = 0, 1, 2, 3, 4, 5


@njit(nogil=True, cache=True)
def alias_table(weights: Any) -> Any:
    """Return the tables of Walker's alias method: cuts and aliases (Vose, IEEE Trans. Softw. Eng. 17, 1991)."""
    n = weights.size
    cut = weights * (n / weights.sum())
    alias = np.arange(n)
    small, large = np.empty(n, np.int64), np.empty(n, np.int64)
    n_small, n_large = 0, 0
    for j in range(n):
        if cut[j] < 1:
            small[n_small] = j
            n_small += 1
        else:
            large[n_large] = j
            n_large += 1
    while n_small > 0 and n_large > 0:
        n_small -= 1
        few, many = small[n_small], large[n_large - 1]
        alias[few] = many
        cut[many] -= 1 - cut[few]
        if cut[many] < 1:
            n_large -= 1
            small[n_small] = many
            n_small += 1
    for k in range(n_small):
        cut[small[k]] = 1.0
    for k in range(n_large):
        cut[large[k]] = 1.0
    return cut, alias


@njit(nogil=True, cache=True)
def draw(words: Any, cut: Any, alias: Any, seen: Any, rows: Any) -> int:
    """Fill `rows` with inputs not seen before and mark them; undo and return fewer where the words run out."""
    found = 0
    n, half = np.uint64(cut.size), np.uint64(32)
    for k in range(words.size // 2):
        if found == rows.size:
            break
        # A random fraction of 64 bits times n, in fixed point: its whole part is a place, the rest decides on aliases.
        place = np.uint64(words[2 * k]) * n + (np.uint64(words[2 * k + 1]) * n >> half)
        j = np.int64(place >> half)
        if np.float64(np.uint32(place)) * 2.0**-32 >= cut[j]:
            j = alias[j]
        if not seen[j >> 3] >> (j & 7) & 1:
            seen[j >> 3] |= np.uint8(1 << (j & 7))
            rows[found] = j
            found += 1
    if found < rows.size:
        for k in range(found):
            seen[rows[k] >> 3] &= np.uint8(255 ^ 1 << (rows[k] & 7))
    return found


@njit(nogil=True, cache=True)
def rebind(seen: Any, sums: Any, count: int, fresh: Any, weights: Any, expected: Any, payoffs: Any) -> None:
    """Give the sums over inputs not revealed their values under a new design."""
    for i in range(count):
        sums[i, WEIGHT:ESTIMATES] = fresh[WEIGHT:ESTIMATES]
        sums[i, SIDES:] = fresh[SIDES:]
        if 0 < sums[i, SEEN] < weights.size:
            for b in range(seen.shape[1]):
                if seen[i, b]:
                    for c in range(8):
                        if seen[i, b] >> c & 1:
                            j = 8 * b + c
                            sums[i, WEIGHT] -= weights[j]
                            sums[i, EXPECTED] -= expected[j]
                            for g in range(payoffs.shape[0]):
                                sums[i, SIDES + g] -= payoffs[g, j]


@njit(nogil=True, cache=True)
def end_run(size: int, lower: float, upper: float, i: int, run_size: Any, run_mean: Any, runs: Any) -> None:
    """Store a run of draws: its size and the means of both denominators without the threshold."""
    if runs[i] == RUNS:
        # By Jensen, sum log(T + X) <= size * log(mean T + X): merging can only weaken the evidence.
        for b in range(RUNS // 2):
            m, n = run_size[i, 2 * b], run_size[i, 2 * b + 1]
            run_size[i, b] = m + n
            for side in range(2):
                run_mean[i, side, b] = (m * run_mean[i, side, 2 * b] + n * run_mean[i, side, 2 * b + 1]) / (m + n)
        runs[i] = RUNS // 2
    run_size[i, runs[i]] = size
    run_mean[i, LOWER, runs[i]], run_mean[i, UPPER, runs[i]] = lower / size, upper / size
    runs[i] += 1


@njit(nogil=True, cache=True)
def absorb(
    ids: Any, counts: Any, rows: Any, scores: Any, lower: Any, upper: Any, weights: Any, expected: Any, payoffs: Any,
    right: Any, sums: Any, log: Any, run_size: Any, run_mean: Any, runs: Any, inputs: int, seen_of: Any, score_of: Any,
) -> None:  # fmt: skip
    """Take the scores of drawn inputs in; see `AuditBook.absorb`."""
    at = 0
    for k in range(ids.size):
        i, g, h = ids[k], lower[k], upper[k]
        if sums[i, SEEN] + counts[k] >= inputs:
            for a in range(at, at + counts[k]):
                sums[i, SCORE] += scores[a]
                if scores[a] >= 0.5:
                    right[i, rows[a] >> 3] |= np.uint8(1 << (rows[a] & 7))
            sums[i, SEEN] = inputs
            at += counts[k]
            continue
        length = max(16, (int(sums[i, SEEN]) + counts[k]) // 24)
        size, below, above = 0, 0.0, 0.0
        for a in range(at, at + counts[k]):
            j, s = rows[a], scores[a]
            odds = sums[i, WEIGHT] / weights[j]
            below += sums[i, SIDES + g] - sums[i, SCORE]
            above += sums[i, SIDES + h] - (sums[i, SEEN] - sums[i, SCORE])
            log[i, LOWER] += math.log((payoffs[g, j] + s) * odds)
            log[i, UPPER] += math.log((payoffs[h, j] + 1 - s) * odds)
            sums[i, ESTIMATES] += sums[i, SCORE] + sums[i, EXPECTED] + (s - expected[j]) * odds
            sums[i, SEEN] += 1
            sums[i, SCORE] += s
            sums[i, WEIGHT] -= weights[j]
            sums[i, EXPECTED] -= expected[j]
            for f in range(payoffs.shape[0]):
                sums[i, SIDES + f] -= payoffs[f, j]
            if s >= 0.5:
                right[i, j >> 3] |= np.uint8(1 << (j & 7))
            seen_of[j] += 1
            score_of[j] += s
            size += 1
            if size == length or a == at + counts[k] - 1:
                end_run(size, below, above, i, run_size, run_mean, runs)
                size, below, above = 0, 0.0, 0.0
        at += counts[k]


@njit(nogil=True, cache=True)
def log_evidence(i: int, total: float, side: int, log: Any, run_size: Any, run_mean: Any, runs: Any) -> float:
    """Log of the product for instance `i` against a total of at most `total` (of the losses on the upper side)."""
    value = log[i, side]
    for b in range(runs[i]):
        denominator = run_mean[i, side, b] + total
        if denominator <= 0:
            return np.inf
        value -= run_size[i, b] * math.log(denominator)
    return value


@njit(nogil=True, cache=True)
def evidence(
    ids: Any, threshold: float, side: int, sums: Any, log: Any, run_size: Any, run_mean: Any, runs: Any, inputs: int,
    out: Any,
) -> None:  # fmt: skip
    """Fill `out` with log evidence; see `AuditBook.evidence`."""
    total = inputs * (threshold if side == LOWER else 1 - threshold)
    for k in range(ids.size):
        i = ids[k]
        if sums[i, SEEN] >= inputs:
            # On either side the hypothesis holds the threshold itself.
            mean = sums[i, SCORE] / inputs
            out[k] = np.inf if (mean > threshold if side == LOWER else mean < threshold) else -np.inf
        else:
            out[k] = log_evidence(i, total, side, log, run_size, run_mean, runs)


@njit(nogil=True, cache=True)
def bounds(
    ids: Any, needed: float, side: int, sums: Any, log: Any, run_size: Any, run_mean: Any, runs: Any, inputs: int,
    bounded: Any, best: Any,
) -> None:  # fmt: skip
    """Tighten the bounds of one side to the largest total that the evidence excludes."""
    for k in range(ids.size):
        i = ids[k]
        if sums[i, SEEN] == bounded[i, side]:
            continue  # nothing new since
        bounded[i, side] = int(sums[i, SEEN])
        known = sums[i, SCORE] if side == LOWER else sums[i, SEEN] - sums[i, SCORE]
        if sums[i, SEEN] >= inputs:
            best[i] = sums[i, SCORE] / inputs
            continue
        # What is excluded is a total; the bound so far and the scores seen are excluded already.
        low = max(known, inputs * (best[i] if side == LOWER else 1 - best[i]))
        if runs[i] == 0 or log_evidence(i, low + 0.01, side, log, run_size, run_mean, runs) < needed:
            out = low
        else:
            high = float(inputs)
            while high - low > 0.01:
                middle = (low + high) / 2
                if log_evidence(i, middle, side, log, run_size, run_mean, runs) >= needed:
                    low = middle
                else:
                    high = middle
            out = low
        best[i] = out / inputs if side == LOWER else 1 - out / inputs
