"""Predicted against true distributions of accuracy over instances, on seven networks.

The truth is plain Monte Carlo in onnxruntime, kept in a folder because it takes two or three hours, and continued there
after an interruption; the instances differ from those that a prediction looks at. Cost is CPU time of the prediction
over CPU time of one evaluation of the same inputs, taken before and after it. ResNet-8 needs the folder of real models
beside the repository.

    python -m benchmarks.prediction --truths FOLDER            # writes results/prediction.csv and prediction.svg
    python -m benchmarks.prediction --truths FOLDER --quick    # 200 instances of each, nothing written
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.prediction_networks import NETWORKS, make
from benchmarks.table import write_table
from kppstat.data import Dataset
from kppstat.data import load as load_data
from kppstat.demo import DATA, MODEL, NOISE_TRAINED
from kppstat.engine import Evaluator
from kppstat.noise import Gaussian, Variation
from kppstat.onnx_io import Model, load
from kppstat.performance import Top1
from kppstat.prediction import Prediction, predict
from kppstat.prediction.head import split
from kppstat.prediction.logits import logits
from kppstat.prediction.pilot import instances
from kppstat.propagate import calibrate
from kppstat.style import ACCENT, FILL, INK, SMALL, THIN, house_style, new_figure, save

HERE = Path(__file__).resolve().parent
REAL = HERE.parents[1] / "shared" / "models"
SEED = 777  # of the instances of the truth
OUTPUTS = 500  # instances whose logits are kept
KS = (5.0, 1.0, 0.1)


@dataclass(frozen=True)
class Case:
    """A network under additive Gaussian variation of one sigma, on its first inputs."""

    network: str
    sigma: float
    inputs: int
    instances: int = 10_000  # of the truth

    @property
    def name(self) -> str:
        return f"{self.network}_{self.sigma:g}"


CASES = (
    Case("lenet", 0.03, 1000),
    Case("lenet", 0.06, 10_000),
    Case("lenet", 0.07, 1000),
    Case("lenet_noise_trained", 0.06, 10_000),
    Case("lenet_noise_trained", 0.1, 600),
    Case("resnet8", 0.02, 600, 2000),
    Case("resnet8", 0.035, 600, 2000),
    Case("resnet20", 0.01, 600),
    Case("resnet20", 0.02, 600),
    Case("resnet20", 0.08, 600),
    Case("mobilenet", 0.01, 600),
    Case("mobilenet", 0.02, 600),
    Case("mobilenet", 0.03, 600),
    Case("mobilenet", 0.04, 600),
    Case("conv1d", 0.04, 1000),
    Case("conv1d", 0.08, 1000),
    Case("conv1d", 0.13, 1000),
    Case("transformer", 0.02, 600),
    Case("transformer", 0.05, 600),
    Case("transformer", 0.15, 600),
)
SHOWN = ("lenet_0.03", "lenet_noise_trained_0.1", "resnet8_0.02", "mobilenet_0.02", "conv1d_0.04", "transformer_0.02")


@dataclass(frozen=True)
class Truth:
    """Accuracies of instances, moments of the logits over some of them."""

    accuracies: np.ndarray
    mean: np.ndarray
    var: np.ndarray


def model_of(case: Case, folder: Path, real: Path) -> Path | None:
    """Return the file of the network, trained if need be; None where it is not at hand."""
    if case.network in NETWORKS:
        return make(case.network, folder)
    known = {"lenet": MODEL, "lenet_noise_trained": NOISE_TRAINED, "resnet8": real / "cifar10_resnet8_mlperftiny.onnx"}
    path = Path(known[case.network])
    return path if path.exists() else None


def first(data: Dataset, count: int) -> Dataset:
    """Return the first inputs."""
    kept = {n: a if n in data.whole else a[:count] for n, a in data.inputs.items()}
    assert data.targets is not None
    return dataclasses.replace(data, inputs=kept, targets=data.targets[:count])


def truth_of(case: Case, model: Model, data: Dataset, folder: Path, count: int) -> Truth:
    """Return the truth from the folder, sampled as far as it is not there yet."""
    path = folder / f"{case.name}.npz"
    known = _read(path, case)
    if known is None or len(known.accuracies) < min(count, OUTPUTS):
        known = _begin(case, model, data, min(count, OUTPUTS))
        _write(path, known)
    if len(known.accuracies) < count:
        evaluator = Evaluator(model, Variation(Gaussian(case.sigma)), data, Top1(), seed=SEED)
        for begin in range(len(known.accuracies), count, OUTPUTS):
            more = [_accuracy(evaluator.outputs(i), data) for i in range(begin, min(count, begin + OUTPUTS))]
            known = dataclasses.replace(known, accuracies=np.concatenate([known.accuracies, more]))
            _write(path, known)
    return known


def _accuracy(outputs: np.ndarray, data: Dataset) -> float:
    return float(Top1().scores(outputs, data.targets).mean())


def _read(path: Path, case: Case) -> Truth | None:
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as kept:
        shape = (case.inputs, -1)
        return Truth(kept["acc"], kept["mean"].reshape(shape), kept["var"].reshape(shape))


def _write(path: Path, truth: Truth) -> None:
    new = path.with_suffix(".new.npz")
    np.savez(new, acc=truth.accuracies, mean=truth.mean, var=truth.var)
    new.replace(path)


def _begin(case: Case, model: Model, data: Dataset, count: int) -> Truth:
    """Evaluate the first instances, with their logits."""
    evaluator = Evaluator(model, Variation(Gaussian(case.sigma)), data, Top1(), seed=SEED)
    clean = evaluator.outputs(None).reshape(case.inputs, -1).astype(np.float64)
    apart = square = np.zeros_like(clean)
    accuracies = np.empty(count)
    for i in range(count):
        found = evaluator.outputs(i).reshape(case.inputs, -1)
        accuracies[i] = _accuracy(found, data)
        apart, square = apart + (found - clean), square + (found - clean) ** 2
    return Truth(accuracies, clean + apart / count, (square - apart**2 / count) / (count - 1))


def compare(case: Case, model: Model, data: Dataset, truth: Truth) -> tuple[dict[str, object], Prediction]:
    """Predict, and set the prediction beside the truth; performances in percent."""
    evaluator = Evaluator(model, Variation(Gaussian(case.sigma)), data, Top1(), seed=SEED)
    evaluator.outputs(0)
    before = _seconds(evaluator)
    begun = time.process_time()
    found = predict(model, data, sigma=case.sigma, k=1.0)
    cpu = time.process_time() - begun
    one = (before + _seconds(evaluator)) / 2
    row: dict[str, object] = {"network": case.network, "sigma": case.sigma, "inputs": case.inputs}
    row |= {"instances": len(truth.accuracies), "clean": round(100 * found.clean, 2)}
    pairs = {"mean": (truth.accuracies.mean(), found.mean), "sd": (truth.accuracies.std(ddof=1), found.sd)}
    for k in KS:
        pairs[f"kpp{k:g}"] = (
            float(np.quantile(truth.accuracies, k / 100, method="inverted_cdf")),
            found.percentile(k),
        )
    for name, (true, ours) in pairs.items():
        row |= {f"{name}_true": round(100 * float(true), 2), f"{name}_predicted": round(100 * float(ours), 2)}
    clean = Evaluator(model, Variation(Gaussian(0.0)), data, Top1()).outputs(None).reshape(case.inputs, -1)
    mse = float(((truth.mean - clean) ** 2 + truth.var).mean())
    row["mse_ratio"] = round(found.mse / mse, 3)
    row |= same_inputs(case, model, data, truth, clean)
    row["evaluations"] = round(found.evaluations, 1)
    row["cpu_seconds"], row["cpu_in_evaluations"] = round(cpu, 1), round(cpu / one, 1)
    row["trusted"] = found.trusted
    return row, found


def _seconds(evaluator: Evaluator, count: int = 8) -> float:
    """Return the CPU seconds of one evaluation."""
    begun = time.process_time()
    for i in range(count):
        evaluator.outputs(i)
    return (time.process_time() - begun) / count


def same_inputs(case: Case, model: Model, data: Dataset, truth: Truth, clean: np.ndarray) -> dict[str, object]:
    """Set the law of the logits beside the truth on the same 64 inputs, free of the error of choosing inputs."""
    head, _ = split(model.graph)
    variation = Variation(Gaussian(case.sigma))
    rows = np.linspace(0, case.inputs - 1, 64).astype(int)
    moments = {w.name: variation.of(w.name).moments(model.graph.constants[w.name]) for w in model.weights}
    inner = calibrate(head, data.batch(rows[::2]), moments, instances(model, variation, 0), whole=data.whole)
    columns = np.broadcast_to(np.arange(truth.var.shape[1]), (64, truth.var.shape[1])).copy()
    law = logits(head, data.batch(rows), moments, inner, columns=columns, whole=data.whole)
    ours = ((law.mean - clean[rows]) ** 2 + law.var).mean()
    true = ((truth.mean[rows] - clean[rows]) ** 2 + truth.var[rows]).mean()
    ratio = np.sqrt(law.var).sum() / np.sqrt(truth.var[rows]).sum()
    return {"logit_sd_ratio": round(float(ratio), 3), "mse_ratio_same_inputs": round(float(ours / true), 3)}


def keep(row: dict[str, object]) -> None:
    """Write a row into the table, in the place of an older one of the same case."""
    path = HERE / "results" / "prediction.csv"
    rows = {case.name: {} for case in CASES}
    if path.exists():
        with path.open(newline="") as file:
            rows |= {f"{old['network']}_{float(old['sigma']):g}": old for old in csv.DictReader(file)}
    rows[f"{row['network']}_{row['sigma']:g}"] = row
    write_table([r for r in rows.values() if r], path)


def figure(folder: Path, path: Path) -> None:
    """Draw predicted distributions over histograms of the truth, with lines at KPP(1), of the cases that are there."""
    shown = [n for n in SHOWN if (folder / f"{n}.predicted.npy").exists()]
    with house_style():
        drawing = new_figure(2, 3.4)
        axes = drawing.subplots(2, 3).reshape(-1)
        for axis, name in zip(axes, shown, strict=False):
            true, ours = 100 * np.load(folder / f"{name}.npz")["acc"], 100 * np.load(folder / f"{name}.predicted.npy")
            bins = _bins(np.concatenate([true, ours]), 100 / next(c.inputs for c in CASES if c.name == name))
            axis.hist(true, bins, color=FILL, density=True, label="sampled")
            axis.hist(ours, bins, color=ACCENT, density=True, histtype="step", label="predicted")
            at = [np.quantile(values, 0.01, method="inverted_cdf") for values in (true, ours)]  # as in the table
            axis.axvline(at[0], color=INK, linewidth=THIN)
            axis.axvline(at[1], color=ACCENT, linewidth=THIN, linestyle="--")
            network, sigma = name.rsplit("_", 1)
            axis.set_title(f"{network.replace('_', ' ')}, sigma {sigma}", fontsize=SMALL)
            axis.set_yticks([])
        for axis in axes[3:]:
            axis.set_xlabel("accuracy (%)")
        handles, labels = axes[0].get_legend_handles_labels()
        drawing.legend(handles, labels, fontsize=SMALL, frameon=False, loc="outside upper center", ncols=2)
        save(drawing, str(path))


def _bins(values: np.ndarray, step: float) -> np.ndarray:
    """Return edges of about 24 bins that each hold equally many possible accuracies."""
    low, high = np.quantile(values, 0.001), values.max()
    width = step * max(1, round((high - low) / 24 / step))
    begin = (np.floor(low / step) - 0.5) * step
    return np.arange(begin, high + width, width)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--truths", type=Path, required=True, help="folder that keeps truths and trained networks")
    parser.add_argument("--real", type=Path, default=REAL, help="folder of real models")
    parser.add_argument("--only", default="", help="cases whose name begins so")
    parser.add_argument("--quick", action="store_true", help="200 instances of each case, nothing written")
    parser.add_argument("--cached", action="store_true", help="only truths that are there, as far as they go")
    options = parser.parse_args()
    options.truths.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        known = (options.truths / f"{case.name}.npz").exists()
        if not case.name.startswith(options.only) or (options.cached and not known):
            continue
        path = model_of(case, options.truths, options.real)
        if path is None:
            continue
        model = load(path)
        data = first(load_data(DATA if path == NOISE_TRAINED else None, model), case.inputs)
        wanted = 0 if options.cached else 200 if options.quick else case.instances
        truth = truth_of(case, model, data, options.truths, wanted)
        row, found = compare(case, model, data, truth)
        print(", ".join(f"{n} {v}" for n, v in row.items()), flush=True)
        if not options.quick:
            keep(row)
            np.save(options.truths / f"{case.name}.predicted.npy", found.values)
    if not options.quick:
        figure(options.truths, HERE / "results" / "prediction.svg")


if __name__ == "__main__":
    main()
