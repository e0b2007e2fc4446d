"""Tilted sampling on the networks that ship with kppstat: what it was worth, everything counted.

The factor is what plain Monte Carlo would cost for the same standard error of the distribution function at the
percentile, over the cost of the run: pilot, gradients (forward and backward count 3), scouts, audits for the bound on
hidden failures, and the first wave, which does not count.

    python -m benchmarks.tilted_networks [--repetitions 1] [--budget 300]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.table import write_table
from kppstat.demo import DATA, MODEL, NOISE_TRAINED
from kppstat.noise import Gaussian, Variation
from kppstat.sampling import Question, Study
from kppstat.sampling.tilted import Tilted

CASES = (
    ("LeNet", MODEL, 0.06, 1.0),
    ("LeNet", MODEL, 0.06, 0.1),
    ("LeNet, noise-trained", NOISE_TRAINED, 0.1, 1.0),
    ("LeNet", MODEL, 0.06, 0.01),
    ("LeNet", MODEL, 0.03, 1.0),
    ("LeNet", MODEL, 0.03, 0.1),
    ("LeNet", MODEL, 0.1, 1.0),
)
OUT = Path(__file__).parent / "results" / "tilted_networks.csv"


@dataclass(frozen=True)
class Row:
    network: str
    sigma: float
    k: float
    method: str
    repetition: int
    kpp: float
    ci_low: float
    ci_high: float
    evaluations: float
    factor: float
    correlation: float
    events: float
    hidden_mass: float
    cpu_seconds: float


def measure(network: str, model: Path, sigma: float, k: float, repetition: int, budget: float, method: str) -> Row:
    question = Question(
        k=k, seed=repetition, guarantee="asymptotic", method=method, half_width=1e-6, max_evaluations=budget
    )
    begun = time.process_time()
    with Study(model, question, Variation(Gaussian(sigma)), data=str(DATA)) as study:
        for _ in study.states():
            pass
        result, estimator = study.result(), study.estimator
    assert isinstance(estimator, Tilted)
    found = estimator.findings()
    assert found is not None
    return Row(
        network, sigma, k, method, repetition, result.kpp, result.ci_low, result.ci_high, result.evaluations,
        found.factor, found.correlation, found.events, found.hidden_mass, time.process_time() - begun,
    )  # fmt: skip


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--budget", type=float, default=300)
    parser.add_argument("--method", default="tilted", choices=["tilted", "subset"])
    parser.add_argument("--case", type=int, nargs="*", default=list(range(len(CASES))))
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    rows: list[Row] = []
    for repetition in range(given.repetitions):
        for case in given.case:
            rows.append(measure(*CASES[case], repetition, given.budget, given.method))
            print({n: round(v, 4) if isinstance(v, float) else v for n, v in asdict(rows[-1]).items()}, flush=True)
            write_table(rows, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
