"""Write tables and figures of the rows that `training.py` has made.

    python -m analysis.training_table WORK

For each task, sigma and number of training inputs in WORK it writes analysis/results/training_TASK_SIGMA_INPUTS.csv,
and one figure, training.svg.
KPPs have exact 95 % intervals; that of KPP(0.1) reaches down to 0 where there are fewer than 3,688 instances. `behind`
is the KPP of `kpp` less that of the row, with the exact interval for paired samples: all networks were judged on the
same instances, one that was judged on more by the first of them; `behind_gaussian` is the same for Gaussian injection.
`worst` is the accuracy of the worst instance drawn.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kppstat.stats.order import quantile, quantile_interval
from kppstat.stats.paired import paired_difference
from kppstat.style import ACCENT, FILL, INK, MUTED, house_style, new_figure, save

RESULTS = Path(__file__).parent / "results"
OURS = "kpp"
AGAINST = {"behind": OURS, "behind_gaussian": "gaussian"}
ENOUGH = 5  # strategies, for a panel of the figure
Row = dict[str, Any]
Key = tuple[str, float, int]  # task, sigma, inputs to train on


def read(work: Path) -> dict[Key, list[Row]]:
    """Return the rows by what was asked, with what follows from their accuracies."""
    found: dict[Key, list[Row]] = {}
    for path in sorted(work.glob("*.json")):
        row = json.loads(path.read_text())
        found.setdefault((row["task"], row["sigma"], row["train_inputs"]), []).append(row)
    for rows in found.values():
        for name, strategy in AGAINST.items():
            others = {row["seed"]: row for row in rows if row["strategy"] == strategy}
            for row in rows:
                # The network as it was given has no seed of training, and stands beside the first.
                compared(row, others.get(row["seed"], next(iter(others.values()), None)), name)
        for row in rows:
            complete(row)
        rows[:] = sorted(rows, key=lambda row: (-_median(rows, row["strategy"]), row["strategy"], row["seed"]))
    return found


def complete(row: Row) -> None:
    """Add KPPs with intervals."""
    values = np.array(row["accuracies"])
    for k in (5, 1, 0.1):
        interval = quantile_interval(values, k / 100).clipped(0, 1)
        row |= {f"kpp{k}": quantile(values, k / 100), f"kpp{k}_low": interval.low, f"kpp{k}_high": interval.high}
    row["worst"] = values.min()


def compared(row: Row, other: Row | None, name: str) -> None:
    """Add by how much the KPP of another row is above that of this one on the same instances."""
    if other is None or other is row:
        return
    shared = min(len(other["accuracies"]), len(row["accuracies"]))
    theirs, values = (np.array(each["accuracies"][:shared]) for each in (other, row))
    for k in (5, 1):
        interval = paired_difference(theirs, values, k / 100).clipped(-1, 1)
        row[f"{name}{k}_low"], row[f"{name}{k}_high"] = interval.low, interval.high
        row[f"{name}{k}"] = quantile(theirs, k / 100) - quantile(values, k / 100)


def _strategies(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["strategy"] for row in rows))


def _median(rows: list[Row], strategy: str) -> float:
    return float(np.median([row["kpp1"] for row in rows if row["strategy"] == strategy]))


COLUMNS = (
    "strategy", "seed", "settings", "kpp1", "kpp1_low", "kpp1_high", "behind1", "behind1_low", "behind1_high", "kpp5",
    "kpp5_low", "kpp5_high", "behind5", "behind5_low", "behind5_high",
    "behind_gaussian1", "behind_gaussian1_low", "behind_gaussian1_high", "kpp0.1", "kpp0.1_low", "kpp0.1_high", "worst",
    "mean", "sd", "clean", "nll", "ece", "epistemic",
    "best_epoch", "step", "seconds", "trained", "search", "judging", "epochs", "lr", "rates",
    "train_inputs", "test_inputs", "instances",
)  # fmt: skip


def table(rows: Iterable[Row], path: Path) -> None:
    """Write a CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n", extrasaction="ignore", restval="")
        writer.writeheader()
        for row in rows:
            settings = " ".join(f"{n}={v:g}" for n, v in row["settings"].items())
            plain = {n: f"{v:.5g}" if isinstance(v, float) else v for n, v in row.items()}
            writer.writerow({**plain, "settings": settings})


def figure(found: dict[Key, list[Row]]) -> None:
    """Draw KPP(1) with its interval, mean and clean accuracy of every network, where enough strategies are compared."""
    found = {key: rows for key, rows in found.items() if len(_strategies(rows)) >= ENOUGH}
    # In the order of the task that has most of them.
    most_first = sorted(found.values(), key=lambda rows: -len(_strategies(rows)))
    names = list(dict.fromkeys(name for rows in most_first for name in _strategies(rows)))[::-1]
    places = {name: i for i, name in enumerate(names)}
    with house_style():
        drawing = new_figure(2, 0.16 * len(names) + 0.75)
        panels = np.ravel(drawing.subplots(1, len(found), sharey=True, squeeze=False))
        for axes, ((task, sigma, inputs), rows) in zip(panels, found.items(), strict=True):
            for row in rows:
                seeds = sorted(other["seed"] for other in rows if other["strategy"] == row["strategy"])
                y = places[row["strategy"]] + (0.2 * (seeds.index(row["seed"]) - (len(seeds) - 1) / 2))
                colour = ACCENT if row["strategy"] == OURS else INK
                axes.plot([100 * row["kpp1_low"], 100 * row["kpp1_high"]], [y, y], color=colour, linewidth=0.9)
                axes.plot(100 * row["kpp1"], y, "o", color=colour, markersize=2.5)
                axes.plot(100 * row["mean"], y, "|", color=MUTED, markersize=5)
                axes.plot(100 * row["clean"], y, "x", color=MUTED, markersize=2.5, markeredgewidth=0.7)
            best = max((row for row in rows if row["strategy"] == OURS), key=lambda row: row["kpp1"], default=None)
            if best is not None:
                axes.axvline(100 * best["kpp1"], color=FILL, linewidth=0.6, zorder=0)
            axes.set_yticks(range(len(places)), list(places))
            axes.set_title(f"{task}, sigma {sigma:g},\n{inputs:,} inputs", loc="left", fontsize=7)
        drawing.supxlabel("top-1 accuracy in %: KPP(1) with 95 % interval (dot), mean (bar), clean (cross)", fontsize=7)
        save(drawing, RESULTS / "training.svg")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = read(Path(sys.argv[1]))
    RESULTS.mkdir(exist_ok=True)
    for (task, sigma, inputs), rows in found.items():
        table(rows, RESULTS / f"training_{task}_{sigma:g}_{inputs}.csv")
    figure(found)


if __name__ == "__main__":
    main()
