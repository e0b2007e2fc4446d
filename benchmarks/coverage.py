"""Coverage of the intervals for a percentile: how often they hold, law by law, rule by rule.

Every law is a quantile function of a uniform number, so its percentiles are known exactly, ties or not. An interval
that promises a confidence must reach it within binomial slack in every row; negative controls must fail somewhere.

    python -m benchmarks.coverage                       # about six minutes; writes benchmarks/results/coverage_mc.csv
    python -m benchmarks.coverage --replications 200    # a quick look, with wide slack
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtri, stdtrit

from benchmarks.table import write_table
from kppstat.stats.interval import Interval
from kppstat.stats.order import quantile_interval, ranks, smallest_size
from kppstat.stats.plan import local_spread, planned_size
from kppstat.stats.sequence import QuantileSequence, confidence_sequence_interval
from kppstat.stats.stages import growing_sizes, looks

CONFIDENCE = 0.95
PERCENTILES = (50.0, 5.0, 1.0, 0.1)
Draw = Callable[[int], np.ndarray]


def accuracy(u: np.ndarray, inputs: int) -> np.ndarray:
    """Quantile function of an accuracy with a long lower tail, in steps of one input."""
    z = -ndtri(u)
    return np.ceil(inputs * np.clip(0.9 - 0.01 * np.logaddexp(0, 2 * z), 0, 1)) / inputs


def continuous_accuracy(u: np.ndarray) -> np.ndarray:
    return 0.9 - 0.01 * np.logaddexp(0, -2 * ndtri(u))


# name -> quantile function of (u, p), left-continuous, and a half-width at which stopping is neither early nor late
LAWS: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], dict[float, float]]] = {
    "skewed": (lambda u, p: continuous_accuracy(u), {50.0: 0.0012, 5.0: 0.002, 1.0: 0.004, 0.1: 0.008}),
    "10,000 inputs": (lambda u, p: accuracy(u, 10_000), {50.0: 0.0012, 5.0: 0.002, 1.0: 0.004, 0.1: 0.008}),
    "200 inputs": (lambda u, p: accuracy(u, 200), {50.0: 0.0025, 5.0: 0.0025, 1.0: 0.005, 0.1: 0.0075}),
    "heavy tail": (lambda u, p: stdtrit(2.0, u), {50.0: 0.1, 5.0: 0.5, 1.0: 2.0, 0.1: 14.0}),
    # The jump ends exactly at the percentile: every tie is on one side.
    "two values": (lambda u, p: (u > p).astype(float), {50.0: 0.1, 5.0: 0.1, 1.0: 0.1, 0.1: 0.1}),
    "one value": (lambda u, p: np.full(u.shape, 0.5), {50.0: 0.1, 5.0: 0.1, 1.0: 0.1, 0.1: 0.1}),
}


@dataclass(frozen=True)
class Case:
    """What an interval is made from: the percentile, the law, a size that suits both, and a width to stop at."""

    p: float
    size: int
    half_width: float


@dataclass(frozen=True)
class Row:
    interval: str
    promise: str
    law: str
    k: float
    replications: int
    nominal: float
    coverage: float
    slack: float
    missed_below: int
    missed_above: int
    infinite: int
    mean_size: float
    median_half_width: float
    holds: bool


Rule = Callable[[Draw, Case], tuple[Interval, int]]


def fixed_size(draw: Draw, case: Case) -> tuple[Interval, int]:
    return quantile_interval(draw(case.size), case.p, CONFIDENCE), case.size


def too_few(draw: Draw, case: Case) -> tuple[Interval, int]:
    size = smallest_size(case.p, 1 - CONFIDENCE) // 3 + 2
    return quantile_interval(draw(size), case.p, CONFIDENCE), size


def sequence_at_one_size(draw: Draw, case: Case) -> tuple[Interval, int]:
    return confidence_sequence_interval(draw(case.size), case.p, CONFIDENCE, case.size), case.size


class Sample:
    """Values of one run, drawn as they are asked for."""

    def __init__(self, draw: Draw) -> None:
        self.draw, self.values = draw, np.empty(0)

    def first(self, size: int) -> np.ndarray:
        if size > self.values.size:
            self.values = np.concatenate([self.values, self.draw(size - self.values.size)])
        return self.values[:size]


def growing(draw: Draw, case: Case, growth: float) -> Iterator[np.ndarray]:
    """Yield growing prefixes of one sample, up to 12 times the size of the case."""
    sample = Sample(draw)
    for size in growing_sizes(max(20, case.size // 8), growth):
        if size > 12 * case.size:
            return
        yield sample.first(size)


def sequence_stopped_on_width(draw: Draw, case: Case) -> tuple[Interval, int]:
    sequence = QuantileSequence(case.p, 1 - CONFIDENCE, case.size)
    for values in growing(draw, case, 1.1):
        low, high = sequence.ranks(values.size)
        if low >= 1 and high <= values.size:
            ends = np.partition(values, [low - 1, high - 1])[[low - 1, high - 1]]
            if ends[1] - ends[0] <= 2 * case.half_width:
                return Interval(float(ends[0]), float(ends[1]), CONFIDENCE, "anytime"), values.size
    return confidence_sequence_interval(values, case.p, CONFIDENCE, case.size), values.size


def looks_stopped_on_width(draw: Draw, case: Case) -> tuple[Interval, int]:
    pilot = draw(max(100, case.size // 20))
    first = planned_size(case.p, CONFIDENCE, case.half_width, local_spread(pilot, case.p))
    sample = Sample(draw)
    interval: Interval | None = None
    for look in looks(growing_sizes(min(first, 4 * case.size)), case.p, 1 - CONFIDENCE):
        now = look.interval(sample.first(look.size))
        interval = now if interval is None else now.overlap(interval)
        if interval.half_width <= case.half_width or look.size > 12 * case.size:
            break
    assert interval is not None
    return interval, pilot.size + look.size


def fixed_size_stopped_on_width(draw: Draw, case: Case) -> tuple[Interval, int]:
    for values in growing(draw, case, 1.03):
        interval = quantile_interval(values, case.p, CONFIDENCE)
        if interval.half_width <= case.half_width:
            break
    return interval, values.size


def wald_with_finite_differences(draw: Draw, case: Case) -> tuple[Interval, int]:
    values = np.sort(draw(case.size))
    n, spread = values.size, math.sqrt(case.p * (1 - case.p) / case.size)
    step = min(spread, case.p / 2, (1 - case.p) / 2)
    above, below = values[min(n - 1, int(n * (case.p + step)))], values[int(n * (case.p - step))]
    middle, error = values[math.ceil(n * case.p) - 1], 1.96 * spread * (above - below) / (2 * step)
    return Interval(float(middle - error), float(middle + error), CONFIDENCE, "none"), n


def bootstrap(draw: Draw, case: Case, resamples: int = 200) -> tuple[Interval, int]:
    values = np.sort(draw(case.size))
    n, rank = values.size, math.ceil(case.size * case.p)
    # The rank that a resample's quantile has in the sample: a uniform order statistic, so no resampling is needed.
    places = np.random.default_rng(0).beta(rank, n - rank + 1, size=resamples)
    low, high = np.quantile(np.minimum((places * n).astype(int), n - 1), [0.025, 0.975], method="nearest")
    return Interval(float(values[int(low)]), float(values[int(high)]), CONFIDENCE, "none"), n


RULES: dict[str, tuple[str, Rule]] = {
    "order statistics, fixed size": ("exact", fixed_size),
    "order statistics, too few values": ("exact", too_few),
    "planned looks, stopped on width": ("exact", looks_stopped_on_width),
    "confidence sequence, one size": ("anytime", sequence_at_one_size),
    "confidence sequence, stopped on width": ("anytime", sequence_stopped_on_width),
    "order statistics, stopped on width": ("asymptotic", fixed_size_stopped_on_width),
    "control: Wald, finite differences": ("control", wald_with_finite_differences),
    "control: bootstrap": ("control", bootstrap),
}


def measure(name: str, law: str, k: float, replications: int) -> Row:
    """Return the coverage of one interval for one law and percentile."""
    promise, rule = RULES[name]
    quantile_function, widths = LAWS[law]
    p = k / 100
    case = Case(p, max(200, math.ceil(15 / min(p, 1 - p))), widths[k])
    truth = float(quantile_function(np.array([p]), p)[0])
    rng = np.random.default_rng([zlib.crc32(f"{name}/{law}".encode()), int(k * 10)])
    below = above = infinite = 0
    sizes, half_widths = [], []
    for _ in range(replications):
        interval, size = rule(lambda n: quantile_function(rng.random(n), p), case)
        below += interval.high < truth
        above += interval.low > truth
        infinite += not math.isfinite(interval.half_width)
        sizes.append(size)
        half_widths.append(interval.half_width)
    coverage, slack = 1 - (below + above) / replications, 3 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / replications)
    return Row(
        name, promise, law, k, replications, CONFIDENCE, coverage, slack, below, above, infinite,
        float(np.mean(sizes)), float(np.median(half_widths)), coverage >= CONFIDENCE - slack,
    )  # fmt: skip


def ever_missed(p: float, t_opt: int, walks: int, steps: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return how often the sequence, and the interval for one size, ever miss when one looks after each value."""
    sequence = QuantileSequence(p, 1 - CONFIDENCE, t_opt)
    bounds = np.array([sequence.ranks(t) for t in range(1, steps + 1)])
    naive = np.array([ranks(t, p, 1 - CONFIDENCE) for t in range(1, steps + 1)])
    missed = np.zeros(2)
    for _ in range(walks):
        counts = np.cumsum(rng.random(steps) < p)
        for i, (low, high) in enumerate((bounds.T, naive.T)):
            missed[i] += ((counts < low) | (counts >= high)).any()
    return 1 - missed[0] / walks, 1 - missed[1] / walks


