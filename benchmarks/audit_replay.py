"""Efficiency and coverage of audited sampling on replayed instances of real networks.

Each replay holds the 0/1 scores of thousands of instances (see the README beside the files). Instances are drawn from
it with replacement, scores are revealed only as they are paid for, and everything paid is counted. The factor is what
plain Monte Carlo with the exact interval of fixed size needs for the same width, in expectation over samples of the
same population, over the cost. Audits that are given their number of instances refine until all that matter are
decided; audits that are given a half-width plan the rest themselves.

    python -m benchmarks.audit_replay --replay FOLDER [--repetitions 20] [--coverage 0]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from kppstat.engine import Evaluation, Task
from kppstat.sampling.audited import Audited
from kppstat.sampling.question import Question
from kppstat.stats.order import ranks

#: Percent, instances given, and instances of plain Monte Carlo whose width is asked for.
CASES = ((1.0, 8000, 8000), (0.1, 20000, 20000))
#: Of a task, in evaluations: building a session against scoring 10,000 inputs on the LeNet of the demo.
FIXED = 1.2 / 112


class Replay:
    """A population of instances with known scores."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        with np.load(path, allow_pickle=False) as data:
            self._packed = data["correct"]
        self.inputs = 8 * self._packed.shape[1]
        performance = np.bitwise_count(self._packed).sum(1, dtype=np.int64) / self.inputs
        self.sorted = np.sort(performance)

    def reveal(self, seed: int) -> Callable[[Iterable[Task]], Iterator[Evaluation]]:
        """Return an engine that draws instances from the population, each fixed by seed and number."""
        drawn = np.random.default_rng((seed, 4)).integers(0, len(self.sorted), 3_000_000)

        def evaluate(tasks: Iterable[Task]) -> Iterator[Evaluation]:
            for task in tasks:
                scores = np.unpackbits(self._packed[drawn[task.index]])[task.rows].astype(np.float64)
                yield Evaluation(task.index, task.rows, scores, 0.0)

        return evaluate

    def kpp(self, k: float) -> float:
        """Return the KPP of the population."""
        return float(self.sorted[math.ceil(k / 100 * len(self.sorted) - 1e-9) - 1])

    def plain_width(self, n: int, k: float) -> float:
        """Return the expected width of the exact interval from n full evaluations."""
        rng, size = np.random.default_rng(0), len(self.sorted)
        low, high = ranks(n, k / 100, 0.05)
        parts = [rng.gamma(shape, size=4000) for shape in (low, high - low, n + 1 - high)]
        share = np.cumsum(parts, axis=0) / np.sum(parts, axis=0)
        at = np.minimum((share[:2] * size).astype(int), size - 1)
        return float((self.sorted[at[1]] - self.sorted[at[0]]).mean())

    def plain_size(self, width: float, k: float) -> float:
        """Return how many full evaluations have this width in expectation."""
        low, high = math.log(400 / k), math.log(10**7)
        for _ in range(25):
            middle = (low + high) / 2
            low, high = (middle, high) if self.plain_width(round(math.exp(middle)), k) > width else (low, middle)
        return math.exp(high)


def _counted(
    reveal: Callable[[Iterable[Task]], Iterator[Evaluation]], count: list[int]
) -> Callable[[Iterable[Task]], Iterator[Evaluation]]:
    """Return `reveal`, counting its tasks."""

    def evaluate(tasks: Iterable[Task]) -> Iterator[Evaluation]:
        for evaluation in reveal(tasks):
            count[0] += 1
            yield evaluation

    return evaluate


def efficiency(replay: Replay, k: float, repetitions: int, half_width: float, instances: int | None) -> None:
    """Print the median factor over plain Monte Carlo and what it came from."""
    rows = []
    for seed in range(repetitions):
        estimator = Audited(Question(k=k, seed=seed), half_width, inputs=replay.inputs, instances=instances)
        count, begun = [0], time.perf_counter()
        *_, end = estimator.states(_counted(replay.reveal(seed), count))
        seconds = time.perf_counter() - begun
        size = replay.plain_size(end.high - end.low, k)
        wall = size / (end.evaluations + FIXED * count[0])
        rows.append(
            (size / end.evaluations, wall, end.evaluations, end.instances, count[0], end.high - end.low, seconds)
        )
    factor, wall, cost, number, tasks, width, seconds = np.median(rows, axis=0)
    given = f"n = {instances}" if instances else f"half-width {100 * half_width:.3f} points"
    inputs = np.median([r[2] / r[3] for r in rows]) * replay.inputs
    print(
        f"  k = {k:g}, {given}: factor {factor:.1f} (quartiles {np.quantile([r[0] for r in rows], 0.25):.1f} to "
        f"{np.quantile([r[0] for r in rows], 0.75):.1f}), with the fixed cost of tasks {wall:.1f}; cost {cost:.0f}, "
        f"{number:.0f} instances, {inputs:.0f} inputs and {tasks / number:.1f} tasks each, "
        f"width {100 * width:.3f} points, {seconds:.1f} s of statistics and replay",
        flush=True,
    )


def coverage(replay: Replay, k: float, repetitions: int, half_width: float, **question: object) -> None:
    """Print how often the interval misses the KPP of the population."""
    truth, below, above = replay.kpp(k), 0, 0
    for seed in range(repetitions):
        asked = Question(k=k, seed=10**6 + seed, **question)  # type: ignore[arg-type]
        *_, end = Audited(asked, half_width, inputs=replay.inputs).states(replay.reveal(10**6 + seed))
        below += end.high < truth - 1e-12
        above += end.low > truth + 1e-12
    settings = ", ".join(f"{name} {value}" for name, value in question.items())
    covered = 1 - (below + above) / repetitions
    print(f"  k = {k:g}, {settings}: coverage {covered:.3f} ({repetitions} runs; {below} too low, {above} too high)")


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replay", type=Path, default=Path(__file__).parents[2] / "shared" / "replay")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--coverage", type=int, default=0, help="runs of the coverage study; it takes 1,000 to tell")
    parser.add_argument("--only", default="", help="part of the name of a replay")
    given = parser.parse_args()
    files = sorted(given.replay.glob("*.npz"))
    if not files:
        print(f"no replay files in {given.replay}: give their folder with --replay")
        return 0
    for path in files:
        if given.only not in path.stem:
            continue
        replay = Replay(path)
        print(f"{replay.name}: {len(replay.sorted)} instances, {replay.inputs} inputs")
        for k, instances, plain in CASES:
            half_width = replay.plain_width(plain, k) / 2
            if given.repetitions:
                efficiency(replay, k, given.repetitions, 1e-9, instances)
                efficiency(replay, k, given.repetitions, half_width, None)
            if given.coverage:
                for guarantee in ("exact", "anytime"):
                    coverage(replay, k, given.coverage, 1.5 * half_width, guarantee=guarantee)
                coverage(replay, k, given.coverage, half_width, max_evaluations=60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
