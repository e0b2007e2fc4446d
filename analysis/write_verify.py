"""Selective write-verify: KPP against the fraction of weights that are verified, by four rankings.

    python -m analysis.write_verify FASHION_MNIST_FOLDER CIFAR_FOLDER [--instances 200] [--test 2000] [--train 2000]

The two LeNets that ship with kppstat and a residual network, under additive Gaussian variation; a verified weight keeps
a tenth of its sigma, as in SWIM's code (0.3 and 0.03 there). Weights are ranked on training images and the KPP is
judged on test images, with the same instances (common random numbers) for every ranking and fraction; ResNet-8 was
judged on 1,000 (``--test 1000``). The cost of a ranking is counted in evaluations of the ranking's inputs.
`training_tasks.py` says what the folders hold. Writes analysis/results/write_verify.csv and .svg after each point, and
goes on from there when it is run again.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

import kppstat
from analysis.training_tasks import Task, task_named
from benchmarks.table import write_table
from kppstat.data import Dataset, from_arrays
from kppstat.demo import NOISE_TRAINED
from kppstat.onnx_io import Model, load
from kppstat.style import ACCENT, INK, MUTED, SMALL, house_style, new_figure, save
from kppstat.write_verify import select

K, SEED = 5, 3
RESULTS = Path(__file__).parent / "results"
TABLE = RESULTS / "write_verify.csv"
NETWORKS = {
    "LeNet": ("fashion", None, 0.1),
    "LeNet trained with noise": ("fashion", NOISE_TRAINED, 0.2),
    "ResNet-8": ("cifar", None, 0.05),
}
FRACTIONS = {
    "random": (0.0, 1.0, 0.05, 0.4),
    "ours": (0.05, 0.1, 0.02, 0.2),
    "swim": (0.1, 0.2, 0.05, 0.02, 0.4),
    "magnitude": (0.05, 0.4),
}
LOOKS = {
    "ours": (ACCENT, "-", "o"),
    "swim": (INK, "-", "s"),
    "magnitude": (MUTED, (0, (4, 2)), "^"),
    "random": (MUTED, (0, (1, 1.5)), "v"),
}


def loaded(pairs: tuple[np.ndarray, np.ndarray], model: Model) -> Dataset:
    """Return images and labels as data of the model."""
    return from_arrays({model.graph.inputs[0].name: pairs[0]}, pairs[1], model)


def point(network: str, task: Task, method: str, fraction: float, instances: int) -> dict[str, object]:
    """Rank, verify, judge."""
    _, path, sigma = NETWORKS[network]
    model = load(path or task.model)
    train, test = loaded(task.train, model), loaded(task.test, model)
    chosen = select(model, fraction, sigma / 10, sigma=sigma, data=train, k=K, method=method, seed=SEED)
    result = kppstat.estimate(
        model, noise=chosen.variation, data=test, k=K, method="mc", half_width=1e-9, seed=SEED,
        max_evaluations=instances, workers=1,
    )  # fmt: skip
    found = {"kpp": result.kpp, "ci_low": result.ci_low, "ci_high": result.ci_high, "mean": result.mean}
    return {
        "network": network, "sigma": sigma, "method": method, "fraction": fraction, "k": K,
        **{name: round(value, 5) for name, value in found.items()},
        "sd": round(result.sd, 5), "ranking_evaluations": round(chosen.evaluations, 1),
        "instances": result.instances, "inputs": result.inputs, "ranking_inputs": len(train), "seed": SEED,
    }  # fmt: skip


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Draw KPP (solid) and mean accuracy (faint) against the fraction, one panel a network."""
    with house_style():
        figure = new_figure(2, 2.4)
        panels = figure.subplots(1, len(NETWORKS), squeeze=False)[0]
        for axes, network in zip(panels, NETWORKS, strict=True):
            mine = [row for row in rows if row["network"] == network]
            for method, (colour, dashes, marker) in LOOKS.items():
                line = sorted((float(r["fraction"]), float(r["kpp"]), float(r["mean"])) for r in mine
                              if r["method"] == method and 0 < float(r["fraction"]) < 1)  # fmt: skip
                if not line:
                    continue
                x, kpp, mean = np.array(line).T
                axes.plot(100 * x, 100 * kpp, color=colour, linestyle=dashes, marker=marker, markersize=3, label=method)
                axes.plot(100 * x, 100 * mean, color=colour, linestyle=dashes, linewidth=0.6, alpha=0.6)
            for row in mine:
                if float(row["fraction"]) in (0, 1):
                    axes.axhline(100 * float(row["kpp"]), color=MUTED, linewidth=0.6)
                    text = "all verified" if float(row["fraction"]) else "none verified"
                    axes.annotate(text, (0.99, 100 * float(row["kpp"])), (0, 2), xycoords=("axes fraction", "data"),
                                  textcoords="offset points", fontsize=SMALL, color=MUTED, ha="right")  # fmt: skip
            sigma = NETWORKS[network][2]
            axes.set_title(f"{network}, sigma {sigma:g}", fontsize=SMALL)
            axes.set_xscale("log")
            axes.set_xticks([2, 5, 10, 20, 40], labels=["2", "5", "10", "20", "40"])
            axes.minorticks_off()
            axes.set_xlabel("verified weights (%)")
        panels[0].set_ylabel(f"KPP at k = {K} %, mean thin (%)")
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, frameon=False, fontsize=SMALL, loc="outside upper right", ncols=4)
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fashion", type=Path)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--test", type=int, default=2000)
    options = parser.parse_args()
    rows = list(csv.DictReader(TABLE.open())) if TABLE.exists() else []
    done = {(row["network"], row["method"], float(row["fraction"])) for row in rows}
    for network, (name, _, _) in NETWORKS.items():
        task = task_named(name, getattr(options, name), options.train, options.test, RESULTS)
        for method, fractions in FRACTIONS.items():
            for fraction in fractions:
                if (network, method, fraction) in done:
                    continue
                row = {
                    key: str(value) for key, value in point(network, task, method, fraction, options.instances).items()
                }
                rows.append(row)
                write_table(rows, TABLE)
                print(*row.values(), flush=True)
    draw(rows, TABLE.with_suffix(".svg"))


if __name__ == "__main__":
    main()
