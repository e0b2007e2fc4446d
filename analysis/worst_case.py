"""How many gradient passes a search for the worst case needs, and whether training with noise helps against it.

    python -m analysis.worst_case [MODEL.onnx ...] [--inputs 400] [--seeds 0,1]

Networks: the two LeNets that ship with kppstat (Fashion-MNIST), and any other with its inputs in MODEL.npz beside it
(searched on half as many inputs, with the first seed). Each search has a budget of gradient passes over the search's
inputs, and what it finds is judged on all inputs. Within one point of the best that any search found, at a budget of
100 passes or less, is the aim; lwc, pgd and fgsm are the published searches at the same budgets. Writes
analysis/results/worst_case.csv and worst_case.svg, and goes on from the table when it is run again.
benchmarks/worst_case.py compares the searches over bounds; from its table comes the last panel of the figure: the LeNet
trained plainly and the one trained with noise at the same bounds, judged on all inputs.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import write_table
from kppstat import data as data_room
from kppstat.demo import DATA, MODEL, NOISE_TRAINED
from kppstat.onnx_io import load
from kppstat.style import ACCENT, INK, MUTED, SMALL, house_style, new_figure, save
from kppstat.worst_case import Attack, Region
from kppstat.worst_case.certify import Certifier

TABLE = Path(__file__).parent / "results" / "worst_case.csv"
BOUNDS = Path(__file__).parents[1] / "benchmarks" / "results" / "worst_case.csv"
TRAINED = {"LeNet, Fashion-MNIST": ("plain", INK), "LeNet trained with noise": ("with noise", ACCENT)}
BUDGETS = {"ours": (5, 10, 20, 40, 100), "pgd": (20, 100), "lwc": (20, 100), "fgsm": (5,)}
DEMO = {"LeNet": (MODEL, (0.005, 0.01)), "LeNet trained with noise": (NOISE_TRAINED, (0.03, 0.06))}
OTHER_BOUND = 0.005
LOOKS = {"ours": (ACCENT, "-", "o"), "pgd": (INK, "-", "s"), "lwc": (INK, (0, (4, 2)), "^"),
         "fgsm": (MUTED, (0, (1, 1.5)), "v")}  # fmt: skip


def searched(path: Path, data: Path, bound: float, method: str, budget: int, seed: int, inputs: int) -> dict[str, Any]:
    """Search on some inputs, judge on all."""
    model = load(path)
    whole = data_room.load(data, model)
    part = whole.part(np.sort(np.random.default_rng(0).permutation(len(whole))[:inputs]))
    attack = Attack(model, bound, data=part, method=method, passes=budget, seed=seed)
    for _ in attack.states():
        pass
    result = attack.result()
    full = Certifier(model, whole, Region(bound))
    return {
        "passes": round(result.passes, 2), "search_inputs": len(part), "clean_search": result.clean,
        "worst_search": round(result.performance_worst, 5), "inputs": len(whole), "clean": round(full.clean, 5),
        "worst": round(full.accuracy(result.weights), 5),
    }  # fmt: skip


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Draw the worst accuracy found against the passes spent, one panel a network and bound."""
    panels = list(dict.fromkeys((row["network"], row["bound"]) for row in rows))
    with house_style():
        lines = len(panels) // 3 + 1
        figure = new_figure(2, 2.3 * lines)
        grid = figure.subplots(lines, 3, squeeze=False)
        for axes in grid.flat[len(panels) + 1 :]:
            axes.axis("off")
        for axes, (network, bound) in zip(grid.flat, panels, strict=False):
            mine = [row for row in rows if (row["network"], row["bound"]) == (network, bound)]
            for method, (colour, dashes, marker) in LOOKS.items():
                budgets = sorted({int(row["budget"]) for row in mine if row["method"] == method})
                found = [[100 * float(row["worst_search"]) for row in mine
                          if (row["method"], int(row["budget"])) == (method, b)] for b in budgets]  # fmt: skip
                if method == "fgsm" and found:
                    axes.axhline(found[0][0], color=colour, linestyle=dashes, label=method)
                elif found:
                    axes.plot(budgets, [np.mean(f) for f in found], color=colour, linestyle=dashes, marker=marker,
                              markersize=3, label=method)  # fmt: skip
                    if max(map(len, found)) > 1:
                        axes.fill_between(budgets, [min(f) for f in found], [max(f) for f in found], color=colour,
                                          alpha=0.15, linewidth=0)  # fmt: skip
            axes.set_title(f"{network}, bound {bound}", fontsize=SMALL)
            axes.set_xscale("log")
            axes.set_xticks(BUDGETS["ours"], labels=[str(b) for b in BUDGETS["ours"]])
            axes.minorticks_off()
            axes.set_ylim(bottom=0)
        for row in grid:
            row[0].set_ylabel("worst accuracy found (%)")
        for axes in grid.flat[max(len(panels) - 3, 0) : len(panels)]:
            axes.set_xlabel("gradient passes")
        grid[0, 0].legend(frameon=False, fontsize=SMALL)
        _compare_training(grid.flat[len(panels)])
    save(figure, path)


def _compare_training(axes: Any) -> None:
    """Draw accuracy on all inputs against the bound for both LeNets: the worst weights and the intended ones."""
    rows = list(csv.DictReader(BOUNDS.open()))
    for network, (label, colour) in TRAINED.items():
        mine = [row for row in rows if (row["network"], row["method"]) == (network, "ours")]
        line = [(0.0, float(mine[0]["clean"])), *((float(row["bound"]), float(row["worst"])) for row in mine)]
        bounds, worst = np.array(line).T
        axes.plot(bounds, 100 * worst, color=colour, marker="o", markersize=3, label=label)
    axes.set_title("LeNets, ours with 40 passes, on all inputs", fontsize=SMALL)
    axes.set_xlabel("bound")
    axes.locator_params(axis="x", nbins=4)
    axes.set_ylim(bottom=0)
    axes.legend(title="trained", title_fontsize=SMALL, frameon=False, fontsize=SMALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--inputs", type=int, default=400)
    parser.add_argument("--seeds", default="0,1")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    asked = [(n, p, DATA, b, options.inputs, seeds) for n, (p, bounds) in DEMO.items() for b in bounds]
    asked += [(p.stem, p, p.with_suffix(".npz"), OTHER_BOUND, options.inputs // 2, seeds[:1]) for p in options.models]
    rows = list(csv.DictReader(TABLE.open())) if TABLE.exists() else []
    done = {tuple(row[n] for n in ("network", "bound", "method", "budget", "seed")) for row in rows}
    for network, path, data, bound, inputs, their_seeds in asked:
        for method in LOOKS:
            for seed in their_seeds if method == "ours" else their_seeds[:1]:
                for budget in BUDGETS[method]:
                    label = (network, str(bound), method, str(budget), str(seed))
                    if label in done:
                        continue
                    names = ("network", "bound", "method", "budget", "seed")
                    found = searched(path, data, bound, method, budget, seed, inputs)
                    rows.append({**dict(zip(names, label, strict=True)), **{k: str(v) for k, v in found.items()}})
                    write_table(rows, TABLE)
                    print(*rows[-1].values(), flush=True)
    draw(rows, TABLE.with_suffix(".svg"))


if __name__ == "__main__":
    main()
