"""Output MSE without sampling against Monte Carlo, in MemSE's device: how right, how long, how much faster.

Device of MemSE (arXiv 2205.01707): pairs of conductances, N levels below Gmax rounded down (128 in its figures, none
in its timings, which is `levels` 0 here), Gaussian programming noise of the same size on both devices of a pair, given
here as a fraction of Gmax. Its authors' timings of one network on one input on a GPU (pickled in sebastienwood/MemSE,
experiments/paper/results) are 26 to 77 times faster than Monte Carlo to an interval of 5 % and 175 to 470 times to one
of 2 %; there its MSE is within 4 % of the sampled one for sigma up to 0.007, in the unit of its weights, and 9 to 28 %
too low from 0.01 on. MemSE v1 takes 1.4 s for an image of a LeNet on a CPU. It takes no residual network, and maxima
by a rule of thumb only.

Here: 64 inputs of each network, all logits, CPU time of one thread. The Monte Carlo beside it runs in onnxruntime, its
instances as cheap as `kppstat estimate` makes them; how many an interval takes follows from how much the MSE varies
from instance to instance. Once for a network and a sigma a pass over 128 pilot instances of 32 inputs measures
correlations inside the network; that time is counted in `speedup` and not in `ms_per_input`, nor in `speedup_after`.

    python -m benchmarks.mse --truths FOLDER       # networks are trained there if need be; writes results/mse.csv
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from benchmarks.prediction import HERE, REAL, Case, first, model_of
from benchmarks.table import write_table
from kppstat.data import Dataset
from kppstat.data import load as load_data
from kppstat.demo import DATA, NOISE_TRAINED
from kppstat.engine import Evaluator
from kppstat.noise import Encoded, Gaussian, Pair, Steps, Variation
from kppstat.onnx_io import Model, load
from kppstat.performance import Top1
from kppstat.prediction.head import split
from kppstat.prediction.logits import logits
from kppstat.prediction.mse import mse
from kppstat.prediction.pilot import instances
from kppstat.propagate import calibrate, forward

INPUTS = 64
CASES = (
    ("lenet", ((0.01, 128), (0.01, 0), (0.04, 128), (0.04, 0))),
    ("lenet_noise_trained", ((0.02, 128), (0.07, 0))),
    ("resnet8", ((0.01, 128), (0.01, 0))),
    ("mobilenet", ((0.01, 128), (0.01, 0))),
    ("transformer", ((0.02, 128), (0.02, 0))),
)
WIDTH, CERTAIN = 0.02, 0.98  # of MemSE's stricter timing: an interval of 2 % at a confidence of 98 %


def device(sigma: float, levels: int) -> Variation:
    """Return MemSE's device, with programming noise of this fraction of Gmax and so many levels, 0 for no steps."""
    steps = (Steps(levels, "floor"), Pair()) if levels else (Pair(),)
    return Variation(Encoded(steps, Gaussian(sigma)))


def predicted(model: Model, data: Dataset, variation: Variation) -> tuple[float, float, float]:
    """Return the output MSE, and the CPU seconds of calibration and of the passes."""
    head, _ = split(model.graph)
    moments = {w.name: variation.of(w.name).moments(model.graph.constants[w.name]) for w in model.weights}
    inputs = data.batch(np.arange(INPUTS))
    begun = time.process_time()
    few = data.batch(np.arange(0, INPUTS, 2))
    calibration = calibrate(head, few, moments, instances(model, variation, 0), whole=data.whole)
    between = time.process_time()
    name = head.outputs[0].name
    intended = forward(head, inputs)[name].reshape(INPUTS, -1)
    columns = np.broadcast_to(np.arange(intended.shape[1]), intended.shape).copy()
    law = logits(head, inputs, moments, calibration, columns=columns, whole=data.whole)
    found = mse(law, intended)
    return found, between - begun, time.process_time() - between


def sampled(model: Model, data: Dataset, variation: Variation, count: int) -> tuple[np.ndarray, float]:
    """Return the MSE of each instance, and the CPU seconds of one."""
    evaluator = Evaluator(model, variation, data, Top1(), seed=777)

    def answers(index: int | None) -> np.ndarray:
        return evaluator.outputs(index).reshape(INPUTS, -1).astype(np.float64)

    intended = answers(None)
    begun = time.process_time()
    found = np.array([((answers(i) - intended) ** 2).mean() for i in range(count)])
    return found, (time.process_time() - begun) / count


def compare(network: str, sigma: float, levels: int, model: Model, data: Dataset, count: int) -> dict[str, object]:
    """Set the two beside each other."""
    variation = device(sigma, levels)
    predicted(model, data, variation)  # what is compiled or cached at the first time is no cost of a prediction
    ours, once, passes = predicted(model, data, variation)
    each, one = sampled(model, data, variation, count)
    mean, spread = float(each.mean()), float(each.std(ddof=1) / each.mean())
    needed = (float(ndtri((1 + CERTAIN) / 2)) * spread / WIDTH) ** 2
    return {
        "network": network,
        "sigma_over_gmax": sigma,
        "levels": levels,
        "instances": count,
        "mse": float(f"{mean:.4g}"),
        "ratio": round(ours / mean, 3),
        "sampling_error": round(spread / count**0.5, 3),
        "ms_per_input": round(1000 * passes / INPUTS, 2),
        "calibration_s": round(once, 2),
        "monte_carlo_instances": round(needed),
        "monte_carlo_s": round(needed * one, 1),
        "speedup": round(needed * one / (once + passes), 1),
        "speedup_after": round(needed * one / passes, 1),
    }


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--truths", type=Path, required=True, help="folder that keeps trained networks")
    parser.add_argument("--real", type=Path, default=REAL, help="folder of real models")
    parser.add_argument("--instances", type=int, default=1500)
    options = parser.parse_args()
    rows = []
    for network, settings in CASES:
        path = model_of(Case(network, 0.0, INPUTS, 0), options.truths, options.real)
        if path is None:
            continue
        model = load(path)
        data = first(load_data(DATA if path == NOISE_TRAINED else None, model), INPUTS)
        for sigma, levels in settings:
            rows.append(compare(network, sigma, levels, model, data, options.instances))
            print(rows[-1], flush=True)
            write_table(rows, HERE / "results" / "mse.csv")


if __name__ == "__main__":
    main()
