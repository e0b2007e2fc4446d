"""The worst case within a bound: the accuracy that each search reaches with equal gradient passes.

Every method searches on the same inputs with the same budget; the weights that it finds are then evaluated on the
whole test set in onnxruntime. Lower is better. Networks: the two LeNets of the demo (Fashion-MNIST), and, where the
folder of real models stands beside the repository, LeNet5 (MNIST) and ResNet-8 (CIFAR-10).

    python -m benchmarks.worst_case            # half an hour of a core; writes results/worst_case.csv and .svg
    python -m benchmarks.worst_case --quick    # a quarter of the inputs and passes
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.table import write_table
from kppstat import data as data_room
from kppstat.data import Dataset
from kppstat.demo import DATA, MODEL, NOISE_TRAINED
from kppstat.onnx_io import load
from kppstat.style import ACCENT, INK, MUTED, SMALL, house_style, new_figure, save
from kppstat.worst_case import METHODS, Attack, Region
from kppstat.worst_case.certify import Certifier

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared"
SEED = 0
BOUNDS = (0.005, 0.01, 0.02, 0.03)


@dataclass(frozen=True)
class Case:
    name: str
    model: Path
    data: Path
    inputs: int  # to search on
    passes: float
    bounds: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    network: str
    bound: float
    method: str
    seed: int
    passes: float
    search_inputs: int
    clean_search: float
    worst_search: float
    inputs: int
    clean: float
    worst: float
    cpu_seconds: float


def cases(folder: Path) -> Iterator[Case]:
    yield Case("LeNet, Fashion-MNIST", MODEL, DATA, 400, 40, BOUNDS)
    yield Case("LeNet trained with noise", NOISE_TRAINED, DATA, 400, 40, BOUNDS)
    names = {"mnist_lenet5_clntrained": "LeNet5, MNIST", "cifar10_resnet8_mlperftiny": "ResNet-8, CIFAR-10"}
    prepare = SHARED / "data" / "prepare.py"
    if not prepare.is_file():
        print("skipping MNIST and CIFAR-10: the folder of real models is not beside the repository", file=sys.stderr)
        return
    subprocess.run([sys.executable, str(prepare), str(folder), *names], check=True, stdout=subprocess.DEVNULL)
    for file, name in names.items():
        # Where the network breaks down altogether, a few inputs would be overfitted.
        inputs = 1000 if "cifar10" in file else 200
        yield Case(name, folder / f"{file}.onnx", folder / f"{file}.npz", inputs, 40, BOUNDS[:-1])


def measure(case: Case, scale: float) -> Iterator[Row]:
    """Run every method at every bound."""
    model = load(case.model)
    whole = data_room.load(case.data, model)
    part = some(whole, max(40, int(case.inputs * scale)))
    passes = max(6.0, case.passes * scale)
    full = Certifier(model, whole, Region(max(case.bounds)))
    for bound in case.bounds:
        for method in METHODS:
            begun = time.process_time()
            attack = Attack(model, bound, data=part, method=method, passes=passes, seed=SEED)
            for _ in attack.states():
                pass
            result = attack.result()
            spent = time.process_time() - begun
            yield Row(
                network=case.name,
                bound=bound,
                method=method,
                seed=SEED,
                passes=round(result.passes, 2),
                search_inputs=result.inputs,
                clean_search=result.clean,
                worst_search=result.performance_worst,
                inputs=len(whole),
                clean=full.clean,
                worst=full.accuracy(result.weights),
                cpu_seconds=round(spent, 1),
            )


def some(whole: Dataset, count: int) -> Dataset:
    """Return inputs drawn at random, the same for every method."""
    rows = np.sort(np.random.default_rng(0).permutation(len(whole))[:count])
    return whole.part(rows)


def draw(rows: list[Row], path: Path) -> None:
    """Draw accuracy against bound, one panel a network."""
    networks = list(dict.fromkeys(row.network for row in rows))
    looks = {"ours": (ACCENT, "-", "o"), "pgd": (INK, "-", "s"), "lwc": (INK, (0, (4, 2)), "^"),
             "fgsm": (MUTED, (0, (1, 1.5)), "v"), "random": (MUTED, "-", "x")}  # fmt: skip
    with house_style():
        figure = new_figure(2, 2.2)
        panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
        for axes, network in zip(panels, networks, strict=True):
            for method, (colour, dashes, marker) in looks.items():
                mine = [row for row in rows if (row.network, row.method) == (network, method)]
                bounds = sorted({row.bound for row in mine})
                mean = [100 * np.mean([row.worst for row in mine if row.bound == b]) for b in bounds]
                axes.plot(bounds, mean, color=colour, linestyle=dashes, marker=marker, markersize=3, label=method)
            axes.set_title(network, fontsize=SMALL)
            axes.set_xlabel("bound")
            axes.set_ylim(0, 100)
            axes.set_xlim(left=0)
            axes.locator_params(axis="x", nbins=3)
        panels[0].set_ylabel("worst top-1 accuracy found (%)")
        panels[-1].legend(frameon=False, fontsize=SMALL)
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(Path(folder)):
            for row in measure(case, 0.25 if arguments.quick else 1.0):
                rows.append(row)
                write_table(rows, arguments.out / "worst_case.csv")
                print(
                    f"{row.network:26s} {row.bound:5.3f} {row.method:7s} search "
                    f"{100 * row.worst_search:5.1f} %  all {100 * row.worst:6.2f} %  {row.passes:5.1f} passes  "
                    f"{row.cpu_seconds:5.1f} s"
                )
    draw(rows, arguments.out / "worst_case.svg")


if __name__ == "__main__":
    main()
