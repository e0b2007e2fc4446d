"""Evaluations that plain Monte Carlo needs for the width an audited run reached, divided by what that run cost.

Real networks, real data, everything counted: pilot, scouts, audits. Plain Monte Carlo is the exact interval of fixed
size, at the size at which its expected width is the same. Its width depends on the lower tail of performance, which
is found out beside the runs: the instances that look lowest are evaluated in full, and that is not counted. Time is
processor time of this process with one worker, both for the run and for plain evaluations.

    python -m benchmarks.efficiency                           # LeNets that ship with kppstat, one repetition each
    python -m benchmarks.efficiency --repetitions 20 --prepared FOLDER

FOLDER holds the models and data that the prepare.py of the shared folder writes. Writes
benchmarks/results/efficiency.csv, one row for each setting with medians over the repetitions.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kppstat import Gaussian, Variation
from kppstat.demo import DATA, MODEL, NOISE_TRAINED
from kppstat.engine import Task
from kppstat.sampling import Question, Study
from kppstat.stats.order import ranks

RESULTS = Path(__file__).parent / "results"
TIMED = 12  # full evaluations timed
TAIL, ENOUGH = 4, 80  # the tail reaches to so many times k, and is made of so many instances below the percentile


@dataclass(frozen=True)
class Setting:
    network: str
    model: Path
    data: Path
    sigma: float
    k: float
    half_width: float
    repetitions: int | None = None  # fewer than asked for, where an evaluation takes long


@dataclass(frozen=True)
class Run:
    kpp: float
    width: float
    spread: float
    guarantee: str
    converged: bool
    instances: int
    evaluations: float
    seconds: float
    seconds_of_evaluation: float


@dataclass(frozen=True)
class Row:
    network: str
    sigma: float
    k: float
    repetitions: int
    guarantee: str
    converged: int
    kpp: float
    spread: float
    half_width: float
    instances: int
    evaluations: float
    plain_evaluations: float
    cost_ratio: float
    cost_ratio_quarter: float
    time_ratio: float


class Tail:
    """The lowest performances among many instances."""

    def __init__(self) -> None:
        self._values: list[float] = []
        self._count = 0

    def enough(self, p: float) -> bool:
        return self._count * p >= ENOUGH

    def add(self, values: list[float], count: int) -> None:
        self._values = sorted(self._values + values)
        self._count += count

    def plain_width(self, n: int, p: float) -> float:
        """Expected width of the exact interval from n full evaluations."""
        low, high = ranks(n, p, 0.05)
        if low < 1 or high > n:
            return math.inf
        rng = np.random.default_rng(0)
        parts = [rng.gamma(shape, size=4000) for shape in (low, high - low, n + 1 - high)]
        share = np.cumsum(parts, axis=0)[:2] / np.sum(parts, axis=0)
        # Beyond the tail its last value stands in: too narrow, so in favour of plain Monte Carlo.
        at = np.minimum((share * self._count).astype(int), len(self._values) - 1)
        values = np.array(self._values)
        return float((values[at[1]] - values[at[0]]).mean())

    def plain_size(self, width: float, p: float) -> float:
        """How many full evaluations have this width in expectation."""
        low, high = math.log(4 / p), math.log(10**7)
        for _ in range(25):
            middle = (low + high) / 2
            low, high = (middle, high) if self.plain_width(round(math.exp(middle)), p) > width else (low, middle)
        return math.exp(high)


def measure(setting: Setting, repetition: int, tail: Tail) -> Run:
    question = Question(k=setting.k, seed=repetition, half_width=setting.half_width)
    variation = Variation(Gaussian(setting.sigma))
    with Study(setting.model, question, variation, data=str(setting.data), workers=1) as study:
        begun = time.process_time()
        for _ in study.states():
            pass
        seconds = time.process_time() - begun
        result = study.result()
        begun = time.process_time()
        for _ in study.engine.map(Task(10**9 + i) for i in range(TIMED)):
            pass
        each = (time.process_time() - begun) / TIMED
        if not tail.enough(question.p):
            # Instances that count are the last ones opened, in order.
            order = np.argsort(result.values, kind="stable")[: math.ceil(TAIL * question.p * len(result.values))]
            first = study.estimator.first_counted
            full = study.engine.map(Task(int(first + i)) for i in order)
            tail.add([float(evaluation.scores.mean()) for evaluation in full], len(result.values))
    return Run(
        result.kpp, result.ci_high - result.ci_low, result.sd, result.guarantee, result.converged, result.instances,
        result.evaluations, seconds, each,
    )  # fmt: skip


def summed_up(setting: Setting, runs: list[Run], tail: Tail) -> Row:
    p = setting.k / 100
    plain = [tail.plain_size(run.width, p) for run in runs]
    ratios = [n / run.evaluations for n, run in zip(plain, runs, strict=True)]
    times = [n * run.seconds_of_evaluation / run.seconds for n, run in zip(plain, runs, strict=True)]
    return Row(
        setting.network, setting.sigma, setting.k, len(runs), runs[0].guarantee, sum(run.converged for run in runs),
        float(np.median([run.kpp for run in runs])), float(np.median([run.spread for run in runs])),
        float(np.median([run.width for run in runs])) / 2, int(np.median([run.instances for run in runs])),
        float(np.median([run.evaluations for run in runs])), float(np.median(plain)), float(np.median(ratios)),
        float(np.quantile(ratios, 0.25)), float(np.median(times)),
    )  # fmt: skip


def settings(prepared: Path | None) -> Iterator[Setting]:
    for sigma, widths in ((0.03, (0.005, 0.01)), (0.06, (0.01, 0.02)), (0.1, (0.02, 0.03))):
        for k, half_width in zip((1, 0.1), widths, strict=True):
            yield Setting("LeNet", MODEL, DATA, sigma, k, half_width)
    for k, half_width in ((1, 0.01), (0.1, 0.03)):
        yield Setting("LeNet, noise-trained", NOISE_TRAINED, DATA, 0.1, k, half_width)
    for name, sigma, half_width in (
        ("cifar10_resnet8_mlperftiny", 0.01, 0.005),
        ("cifar10_resnet8_mlperftiny", 0.02, 0.01),
        ("textline_flip_ppocr_cls", 0.005, 0.01),
    ):
        if prepared:
            path = prepared / f"{name}.onnx"
            yield Setting(name, path, path.with_suffix(".npz"), sigma, 1, half_width, repetitions=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--only", default="", help="part of a network's name")
    parser.add_argument("--sigma", type=float, nargs="*", help="only these")
    parser.add_argument("--k", type=float, nargs="*", help="only these")
    parser.add_argument("--prepared", type=Path, help="folder with prepared models and data")
    parser.add_argument("--out", type=Path, default=RESULTS / "efficiency.csv")
    options = parser.parse_args()
    options.out.parent.mkdir(exist_ok=True)
    rows: list[Row] = []
    for setting in settings(options.prepared):
        if options.only not in setting.network or (options.sigma and setting.sigma not in options.sigma):
            continue
        if options.k and setting.k not in options.k:
            continue
        tail, runs = Tail(), []
        for repetition in range(min(options.repetitions, setting.repetitions or options.repetitions)):
            runs.append(measure(setting, repetition, tail))
        row = summed_up(setting, runs, tail)
        rows.append(row)
        print(
            f"{row.network} sigma {row.sigma:g} k {row.k:g}: KPP {100 * row.kpp:.2f} %, spread {100 * row.spread:.2f}, "
            f"half-width {100 * row.half_width:.2f} points, {row.evaluations:.0f} evaluations against "
            f"{row.plain_evaluations:,.0f}: {row.cost_ratio:.1f} times less (quarter below "
            f"{row.cost_ratio_quarter:.1f}), {row.time_ratio:.1f} times faster; {row.converged} of {row.repetitions} "
            "reached the width",
            flush=True,
        )
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(row)), lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(r) for r in rows)


if __name__ == "__main__":
    sys.exit(main())
