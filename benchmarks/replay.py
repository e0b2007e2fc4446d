"""Populations of instances whose scores are known: replayed, a sampler can be studied over many runs at no cost.

A replay file holds the 0/1 scores of thousands of instances of a real network, one bit each (`correct`: an instance a
row, inputs in order, padded with zeros to whole bytes; `inputs`: how many there are, unless all bits are). Instances
are drawn from it with replacement, and scores are revealed only as they are paid for.

    python -m benchmarks.replay lenet.onnx fashion.npz 0.06 10000 lenet_sigma0.06.npz      # records one, or goes on
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from kppstat import Gaussian, Variation
from kppstat.engine import Evaluation, Task
from kppstat.sampling import Question, Study
from kppstat.stats.order import ranks

#: Seed of recorded instances, which no benchmark runs with.
_SEED = 2**31 - 1
_CHUNK = 100


class Replay:
    """A population of instances with known scores."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        with np.load(path, allow_pickle=False) as data:
            self.packed = data["correct"]
            self.inputs = int(data["inputs"]) if "inputs" in data else 8 * self.packed.shape[1]
        self.performance = np.bitwise_count(self.packed).sum(1, dtype=np.int64) / self.inputs
        self.sorted = np.sort(self.performance)

    def scores(self, member: int) -> np.ndarray:
        """Return the scores of one member of the population."""
        return np.unpackbits(self.packed[member], count=self.inputs).astype(np.float64)

    def reveal(self, seed: int) -> Callable[[Iterable[Task]], Iterator[Evaluation]]:
        """Return an engine that draws instances from the population, each fixed by seed and number."""
        drawn = np.random.default_rng((seed, 4)).integers(0, len(self.sorted), 3_000_000)

        def evaluate(tasks: Iterable[Task]) -> Iterator[Evaluation]:
            for task in tasks:
                scores = self.scores(int(drawn[task.index]))
                yield Evaluation(task.index, task.rows, scores if task.rows is None else scores[task.rows], 0.0)

        return evaluate

    def kpp(self, k: float) -> float:
        """Return the KPP of the population."""
        return float(self.sorted[math.ceil(k / 100 * len(self.sorted) - 1e-9) - 1])

    def plain_width(self, n: int, k: float) -> float:
        """Return the expected width of the exact interval from n full evaluations."""
        rng, size = np.random.default_rng(0), len(self.sorted)
        low, high = ranks(n, k / 100, 0.05)
        if low < 1 or high > n:
            return math.inf
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


def record(model: Path, data: Path, sigma: float, count: int, out: Path, workers: int | None = None) -> None:
    """Evaluate instances in full and write their scores, a hundred at a time; what the file holds is not done again."""
    rows: list[np.ndarray] = []
    if out.exists():
        with np.load(out, allow_pickle=False) as kept:
            rows = list(kept["correct"])
    question = Question(method="mc", seed=_SEED)
    with Study(model, question, Variation(Gaussian(sigma)), data=str(data), workers=workers) as study:
        while len(rows) < count:
            tasks = [Task(i) for i in range(len(rows), min(len(rows) + _CHUNK, count))]
            rows += [np.packbits(evaluation.scores > 0.5) for evaluation in study.engine.map(tasks)]
            part = out.with_suffix(".part.npz")
            np.savez(part, correct=np.stack(rows), inputs=len(study.data))
            os.replace(part, out)
            print(f"{out.stem}: {len(rows)} of {count}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("sigma", type=float)
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    record(options.model, options.data, options.sigma, options.count, options.out, options.workers)


if __name__ == "__main__":
    main()
