"""Train one network with every strategy at equal epochs, and judge all of them on the same instances.

    python -m analysis.training TASK FOLDER WORK [--sigma 0.1] [--seeds 0] [--only kpp,clip] [--lr 0.001,0.005]
                                [--train 6000] [--epochs 4] [--test 1000] [--instances 600]

TASK and the FOLDER of its data are told in `training_tasks.py`. WORK takes the trained networks and one JSON file for
each row; rows that are there are not made again, so an interrupted run goes on, and networks that are there are only
judged again where --test or --instances differ. A WORK holds one number of epochs. `training_table.py WORK` writes
tables and figures of what is there.
Every strategy is trained at each learning rate, and with each of its `SETTINGS` that are published; a tenth of the
training inputs selects among them, and the epoch. Test inputs are read once, at the end. Cost is CPU time of one
thread: that of a step in units of a plain step is measured beside it in one process.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import kppstat
from analysis.training_tasks import TASKS, Task, names_begin, task_named
from kppstat.data import Dataset, from_arrays
from kppstat.noise import variation_of
from kppstat.training import Plan, Session, censoring, judge, strategies

VALIDATION = {"instances": 20, "val_inputs": 500}
#: Joshi et al. (2020) clip at 2 to 2.5 standard deviations.
SETTINGS: dict[str, list[dict[str, float]]] = {"clip": [{"width": 2.0}, {"width": 2.5}]}
#: Right-censored noise chosen by `kppstat.censoring` in the place of TRICE's search.
CENSORED = "rcg-by-gradient"
STEPS = 12  # timed for each strategy


def trained(task: Task, name: str, sigma: float, plans: list[Plan], out: Path) -> dict[str, Any]:
    """Train with a strategy and keep the network that validates best; ``none`` is the network as it was given."""
    of, alternatives = name, SETTINGS.get(name, [{}])
    row: dict[str, Any] = {
        "lr": 0.0, "settings": {}, "best_epoch": 0, "seconds": 0.0, "step": 0.0, "trained": 0
    }  # fmt: skip
    if name == CENSORED:
        begun = time.process_time()
        noise = censoring(task.model, data=_dataset(task.model, task.train), sigma=sigma).best
        of, alternatives = "rcg", [{"threshold": noise.threshold, "sigma": noise.sigma}]
        row["search"] = time.process_time() - begun
    best = -np.inf
    for plan, settings in product(plans, alternatives) if name != "none" else ():
        begun = time.process_time()
        trial = out.with_suffix(".trial.onnx")
        session = _session(task, of, sigma, plan, settings, trial)
        for _ in session.states():
            pass
        done = session.finish()
        row["trained"] += 1
        if done.best.kpp > best:
            best = done.best.kpp
            trial.replace(out)
            row |= {"lr": plan.lr, "settings": settings, "best_epoch": done.best.number}
            row["seconds"] = time.process_time() - begun
    if name != "none":
        row["step"] = overhead(task, of, sigma, plans[0], row["settings"], out)
    return row


def judged(task: Task, path: Path, sigma: float, instances: int) -> dict[str, Any]:
    """Judge a network on the test inputs."""
    begun = time.process_time()
    found = judge(path, data=_dataset(path, task.test), sigma=sigma, instances=instances, seed=7, workers=1)
    measured = {n: getattr(found, n) for n in ("clean", "mean", "sd", "nll", "ece", "epistemic")}
    return {**measured, "judging": time.process_time() - begun, "accuracies": found.accuracies.tolist()}


def overhead(task: Task, name: str, sigma: float, plan: Plan, settings: dict[str, float], out: Path) -> float:
    """Return the CPU time of a step in units of that of a plain step, both measured in turn."""
    seconds = {}
    for one, its in (("plain", {}), (name, settings)):
        loop = _session(task, one, sigma, plan, its, out.with_suffix(".trial.onnx")).loop
        few = list(islice(loop.examples.shuffled(loop.batch, torch.Generator()), STEPS + 2))
        noise = torch.Generator()
        for i, rows in enumerate(few):
            if i == 2:  # the first steps set things up
                begun = time.process_time()
            inputs, targets = loop.examples.batch(rows)
            for number, member in enumerate(loop.members):
                loop.step(number, member, inputs, targets, noise, i / len(few))
        seconds[one] = time.process_time() - begun
    return seconds[name] / seconds["plain"]


def _dataset(path: Path, pairs: tuple[np.ndarray, np.ndarray]) -> Dataset:
    model = kppstat.load(path)
    return from_arrays({model.graph.inputs[0].name: pairs[0]}, pairs[1], model)


def _session(task: Task, name: str, sigma: float, plan: Plan, settings: dict[str, float], out: Path) -> Session:
    out.with_name(f"{out.name}.checkpoint").unlink(missing_ok=True)
    noise = variation_of(sigma, None)
    return Session(task.model, name, plan, noise, data=task.train, out=out, settings=settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", default=",".join(["none", *strategies(), CENSORED]))
    parser.add_argument("--sigma", type=float, default=0.1)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--lr", default="0.001,0.005")
    for option, default in (("--train", 6000), ("--epochs", 4), ("--test", 1000), ("--instances", 600)):
        parser.add_argument(option, type=int, default=default)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.work.mkdir(parents=True, exist_ok=True)
    task = task_named(asked.task, asked.folder, asked.train, asked.test, asked.work)
    if len(task.train[1]) < asked.train:
        parser.error(f"{asked.task} has {len(task.train[1])} inputs to train on, not {asked.train}")
    for seed in map(int, asked.seeds.split(",")):
        plans = [Plan(epochs=asked.epochs, seed=seed, lr=float(lr), **VALIDATION) for lr in asked.lr.split(",")]
        for name in asked.only.split(","):
            label = f"{names_begin(asked.task, asked.sigma, asked.train)}{name}-{seed}"
            training = {
                "task": asked.task, "strategy": name, "sigma": asked.sigma, "seed": seed, "epochs": asked.epochs,
                "rates": asked.lr, "train_inputs": len(task.train[1]),
            }  # fmt: skip
            judging = {"test_inputs": len(task.test[1]), "instances": asked.instances}
            record, network = asked.work / f"{label}.json", asked.work / f"{label}.onnx"
            row = json.loads(record.read_text()) if record.exists() else {}
            if row.items() >= (training | judging).items():
                continue
            if not row.items() >= training.items():
                row = training | trained(task, name, asked.sigma, plans, network)
            path = task.model if name == "none" else network
            row |= judging | judged(task, path, asked.sigma, asked.instances)
            record.write_text(json.dumps(row))
            print(label, {n: round(v, 4) for n, v in row.items() if isinstance(v, float)}, flush=True)


if __name__ == "__main__":
    main()
