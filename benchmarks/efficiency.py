"""Evaluations that plain Monte Carlo needs for the width an audited run reached, divided by what that run cost.

Real networks, real data, everything counted: pilot, scouts, audits. Plain Monte Carlo is the exact interval at the
smallest fixed size whose ends, read off the distribution that the audited runs found, are as close.

    python benchmarks/efficiency.py                           # LeNets that ship with kppstat, one repetition each
    python benchmarks/efficiency.py --repetitions 20 --k 1 0.1 --shared ../shared --prepared FOLDER

FOLDER holds the models and data that the prepare.py of `--shared` writes. Writes benchmarks/results/efficiency.csv.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

if sys.path and Path(sys.path[0]) == Path(__file__).parent:
    del sys.path[0]  # coverage.py beside this file would hide the package that numba looks for

import numpy as np

from kppstat import Gaussian, Variation
from kppstat.demo import DATA, MODEL, NOISE_TRAINED
from kppstat.engine import Task
from kppstat.sampling import Question, Study
from kppstat.stats.order import ranks, smallest_size

RESULTS = Path(__file__).parent / "results"
TIMED = 12  # full evaluations timed for the wall-clock ratio


@dataclass(frozen=True)
class Row:
    network: str
    sigma: float
    k: float
    repetition: int
    kpp: float
    half_width: float
    guarantee: str
    converged: bool
    instances: int
    spread: float
    evaluations: float
    mc_evaluations: int
    cost_ratio: float
    seconds: float
    mc_seconds: float
    wall_ratio: float


def plain_size(values: np.ndarray, p: float, half_width: float) -> int:
    """Smallest fixed size at which the exact interval's ends lie within the width, for this distribution."""
    ordered = np.sort(values)

    def narrow(n: int) -> bool:
        low, high = ranks(n, p, 0.05)
        if low < 1 or high > n:
            return False
        ends = np.quantile(ordered, [low / (n + 1), high / (n + 1)])
        return bool(ends[1] - ends[0] <= 2 * half_width)

    low = high = smallest_size(p, 0.05)
    while not narrow(high):
        low, high = high, 2 * high
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if narrow(middle) else (middle, high)
    return high


def measure(network: str, model: Path, data: Path, sigma: float, k: float, repetition: int) -> Row:
    question = Question(k=k, seed=repetition)
    with Study(model, question, Variation(Gaussian(sigma)), data=str(data)) as study:
        begun = time.perf_counter()
        for _ in study.states():
            pass
        seconds = time.perf_counter() - begun
        result = study.result()
        begun = time.perf_counter()
        for _ in study.engine.map(Task(10**9 + i) for i in range(TIMED)):
            pass
        each = (time.perf_counter() - begun) / TIMED
    half = (result.ci_high - result.ci_low) / 2
    plain = plain_size(result.values, k / 100, half)
    return Row(
        network=network,
        sigma=sigma,
        k=k,
        repetition=repetition,
        kpp=result.kpp,
        half_width=half,
        guarantee=result.guarantee,
        converged=result.converged,
        instances=result.instances,
        spread=result.sd,
        evaluations=result.evaluations,
        mc_evaluations=plain,
        cost_ratio=plain / result.evaluations,
        seconds=seconds,
        mc_seconds=plain * each,
        wall_ratio=plain * each / seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--k", type=float, nargs="+", default=[1.0])
    parser.add_argument("--only", default="", help="part of a network's name")
    parser.add_argument("--prepared", type=Path, help="folder with prepared models and data")
    options = parser.parse_args()
    settings = [("LeNet", MODEL, DATA, s) for s in (0.03, 0.06, 0.1)]
    settings.append(("LeNet, noise-trained", NOISE_TRAINED, DATA, 0.1))
    if options.prepared:
        for name, sigmas in (("cifar10_resnet8_mlperftiny", (0.01, 0.02)), ("textline_flip_ppocr_cls", (0.02,))):
            path = options.prepared / f"{name}.onnx"
            settings += [(name, path, path.with_suffix(".npz"), s) for s in sigmas]
    rows: list[Row] = []
    RESULTS.mkdir(exist_ok=True)
    for name, model, data, sigma in settings:
        if options.only not in name:
            continue
        for k in options.k:
            for repetition in range(options.repetitions):
                row = measure(name, model, data, sigma, k, repetition)
                rows.append(row)
                print(
                    f"{name} sigma {sigma:g} k {k:g}: half-width {100 * row.half_width:.2f} points, "
                    f"{row.evaluations:.0f} evaluations against {row.mc_evaluations:,}: "
                    f"{row.cost_ratio:.1f} times less; "
                    f"{row.seconds:.0f} s against {row.mc_seconds:.0f} s: {row.wall_ratio:.1f} times faster",
                    flush=True,
                )
                with (RESULTS / "efficiency.csv").open("w", newline="") as file:
                    writer = csv.DictWriter(file, list(asdict(row)))
                    writer.writeheader()
                    writer.writerows(asdict(r) for r in rows)


if __name__ == "__main__":
    main()
