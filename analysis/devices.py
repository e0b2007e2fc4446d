"""The KPP of networks on devices as they are measured, and what spatial correlation does to it.

    python -m analysis.devices [MODEL.onnx ...] [--instances 100] [--inputs 1000]

Networks: the two LeNets that ship with kppstat (Fashion-MNIST), and any other with its inputs in MODEL.npz beside it.
Every law acts on all weights, on the same instances (common random numbers), with all inputs or as many as asked for;
drift is not compensated. The intervals are exact for each KPP; each row of the table says from how many instances and
inputs. Then correlation, on the LeNet trained without noise:
part of the variance of additive Gaussian variation is shared by a row, a column, a crossbar array of 128 x 128, a
tensor or the whole chip. Writes analysis/results/devices.csv and devices.svg, and goes on from the table when it is
run again.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np

import kppstat
from benchmarks.table import write_table
from kppstat import data as data_room
from kppstat.demo import DATA, MODEL, NOISE_TRAINED
from kppstat.noise import from_dict
from kppstat.onnx_io import load
from kppstat.style import ACCENT, INK, MUTED, SMALL, house_style, new_figure, save

K, SEED, DAY = 5, 11, 86400.0
TABLE = Path(__file__).parent / "results" / "devices.csv"
PLAIN = "LeNet"


def on_pairs(*laws: dict[str, Any], slices: tuple[int, int] | None = None) -> dict[str, Any]:
    """Differential pairs, sliced or not, of devices with these laws one after the other."""
    steps: list[Any] = ["pair"] + ([{"step": "slices", "bits": slices[0], "per_device": slices[1]}] if slices else [])
    return {"model": "encoded", "encoding": steps, "device": list(laws)}


def programmed(device: str) -> dict[str, Any]:
    return {"model": "programming", "device": device}


LAWS: dict[str, dict[str, Any]] = {
    "additive Gaussian, sigma 0.05": {"model": "gaussian", "sigma": 0.05},
    "FeFET2, sigma 0.05": {"model": "four-level", "sigma": 0.05, "device": "FeFET2"},
    "RRAM4, sigma 0.05": {"model": "four-level", "sigma": 0.05, "device": "RRAM4"},
    "FeFET6, sigma 0.05": {"model": "four-level", "sigma": 0.05, "device": "FeFET6"},
    "in proportion, sigma 0.2": {"model": "proportional", "sigma": 0.2},
    "log-normal, sigma 0.2": {"model": "log-normal", "sigma": 0.2},
    "written until within 0.06, sigma 0.3": {"model": "write-verify", "sigma": 0.3, "tolerance": 0.06, "attempts": 50},
    "8 bits in slices of 2, sigma 0.05": on_pairs({"model": "gaussian", "sigma": 0.05}, slices=(8, 2)),
    "8 bits, flips of 0.1 %": {
        "model": "encoded",
        "encoding": ["asymmetric", {"step": "slices", "bits": 8, "per_device": 1}],
        "device": {"model": "flip", "probability": 0.001},
    },
    "pairs, 0.1 % stuck off, 0.05 % on": on_pairs({"model": "stuck-at", "off": 0.001, "on": 0.0005}),
    "PCM (2019), programmed": on_pairs(programmed("pcm-nandakumar-2019")),
    "PCM (2019), after a day": on_pairs(programmed("pcm-nandakumar-2019"), {"model": "pcm-retention", "time": DAY}),
    "RRAM (Milo 2021), programmed": on_pairs(programmed("rram-milo-2021")),
    "ReRAM (Wan 2022), after a day": on_pairs(programmed("reram-wan-2022-1d")),
    "ReRAM (CMO, 2 %), after a day": on_pairs(
        programmed("reram-cmo-2"), {"model": "cmo-relaxation", "time": DAY}, {"model": "cmo-read", "time": DAY}
    ),
}
SCOPES = ("row", "column", "array", "tensor", "chip")
SHARES = (0.1, 0.3, 1.0)
CORRELATED = 0.05  # sigma


def questions(networks: list[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return network, name of the law and its description."""
    asked = [(network, name, law) for network in networks for name, law in LAWS.items()]
    gaussian = {"model": "gaussian", "sigma": CORRELATED}
    for scope in SCOPES:
        for share in SHARES:
            law = {"model": "correlated", "noise": gaussian, scope: share}
            asked.append((PLAIN, f"{scope} {share:g}", law))
    return asked


