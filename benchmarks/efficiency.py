"""Evaluations that plain Monte Carlo needs for the width that an audited run reached, over what that run cost.

Runs are replayed on recorded instances of real networks (`benchmarks.replay`), so that many are affordable and the
plain size is known from the whole population: the size at which the exact interval of fixed size has this width in
expectation. Everything is counted: pilot, scouts, audits. Runs that are given their number of instances refine until
all that matter are decided; runs that are given a half-width plan the number themselves, as `kppstat estimate` does.
Beside each factor stands what theory allows (`ideal`). With --real, each network is also run itself, and the ratio of
processor times is measured.

    python -m benchmarks.efficiency --replay FOLDER [FOLDER ...] [--repetitions 20] [--real]

Writes benchmarks/results/efficiency.csv, a row for each setting with medians over the repetitions. Those of PP-OCR at
sigma 0.02 there are from when scouts looked at 64 of its 2,000 inputs, not 31.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit, logit

from benchmarks.replay import Replay
from benchmarks.table import write_table
from kppstat import Gaussian, Variation
from kppstat.demo import DATA, MODEL, NOISE_TRAINED
from kppstat.engine import Task
from kppstat.sampling import Question, Study
from kppstat.sampling.audited import Audited

OUT = Path(__file__).parent / "results" / "efficiency.csv"
#: Percent, and instances of plain Monte Carlo whose width is asked for.
CASES = ((1.0, 8000), (0.1, 20_000))
#: A population tells a percentile with at least so many members below it.
_TELLS = 5
#: Networks of which recorded instances can be run themselves: part of the replay's name, model and sigma.
REAL = (
    ("lenet_noise_trained", NOISE_TRAINED, 0.1),
    ("lenet_sigma0.03", MODEL, 0.03),
    ("lenet_sigma0.06", MODEL, 0.06),
    ("lenet_sigma0.1", MODEL, 0.1),
)
_TIMED = 12  # full evaluations timed


@dataclass(frozen=True)
class Row:
    network: str
    population: int
    spread: float
    k: float
    way: str
    repetitions: int
    half_width: float
    instances: int
    evaluations: float
    plain_evaluations: float
    factor: float
    factor_lower_quartile: float
    factor_upper_quartile: float
    ideal: float
    covered: float
    converged: float


@dataclass(frozen=True)
class Real:
    network: str
    k: float
    kpp: float
    half_width: float
    evaluations: float
    cost_ratio: float
    time_ratio: float


def ideal(replay: Replay, k: float) -> float:
    """Return about which factor an audit has that knows everything but the instances, of which it takes as many.

    Each instance is decided by the likelihood ratio of its own performance against the percentile, both known, on
    inputs drawn in the proportion that tells instances near the percentile apart best; one below may err with 10 %, one
    above with a tenth of k. With these errors no sequential test needs fewer inputs in expectation (Wald 1945, but for
    the overshoot); other errors, and luck with the width, may do a little better.
    """
    rows = np.random.default_rng(0).permutation(len(replay.packed))[:1500]
    near = np.argsort(np.abs(replay.performance - replay.kpp(k)))[:200]
    odds = logit(np.mean([replay.scores(int(i)) for i in near], axis=0).clip(0.002, 0.998))
    shifts = np.linspace(-8, 8, 321)
    chances = expit(odds + shifts[:, None])
    weights = np.sqrt(expit(odds) * expit(-odds))
    at = replay.kpp(k)
    level = int(np.argmin(np.abs(chances.mean(1) - at)))
    own = np.abs(chances.mean(1)[:, None] - replay.performance[rows]).argmin(0)
    told = chances * np.log(chances / chances[level]) + (1 - chances) * np.log((1 - chances) / (1 - chances[level]))
    rate = (told @ weights / weights.sum())[own]
    needed = np.where(replay.performance[rows] <= at, math.log(10), math.log(10 / (k / 100)))
    with np.errstate(divide="ignore"):
        cost = np.minimum(needed / rate / replay.inputs, 1.0)
    return 1 / float(cost.mean())


def replayed(replay: Replay, k: float, plain: int, repetitions: int, *, given: bool) -> Row:
    half_width = 1e-9 if given else replay.plain_width(plain, k) / 2
    rows = []
    for seed in range(repetitions):
        instances = plain if given else None
        estimator = Audited(Question(k=k, seed=seed), half_width, inputs=replay.inputs, instances=instances)
        *_, end = estimator.states(replay.reveal(seed))
        size = replay.plain_size(end.high - end.low, k)
        covered = end.low <= replay.kpp(k) + 1e-12 and end.high >= replay.kpp(k) - 1e-12
        rows.append(
            (size / end.evaluations, end.half_width, end.instances, end.evaluations, size, covered, end.converged)
        )
    factor, half, count, cost, size, _, _ = np.median(rows, axis=0)
    low, high = np.quantile([r[0] for r in rows], [0.25, 0.75])
    return Row(
        replay.name, len(replay.sorted), float(replay.sorted.std()), k, "number given" if given else "half-width given",
        repetitions, half, int(count), cost, size, factor, low, high, ideal(replay, k),
        float(np.mean([r[5] for r in rows])), float(np.mean([r[6] for r in rows])),
    )  # fmt: skip


def real(name: str, model: Path, sigma: float, replay: Replay, k: float, plain: int) -> Real:
    """Run the network itself, once, and plain evaluations beside it."""
    question = Question(k=k, seed=0, half_width=replay.plain_width(plain, k) / 2)
    with Study(model, question, Variation(Gaussian(sigma)), data=str(DATA), workers=1) as study:
        begun = time.process_time()
        for _ in study.states():
            pass
        seconds, result = time.process_time() - begun, study.result()
        begun = time.process_time()
        for _ in study.engine.map(Task(10**9 + i) for i in range(_TIMED)):
            pass
        each = (time.process_time() - begun) / _TIMED
    size = replay.plain_size(result.ci_high - result.ci_low, k)
    half = (result.ci_high - result.ci_low) / 2
    return Real(name, k, result.kpp, half, result.evaluations, size / result.evaluations, size * each / seconds)


def cases(replay: Replay) -> Iterator[tuple[float, int]]:
    for k, plain in CASES:
        if k / 100 * len(replay.sorted) >= _TELLS:
            yield k, plain


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replay", type=Path, nargs="+", required=True, help="folders of replay files")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--only", default="", help="part of the name of a replay")
    parser.add_argument("--real", action="store_true", help="also run the networks that ship with kppstat, once each")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    files = [path for folder in options.replay for path in sorted(folder.glob("*.npz")) if options.only in path.stem]
    if not files:
        print("no replay files there: record some with python -m benchmarks.replay")
        return 1
    rows: list[Row] = []
    for path in files:
        replay = Replay(path)
        for k, plain in cases(replay):
            for given in (True, False):
                rows.append(row := replayed(replay, k, plain, options.repetitions, given=given))
                print(
                    f"{row.network}, spread {100 * row.spread:.2f}, k = {k:g}, {row.way}: half-width "
                    f"{100 * row.half_width:.3f} points from {row.evaluations:.0f} evaluations against "
                    f"{row.plain_evaluations:,.0f}: factor {row.factor:.1f} (quartiles {row.factor_lower_quartile:.1f} "
                    f"to {row.factor_upper_quartile:.1f}; ideal {row.ideal:.0f}), covered {row.covered:.2f}",
                    flush=True,
                )
                write_table(rows, options.out)
            for part, model, sigma in REAL if options.real else ():
                if part in replay.name:
                    run = real(replay.name, model, sigma, replay, k, plain)
                    print({n: round(v, 4) if isinstance(v, float) else v for n, v in asdict(run).items()}, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
