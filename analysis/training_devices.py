"""Judge networks that `training.py` has trained at other sigmas and on other devices than they were trained for.

    python -m analysis.training_devices TASK FOLDER WORK [--sigma 0.2] [--only none,gaussian,clip,kpp]
                                        [--train 6000] [--test 1000] [--instances 200]

Sigmas are half, one and a half times and twice that of training; devices are the four-level ones of `kppstat noise`,
whose deviations depend on the level, at the sigma of training. Writes analysis/results/training_devices_TASK.csv: clean
and mean accuracy, and KPP(5) with its exact 95 % interval, the same instances for all networks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import kppstat
from analysis.training_table import RESULTS
from analysis.training_tasks import TASKS, names_begin, task_named
from benchmarks.table import write_table
from kppstat.data import from_arrays
from kppstat.noise import FourLevel, Gaussian, NoiseModel, Variation
from kppstat.training import judge

DEVICES = ("RRAM1", "FeFET2", "RRAM4", "FeFET6")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", default="none,gaussian,clip,kpp")
    parser.add_argument("--sigma", type=float, default=0.2)
    for option, default in (("--train", 6000), ("--test", 1000), ("--instances", 200)):
        parser.add_argument(option, type=int, default=default)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    task = task_named(asked.task, asked.folder, asked.train, asked.test, asked.work)
    laws: dict[str, NoiseModel] = {f"sigma {f * asked.sigma:g}": Gaussian(f * asked.sigma) for f in (0.5, 1, 1.5, 2)}
    laws |= {device: FourLevel(asked.sigma, device) for device in DEVICES}
    rows = []
    for name in asked.only.split(","):
        made = asked.work / f"{names_begin(asked.task, asked.sigma, asked.train)}{name}-0.onnx"
        model = kppstat.load(made if name != "none" else task.model)
        data = from_arrays({model.graph.inputs[0].name: task.test[0]}, task.test[1], model, source="test inputs")
        for label, law in laws.items():
            found = judge(model, data=data, noise=Variation(law), instances=asked.instances, seed=7, workers=1)
            interval = found.interval(5)
            numbers = {"clean": found.clean, "mean": found.mean, "kpp5": found.kpp(5)}
            numbers |= {"kpp5_low": interval.low, "kpp5_high": interval.high}
            rows.append({"variation": label, "strategy": name, **{n: f"{x:.4f}" for n, x in numbers.items()}})
            print(*rows[-1].values(), flush=True)
    rows.sort(key=lambda row: list(laws).index(row["variation"]))
    write_table(rows, RESULTS / f"training_devices_{asked.task}.csv")


if __name__ == "__main__":
    main()
