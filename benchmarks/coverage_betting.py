"""Coverage of the bets of guaranteed tilted sampling, looked at after every round, with audits that err as they may.

Draws have a place that decides how often they become instances, and a performance that the place explains, does not, or
explains the wrong way round; designs are made for the place as if it told. Audits are as bad as they may be: a bound is
wrong as often as its error allows, and otherwise the performance itself, so nothing is gained by caution. A run counts
as missed if any of its intervals misses, after any of its rounds.

    python -m benchmarks.coverage_betting [--replications 1000]     # writes benchmarks/results/coverage_betting.csv
"""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.settings import order_statistic, run_settings
from kppstat.stats.betting import Round, growth, high_end, low_end
from kppstat.stats.bracket import planned_errors

OUT = Path(__file__).parent / "results" / "coverage_betting.csv"
CONFIDENCE = 0.95
Law = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def told(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The place tells nearly all."""
    return t + 0.4 * rng.normal(size=len(t))


def alone(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Luck alone."""
    return rng.normal(size=len(t))


def reversed_(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Failures lie where none are expected."""
    return -t + 0.4 * rng.normal(size=len(t))


def then_wrong(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Told perfectly in the bulk, and not at all below it."""
    return np.where(t < -1.2, -1.2 - np.abs(rng.normal(size=len(t))), t)


def heavy(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A heavy lower tail that the place explains in part."""
    return t - np.abs(rng.standard_t(3, size=len(t)))


def hidden(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One in 2,000 fails where nothing tells."""
    return np.where(rng.random(len(t)) < 5e-4, -9.0, told(t, rng))


def two_regions(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A slope that the design knows, and a cliff on the other side of it."""
    return told(t, rng) - np.where(t > 2.2, 6.0, 0.0)


def ties(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.round(told(t, rng))


@dataclass(frozen=True)
class Setting:
    law: Law
    k: float
    draws: int
    rounds: int = 6
    least: float = 0.15


SETTINGS = {
    "told, k = 50": Setting(told, 50, 300),
    "told, k = 5": Setting(told, 5, 1500),
    "told, k = 1": Setting(told, 1, 8000),
    "told, k = 0.1": Setting(told, 0.1, 60_000, 4),
    "told, k = 0.01": Setting(told, 0.01, 400_000, 3, 0.3),
    "useless": Setting(alone, 1, 8000),
    "reversed": Setting(reversed_, 1, 8000),
    "told, then wrong": Setting(then_wrong, 1, 8000),
    "heavy tail": Setting(heavy, 1, 8000),
    "ties": Setting(ties, 1, 8000),
    "two regions, one seen": Setting(two_regions, 1, 8000),
    "hidden 5e-4, k = 1": Setting(hidden, 1, 8000),
    "hidden 5e-4, k = 0.1": Setting(hidden, 0.1, 60_000, 4, 0.03),
    "tiny": Setting(told, 1, 400),
    "many looks": Setting(told, 5, 150, 60),
}


@cache
def truth(name: str) -> float:
    setting = SETTINGS[name]
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = np.concatenate([setting.law(rng.normal(size=1_000_000), rng) for _ in range(10)])
    return order_statistic(values, setting.k)


@dataclass(frozen=True)
class Row:
    setting: str
    k: float
    draws: int
    rounds: int
    replications: int
    coverage: float
    slack: float
    missed_below: int
    missed_above: int
    open_low: int
    open_high: int
    median_mass_below: float
    median_mass_above: float


def stakes(p: float, inclusion: np.ndarray, excess: float) -> float:
    """Return the stake that grows fastest if as many more of all kinds are hits."""
    tried = np.sign(excess) * np.geomspace(1e-3, 0.9, 40) / (p if excess > 0 else 1 / inclusion.min() - p)
    share = np.full(len(inclusion), 1 / len(inclusion))
    return float(tried[growth(tried, p, inclusion, np.full(len(inclusion), p * (1 + excess)), share).argmax()])


def measure(name: str, replications: int) -> Row:
    setting, q = SETTINGS[name], truth(name)
    p, alpha = setting.k / 100, 1 - CONFIDENCE
    errors = planned_errors(setting.draws * setting.rounds, p)
    for_low, for_high = errors.shares(p)
    grid = np.random.default_rng(0).normal(size=2000)

    def inclusion(t: np.ndarray) -> np.ndarray:
        return np.clip(np.exp(-t - 1.5), setting.least, 1.0)

    low = np.array([0.4, 1.0]) * stakes(for_low, inclusion(grid), -0.3)
    high = np.array([0.4, 1.0]) * stakes(for_high, inclusion(grid), 0.3)
    below = above = open_low = open_high = 0
    masses: list[tuple[float, float]] = []
    for repetition in range(replications):
        rng = np.random.default_rng((zlib.crc32(name.encode()), repetition))
        rounds: list[Round] = []
        lower, upper, known = np.zeros(0), np.zeros(0), np.zeros(0)
        ends: tuple[float, float] = (-math.inf, math.inf)
        for _ in range(setting.rounds):
            t = rng.normal(size=setting.draws)
            into = inclusion(t)
            kept = rng.random(len(t)) < into
            values = setting.law(t, rng)[kept]
            rounds.append(Round(len(t), into[kept], setting.least, low, high))
            wrong = rng.random((2, len(values)))
            known = np.concatenate([known, values])
            lower = np.concatenate([lower, np.where(wrong[0] < errors.lower, math.inf, values)])
            upper = np.concatenate([upper, np.where(wrong[1] < errors.upper, -math.inf, values)])
            now = low_end(rounds, lower, for_low, alpha / 2), high_end(rounds, upper, for_high, alpha / 2)
            ends = max(ends[0], now[0]), min(ends[1], now[1])
        above += ends[0] > q
        below += ends[1] < q
        open_low += ends[0] == -math.inf
        open_high += ends[1] == math.inf
        weight = 1 / np.concatenate([r.inclusion for r in rounds]) / sum(r.size for r in rounds)
        masses.append((float(weight[known < ends[0]].sum()), float(weight[known <= ends[1]].sum())))
    n = replications
    return Row(
        name, setting.k, setting.draws, setting.rounds, n, 1 - (below + above) / n, 3 * math.sqrt(0.95 * 0.05 / n),
        below, above, open_low, open_high, *(float(m) for m in np.median(masses, axis=0)),
    )  # fmt: skip


def promised(row: Row) -> bool:
    """Say whether intervals hold as often as they should, but for chance."""
    return row.coverage >= CONFIDENCE - row.slack


if __name__ == "__main__":
    sys.exit(run_settings(__doc__, SETTINGS, measure, promised, OUT))