def worst_stopping(replications: int) -> Iterator[Row]:
    """Yield the coverage when one stops at the first miss, if there is one: the worst rule there is."""
    slack = 3 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / replications)
    for k, steps in ((50.0, 4000), (5.0, 6000), (1.0, 20_000), (0.1, 60_000)):
        rng = np.random.default_rng(int(k * 10))
        covered = ever_missed(k / 100, steps // 4, replications, steps, rng)
        names = ("confidence sequence, stopped at a miss", "control: fixed size, stopped at a miss")
        for name, promise, coverage in zip(names, ("anytime", "control"), covered, strict=True):
            yield Row(
                name, promise, "any", k, replications, CONFIDENCE, coverage, slack, 0, 0, 0,
                float(steps), math.nan, coverage >= CONFIDENCE - slack,
            )  # fmt: skip


def report(rows: Iterator[Row], out: Path) -> int:
    """Print and write the rows; return 1 if a promise failed or no control did."""
    done: list[Row] = []
    started = time.perf_counter()
    print(f"{'interval':42}{'promise':12}{'law':28}{'k':>6}{'cover':>8}{'slack':>7}{'size':>9}{'half-width':>12}")
    for row in rows:
        done.append(row)
        mark = "" if row.holds else "  below nominal"
        print(
            f"{row.interval:42}{row.promise:12}{row.law:28}{row.k:6g}{row.coverage:8.4f}{row.slack:7.4f}"
            f"{row.mean_size:9.0f}{row.median_half_width:12.4g}{mark}",
            flush=True,
        )
    write_table(done, out)
    broken = [row for row in done if row.promise in ("exact", "anytime") and not row.holds]
    controls = {row.interval for row in done if row.promise == "control"}
    silent = controls - {row.interval for row in done if row.promise == "control" and not row.holds}
    print(f"{len(done)} rows in {time.perf_counter() - started:.0f} s; {len(broken)} promises broken; {out}")
    for name in sorted(silent):
        print(f"{name} never failed: the study could not have found a broken interval")
    return int(bool(broken or silent))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replications", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "coverage_mc.csv")
    options = parser.parse_args()
    rows = (measure(*which, options.replications) for which in itertools.product(RULES, LAWS, PERCENTILES))
    return report(itertools.chain(rows, worst_stopping(options.replications)), options.out)


if __name__ == "__main__":
    sys.exit(main())
