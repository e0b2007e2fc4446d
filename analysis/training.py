"""Every strategy of training on one network, with equal epochs: its KPP(5) and KPP(1) under device variation.

    python analysis/training.py FASHION_MNIST_FOLDER [--train 6000] [--epochs 4] [--test 2000] [--instances 500]

The LeNet that ships with kppstat is fine-tuned on part of the Fashion-MNIST training images with each strategy at its
default settings and sigma 0.1; a tenth of that part is for validation. Then the same instances (same seed: common
random numbers) of every trained network are evaluated on test images, which no training and no selection has read.
FASHION_MNIST_FOLDER holds the four IDX gz files (Debian package dataset-fashion-mnist installs them under
/usr/share/datasets/fashion-mnist). Writes analysis/results/training.csv and training.svg after each strategy, and goes
on from there when it is run again: strategies that the table has with these settings are not trained again. The
intervals are exact for each KPP; seconds are wall clock of one run, and noisy where other work shares the processor.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import kppstat
from kppstat.data import from_arrays
from kppstat.demo import MODEL
from kppstat.stats.order import quantile_interval
from kppstat.style import ACCENT, INK, MUTED, house_style, new_figure, save
from kppstat.training import train

SIGMA, SEED = 0.1, 7
RESULTS = Path(__file__).parent / "results"
TABLE = RESULTS / "training.csv"
STRATEGIES = (
    "none", "plain", "gaussian", "clip", "kpp", "rcg", "ovf", "irs", "randbet", "correctnet", "adversarial-rcg",
    "rcg-mean-gaussian", "rcg-mean-removed", "rcg-mean-only",
)  # fmt: skip


def idx(path: Path) -> np.ndarray:
    """Read one gzipped IDX file of unsigned bytes."""
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, ">u4", raw[3], 4).astype(int)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def part(folder: Path, name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first images and labels of ``train`` or ``t10k``."""
    images, labels = idx(folder / f"{name}-images-idx3-ubyte.gz"), idx(folder / f"{name}-labels-idx1-ubyte.gz")
    return images[:count, None], labels[:count].astype(np.int64)


def judged(path: Path, test: tuple[np.ndarray, np.ndarray], instances: int) -> dict[str, float]:
    """Evaluate the same instances of any network on the test images."""
    model = kppstat.load(path)
    data = from_arrays({"pixels": test[0]}, test[1], model, source="test images")
    # A half-width that is never reached: all networks get the same number of instances.
    result = kppstat.estimate(
        model, sigma=SIGMA, k=1, data=data, method="mc", guarantee="exact", half_width=1e-9,
        max_evaluations=instances, workers=1, seed=SEED,
    )  # fmt: skip
    row = {"clean": result.clean, "mean": result.mean, "sd": result.sd}
    for k in (5, 1):
        found = quantile_interval(result.values, k / 100)
        values = np.sort(result.values)
        row |= {f"kpp{k}": values[int(np.ceil(k / 100 * len(values))) - 1], f"kpp{k}_low": found.low}
        row[f"kpp{k}_high"] = found.high
    return {name: round(float(value), 5) for name, value in row.items()}


def earlier(settings: dict[str, float]) -> list[dict[str, Any]]:
    """Return the rows of an earlier run with the same settings."""
    if not TABLE.exists():
        return []
    with TABLE.open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in rows:
        row.update({name: float(text) for name, text in row.items() if name != "strategy"})
    return [row for row in rows if all(row[name] == value for name, value in settings.items())]


def write(rows: list[dict[str, Any]]) -> None:
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({n: f"{v:g}" if isinstance(v, float) else v for n, v in row.items()} for row in rows)


def figure(rows: list[dict[str, Any]]) -> None:
    """Draw KPP(1) with its interval, the mean and the clean accuracy of every strategy, best on top."""
    rows = sorted(rows, key=lambda row: row["kpp1"])
    with house_style():
        drawing = new_figure(2, 0.22 * len(rows) + 0.7)
        axes = drawing.add_subplot()
        for i, row in enumerate(rows):
            colour = ACCENT if row["strategy"] == "kpp" else INK
            axes.plot([100 * row["kpp1_low"], 100 * row["kpp1_high"]], [i, i], color=colour)
            axes.plot(100 * row["kpp1"], i, "o", color=colour, markersize=4)
            axes.plot(100 * row["mean"], i, "|", color=MUTED, markersize=7)
            axes.plot(100 * row["clean"], i, "x", color=MUTED, markersize=4)
        axes.set_yticks(range(len(rows)), [row["strategy"] for row in rows])
        axes.set_xlabel("top-1 accuracy in %: KPP(1) with 95 % interval (dot), mean (bar), clean (cross)")
        save(drawing, RESULTS / "training.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--instances", type=int, default=500)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    images, test = part(asked.folder, "train", asked.train), part(asked.folder, "t10k", asked.test)
    RESULTS.mkdir(exist_ok=True)
    settings = {"sigma": SIGMA, "epochs": asked.epochs, "train_inputs": asked.train, "test_inputs": asked.test}
    settings |= {"instances": asked.instances}
    rows = earlier(settings)
    with tempfile.TemporaryDirectory() as folder:
        for name in STRATEGIES:
            if any(row["strategy"] == name for row in rows):
                continue
            path, seconds, best = MODEL, 0.0, 0
            if name != "none":
                path, common = Path(folder) / f"{name}.onnx", {"instances": 20, "val_inputs": 500}
                done = train(MODEL, name, sigma=SIGMA, k=1, data=images, epochs=asked.epochs, out=path, **common)
                seconds, best = done.history[-1].seconds - done.history[0].seconds, done.best.number
            row = {"strategy": name, **settings, "best_epoch": best, "seconds": round(seconds, 1)}
            rows.append({**row, **judged(path, test, asked.instances)})
            print(rows[-1], flush=True)
            write(rows)
            figure(rows)


if __name__ == "__main__":
    main()
