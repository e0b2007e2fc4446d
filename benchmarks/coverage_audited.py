"""Coverage of audited intervals, setting by setting: at their planned end, at the stroke of a clock, and at any time.

A population of instances with known scores is drawn from with replacement, so its KPP is known exactly. Each run is
audited as `kppstat estimate` would, and three things are counted: whether the interval at the planned end misses,
whether one at the stroke of a clock does, and whether any interval shown on the way does, which is what the worst user
could stop at.
Settings are made to mislead: predictions that are useless, reversed or perfect until they are wrong, failures that no
pilot meets, heavy tails, ties at the percentile, tiny test sets and budgets, and percentiles from 50 to 0.01.

    python -m benchmarks.coverage_audited                     # 1,000 replications each; over an hour on one core
    python -m benchmarks.coverage_audited --replications 100 --only ties
    python -m benchmarks.coverage_audited --replay FOLDER     # with replayed instances of real networks
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.replay import Replay
from benchmarks.table import write_table
from kppstat.engine import Evaluation, Task
from kppstat.sampling.audited import Audited
from kppstat.sampling.question import Question
from kppstat.sampling.result import State

CONFIDENCE = 0.95
#: What is asked of each guarantee: an asymptotic interval may fall short where instances are few.
ASKED = {"exact": 0.95, "anytime": 0.95, "asymptotic": 0.93}
INPUTS = 200


def _scores(shift: np.ndarray, rng: np.random.Generator, inputs: int = INPUTS) -> np.ndarray:
    """Draw 0/1 scores of instances whose log odds are shifted together, on inputs of differing difficulty."""
    base = rng.beta(8, 1, inputs)
    odds = np.log(base) - np.log1p(-base)
    return rng.random((len(shift), inputs)) < 1 / (1 + np.exp(-(odds + shift[:, None])))


def normal(rng: np.random.Generator, size: int = 4000, inputs: int = INPUTS) -> np.ndarray:
    return _scores(rng.normal(0, 0.6, size), rng, inputs)


def heavy_tail(rng: np.random.Generator) -> np.ndarray:
    return _scores(-0.5 * np.abs(rng.standard_t(2.5, 4000)), rng)


def useless(rng: np.random.Generator) -> np.ndarray:
    """Every instance fails inputs of its own, so nothing is learnt from others."""
    return rng.random((4000, INPUTS)) < rng.normal(0.8, 0.04, (4000, 1)).clip(0, 1)


def ties(rng: np.random.Generator) -> np.ndarray:
    level = rng.choice([150, 170, 180], 4000, p=[0.05, 0.25, 0.7])
    return np.arange(INPUTS) < level[:, None]


def perfect_then_wrong(rng: np.random.Generator) -> np.ndarray:
    scores = np.ones((4000, INPUTS), bool)
    scores[:, :20] = False
    scores[rng.random(4000) < 0.012, 100:] = False
    return scores


def hidden_region(rng: np.random.Generator) -> np.ndarray:
    """A region of probability 5e-4 in which instances fail inputs that no other instance fails."""
    scores = _scores(rng.normal(0, 0.2, 20_000), rng)
    scores[:10, 50:] = False
    return scores


def two_regions(rng: np.random.Generator) -> np.ndarray:
    """Two ways to fail, one common and one rare, on inputs of their own."""
    scores = _scores(rng.normal(0, 0.2, 20_000), rng)
    scores[:900, :80] = False
    scores[900:1100, 90:] = False
    return scores


def real_valued(rng: np.random.Generator) -> np.ndarray:
    chance = 1 / (1 + np.exp(-(2.0 + rng.normal(0, 0.6, (3000, 1)) + rng.normal(0, 1, INPUTS))))
    return rng.beta(3 * chance, 3 - 3 * chance)


@dataclass(frozen=True)
class Setting:
    name: str
    make: Callable[[np.random.Generator], np.ndarray]
    k: float
    half_width: float
    budget: float = 250
    reversed_pilot: int = 0  # so many first instances fail where later ones succeed


SETTINGS = (
    Setting("normal", normal, 5, 0.05),
    Setting("median", normal, 50, 0.03),
    Setting("heavy tail", heavy_tail, 1, 0.2),
    Setting("useless prediction", useless, 5, 0.03),
    Setting("reversed prediction", normal, 5, 0.1, reversed_pilot=16),
    Setting("perfect prediction, then wrong", perfect_then_wrong, 1, 0.3),
    Setting("ties at the percentile", ties, 5, 0.05),
    Setting("50 inputs", lambda rng: normal(rng, inputs=50), 5, 0.05),
    Setting("tiny budget", normal, 1, 0.01, budget=20),
    Setting("two regions, one seen", two_regions, 1, 0.25),
    Setting("hidden region of 5e-4", hidden_region, 0.05, 0.38, budget=600),
    Setting("real-valued scores", real_valued, 5, 0.05),
    Setting("k of 0.1", lambda rng: normal(rng, 20_000), 0.1, 0.25, budget=600),
    Setting("k of 0.01", lambda rng: normal(rng, 40_000), 0.01, 0.35, budget=700),
)
#: Of replayed instances: percent and half-width.
REPLAYED = ((1.0, 0.005), (0.1, 0.012))


@dataclass(frozen=True)
class Row:
    setting: str
    k: float
    guarantee: str
    replications: int
    coverage: float
    coverage_by_clock: float
    coverage_any_time: float
    slack: float
    missed_below: int
    missed_above: int
    median_half_width: float
    median_evaluations: float
    holds: bool


class Population:
    """Instances of known scores to draw from."""

    def __init__(self, packed: np.ndarray, real: np.ndarray | None, inputs: int) -> None:
        self._packed, self._real, self.inputs = packed, real, inputs
        mean = np.bitwise_count(packed).sum(1, dtype=np.int64) / inputs if real is None else real.mean(1)
        self._order = np.sort(mean)

    @classmethod
    def of(cls, scores: np.ndarray) -> Population:
        real = scores if scores.dtype == np.float64 else None
        return cls(np.packbits(scores.astype(bool), axis=1), real, scores.shape[1])

    @classmethod
    def replayed(cls, path: Path) -> Population:
        replay = Replay(path)
        return cls(replay.packed, None, replay.inputs)

    def kpp(self, k: float) -> float:
        return float(self._order[max(math.ceil(k / 100 * len(self._order) - 1e-9), 1) - 1])

    def reveal(self, seed: int, reversed_pilot: int) -> Callable[[Iterable[Task]], Iterator[Evaluation]]:
        which = np.random.default_rng((seed, 4)).integers(0, len(self._order), 300_000)

        def evaluate(tasks: Iterable[Task]) -> Iterator[Evaluation]:
            for task in tasks:
                i = which[task.index]
                every = np.unpackbits(self._packed[i], count=self.inputs) if self._real is None else self._real[i]
                scores = every[task.rows].astype(np.float64)
                yield Evaluation(task.index, task.rows, 1 - scores if task.index < reversed_pilot else scores, 0.0)

        return evaluate


def measure(population: Population, setting: Setting, guarantee: str, replications: int) -> Row:
    truth = population.kpp(setting.k)
    below = above = by_clock = ever = 0
    widths, costs = [], []
    for run in range(replications):
        seed = run + zlib.crc32(f"{setting.name}/{guarantee}".encode())
        asked: dict[str, Any] = {"k": setting.k, "guarantee": guarantee, "seed": seed}
        question = Question(**asked, confidence=CONFIDENCE, max_evaluations=setting.budget)
        estimator = Audited(question, setting.half_width, inputs=population.inputs)
        # The clock strikes after a random number of steps, which knows nothing of performances.
        stroke = int(np.random.default_rng(seed).geometric(1 / 40))
        wrong = False
        for step, state in enumerate(estimator.states(population.reveal(seed, setting.reversed_pilot))):
            wrong |= _misses(state, truth)
            if step == stroke or (state.done and step < stroke):
                late = state if state.done else estimator.conclude("the time budget is spent", by_hand=False)
                by_clock += _misses(late, truth)
        below += state.high < truth - 1e-12
        above += state.low > truth + 1e-12
        ever += wrong
        widths.append(state.half_width)
        costs.append(state.evaluations)
    covered = [1 - n / replications for n in (below + above, by_clock, ever)]
    least = ASKED[guarantee]
    slack = 3 * math.sqrt(least * (1 - least) / replications)
    promised = covered[:1] if guarantee == "asymptotic" else covered
    return Row(
        setting.name, setting.k, guarantee, replications, covered[0], covered[1], covered[2], slack, below, above,
        float(np.median(widths)), float(np.median(costs)), min(promised) >= least - slack,
    )  # fmt: skip


def _misses(state: State, truth: float) -> bool:
    return not state.low - 1e-12 <= truth <= state.high + 1e-12


def cases(replay: Path | None, only: str) -> Iterator[tuple[Population, Setting]]:
    for setting in SETTINGS:
        if only in setting.name:
            rng = np.random.default_rng(zlib.crc32(setting.name.encode()))
            yield Population.of(setting.make(rng)), setting
    for path in sorted(replay.glob("*.npz")) if replay else ():
        if only in path.stem:
            for k, half_width in REPLAYED:
                yield Population.replayed(path), Setting(path.stem, normal, k, half_width, budget=200)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--only", default="", help="part of a setting's name")
    parser.add_argument("--guarantee", nargs="*", default=list(ASKED), choices=list(ASKED))
    parser.add_argument("--replay", type=Path, help="folder of replayed instances")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "coverage_audited.csv")
    options = parser.parse_args()
    rows: list[Row] = []
    for population, setting in cases(options.replay, options.only):
        for guarantee in options.guarantee:
            if setting.reversed_pilot and guarantee == "anytime":
                continue  # there the pilot counts, so it must be drawn from the population
            begun = time.perf_counter()
            row = measure(population, setting, guarantee, options.replications)
            rows.append(row)
            print(
                f"{row.setting:32}{row.k:6g} {guarantee:8} coverage {row.coverage:.4f}, by the clock "
                f"{row.coverage_by_clock:.4f}, at any time {row.coverage_any_time:.4f}; "
                f"half-width {row.median_half_width:.4f}, {row.median_evaluations:.0f} evaluations, "
                f"{time.perf_counter() - begun:.0f} s"
                f"{'' if row.holds else '  BELOW NOMINAL'}",
                flush=True,
            )
            write_table(rows, options.out)
    return int(not all(row.holds for row in rows))


if __name__ == "__main__":
    sys.exit(main())
