"""Clean accuracy of the networks that `training.py` has made, on far more test inputs than they were judged on.

    python -m analysis.training_clean TASK FOLDER WORK SIGMA [--train 6000] [--test 1000]

Instances are judged on a thousand inputs, on which clean accuracies within a point are not told apart. One pass over
ten thousand or more tells them apart, so that KPPs can be compared at equal clean accuracy. `behind` is that of `kpp`
with the same seed less that of the row, with a paired 95 % interval (normal). TASK, FOLDER and WORK, --train and --test
are as they were for `training.py`. Writes rows of this task, sigma and size into analysis/results/training_clean.csv.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

import kppstat
from analysis.training_tasks import TASKS, Pairs, many_tests, names_begin
from benchmarks.table import write_table
from kppstat import Gaussian, Variation
from kppstat.data import from_arrays
from kppstat.engine import Evaluator
from kppstat.performance import Top1

TABLE = Path(__file__).parent / "results" / "training_clean.csv"
OURS = "kpp"


def right(path: Path, tests: Pairs) -> np.ndarray:
    """Return the score of the network, as it is intended, on each input: 1 where right."""
    model = kppstat.load(path)
    data = from_arrays({model.graph.inputs[0].name: tests[0]}, tests[1], model)
    outputs = Evaluator(model, Variation(Gaussian(0.0)), data, Top1()).outputs(None)
    return Top1().scores(outputs, data.targets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    for name in ("folder", "work"):
        parser.add_argument(name, type=Path)
    parser.add_argument("sigma", type=float)
    parser.add_argument("--train", type=int, default=6000)
    parser.add_argument("--test", type=int, default=1000)
    asked = parser.parse_args()
    tests = many_tests(asked.task, asked.folder, asked.train, asked.test)
    prefix = names_begin(asked.task, asked.sigma, asked.train)
    found = {}
    for path in sorted(asked.work.glob(f"{prefix}*.onnx")):
        strategy, seed = path.stem.removeprefix(prefix).rsplit("-", 1)
        if seed.isdigit():  # others are trials
            found[strategy, int(seed)] = right(path, tests)
    here = {"task": asked.task, "sigma": f"{asked.sigma:g}", "train_inputs": str(asked.train)}
    rows = [here | row for row in compared(found)]
    for row in rows:
        print(*row.values())
    old = list(csv.DictReader(TABLE.open())) if TABLE.exists() else []
    others = [row for row in old if not row.items() >= here.items()]
    write_table(
        sorted(others + rows, key=lambda row: (row["task"], float(row["sigma"]), int(row["train_inputs"]))), TABLE
    )


def compared(found: dict[tuple[str, int], np.ndarray]) -> list[dict[str, object]]:
    """Return a row for each network, those of `kpp` first."""
    rows = []
    for strategy, seed in sorted(found, key=lambda key: (key[0] != OURS, key)):
        values = found[strategy, seed]
        row: dict[str, object] = {"strategy": strategy, "seed": seed, "inputs": len(values)}
        row |= {"clean": f"{values.mean():.4f}", "behind": "", "behind_low": "", "behind_high": ""}
        ours = found.get((OURS, seed))
        if ours is not None and strategy != OURS:
            apart = ours - values
            error = 1.96 * apart.std(ddof=1) / len(apart) ** 0.5
            numbers = {"behind": 0.0, "behind_low": -error, "behind_high": error}
            row |= {name: f"{apart.mean() + by:.4f}" for name, by in numbers.items()}
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