def judged(path: Path, data: Path, law: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Evaluate the same instances of any law."""
    model = load(path)
    whole = data_room.load(data, model)
    part = whole.part(slice(0, options.inputs))
    # A half-width that is never reached: all laws get the same number of instances.
    result = kppstat.estimate(
        model, noise=from_dict(law), data=part, k=K, method="mc", half_width=1e-9, seed=SEED,
        max_evaluations=options.instances, workers=1,
    )  # fmt: skip
    names = ("kpp", "ci_low", "ci_high", "mean", "sd", "clean")
    return {**{n: round(getattr(result, n), 5) for n in names}, "instances": result.instances, "inputs": len(part)}


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Draw the KPP of each law, one column a network, and below it against the share that is common."""
    networks = list(dict.fromkeys(row["network"] for row in rows))
    with house_style():
        figure = new_figure(2, 5.2)
        grid = figure.add_gridspec(2, len(networks), height_ratios=(2.2, 1))
        first = None
        for i, network in enumerate(networks):
            axes = figure.add_subplot(grid[0, i], sharey=first)
            first = first or axes
            mine = {row["law"]: row for row in rows if row["network"] == network}
            names = [name for name in LAWS if name in mine]
            at = np.arange(len(names))
            kpp, low, high, mean = (
                100 * np.array([float(mine[n][c]) for n in names]) for c in ("kpp", "ci_low", "ci_high", "mean")
            )
            axes.errorbar(kpp, at, xerr=(kpp - low, high - kpp), fmt="o", color=ACCENT, markersize=3, linewidth=0.8,
                          label=f"KPP at k = {K} %")  # fmt: skip
            axes.plot(mean, at, "|", color=INK, markersize=6, label="mean")
            axes.axvline(100 * float(mine[names[0]]["clean"]), color=MUTED, linewidth=0.6)
            axes.set_yticks(at, labels=names)
            axes.tick_params(labelleft=i == 0)
            axes.set_title(network, fontsize=SMALL)
            axes.set_xlabel("top-1 accuracy (%)")
        assert first is not None
        first.invert_yaxis()
        figure.legend(
            *first.get_legend_handles_labels(), frameon=False, fontsize=SMALL, loc="outside upper right", ncols=2
        )
        below = figure.add_subplot(grid[1, :])
        mine = {row["law"]: row for row in rows if row["network"] == PLAIN}
        looks = ((0, (1, 1.5)), (0, (4, 2)), (0, (4, 1, 1, 1)), "-", "-")
        for scope, dashes in zip(SCOPES, looks, strict=True):
            names = ["additive Gaussian, sigma 0.05", *(f"{scope} {share:g}" for share in SHARES)]
            if all(n in mine for n in names):
                line = [100 * float(mine[n]["kpp"]) for n in names]
                colour = {"chip": ACCENT, "tensor": INK}.get(scope, MUTED)
                below.plot([0, *SHARES], line, color=colour, linestyle=dashes, marker="o", markersize=3, label=scope)
        below.set_xlabel(f"share of the variance in common ({PLAIN}, additive Gaussian, sigma {CORRELATED:g})")
        below.set_ylabel(f"KPP at k = {K} % (%)")
        below.legend(frameon=False, fontsize=SMALL, ncols=5)
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--instances", type=int, default=100)
    parser.add_argument("--inputs", type=int, default=1000)
    options = parser.parse_args()
    networks = {PLAIN: (MODEL, DATA), "LeNet trained with noise": (NOISE_TRAINED, DATA)}
    networks |= {path.stem: (path, path.with_suffix(".npz")) for path in options.models}
    rows = list(csv.DictReader(TABLE.open())) if TABLE.exists() else []
    done = {(row["network"], row["law"]) for row in rows}
    for network, name, law in questions(list(networks)):
        if (network, name) in done:
            continue
        found = judged(*networks[network], law, options)
        rows.append({k: str(v) for k, v in {"network": network, "law": name, "k": K, **found, "seed": SEED}.items()})
        write_table(rows, TABLE)
        print(*rows[-1].values(), flush=True)
    draw(rows, TABLE.with_suffix(".svg"))


if __name__ == "__main__":
    main()
