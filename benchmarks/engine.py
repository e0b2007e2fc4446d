"""Seconds to evaluate one instance on 10,000 images: kppstat against a plain torch loop, aihwkit-lightning and aihwkit.

All run the LeNet and the Fashion-MNIST test images that ship with kppstat, on one thread, in turns within one run. An
evaluation is everything that one instance takes: drawing the deviations, programming the weights, and the predictions
on all images. The peers need an environment of their own:

    python -m venv build/peers
    build/peers/bin/pip install -c constraints.txt torch aihwkit==1.1.0 aihwkit-lightning==2.1.0
    python benchmarks/engine.py --peer-python build/peers/bin/python

Without --peer-python the environment is made under build/ first. Each peer runs at the batch size that is best for it.
Times are seconds of the processor, which other work on the machine disturbs less than those of the clock; both are
written. Prints tables and writes benchmarks/results/engine.json and engine.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

# numba imports a package named coverage, which is not the script of that name in this folder.
sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).resolve().parent]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
OURS = "kppstat"
TARGETS = {"torch": 0.25, "aihwkit-lightning": 0.1, "aihwkit": 0.1}
BATCHES = (50, 100, 200, 500, 1000)  # tried for each peer
ROWS = (32, 64, 128, 512, 10_000)
LAYERS = (0, 3, 7, 9, 11)  # of the Sequential below: the ones with weights


# ---- in the environment of the peers -------------------------------------------------------------------------------


def peer(arrays: str, sigma: float) -> None:
    """Answer each line ``name batch`` with seconds of processor and clock and the accuracy of one instance, as JSON."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    held = np.load(arrays)
    x = torch.from_numpy(held["x"]).reshape(-1, 1, 28, 28)
    y = torch.from_numpy(held["y"])

    def network():
        layers = nn.Sequential(
            nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
        for i in LAYERS:
            layers[i].weight.data = torch.from_numpy(held[f"w{i}"])
            layers[i].bias.data = torch.from_numpy(held[f"b{i}"])
        return layers.eval()

    def right(net, batch):
        """Return how many images are classified rightly."""
        return sum(int((net(x[i : i + batch]).argmax(1) == y[i : i + batch]).sum()) for i in range(0, len(x), batch))

    def plain():
        net, intended = network(), {}
        for name, w in net.named_parameters():
            if w.ndim > 1:
                intended[name] = w.detach().clone()

        def run(batch):
            for name, w in net.named_parameters():
                if name in intended:
                    w.copy_(intended[name] + sigma * intended[name].abs().max() * torch.randn_like(w))
            return right(net, batch)

        return run

    def lightning():
        from aihwkit_lightning.nn.conversion import convert_to_analog
        from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig
        from aihwkit_lightning.simulator.parameters import WeightNoiseInjectionType

        config = TorchInferenceRPUConfig()
        config.modifier.noise_type = WeightNoiseInjectionType.ADD_NORMAL
        config.modifier.std_dev = sigma
        net = convert_to_analog(network(), config).train()
        instance = iter(range(10**9))

        def run(batch):
            # Every forward pass draws anew, so all batches of an instance are seeded alike.
            seed, total = next(instance), 0
            for i in range(0, len(x), batch):
                torch.manual_seed(seed)
                total += int((net(x[i : i + batch]).argmax(1) == y[i : i + batch]).sum())
            return total

        return run

    def aihwkit():
        from aihwkit.inference.noise.custom import StateIndependentNoiseModel
        from aihwkit.nn.conversion import convert_to_analog
        from aihwkit.simulator.configs import TorchInferenceRPUConfig

        config = TorchInferenceRPUConfig()
        config.forward.is_perfect = True
        config.mapping.weight_scaling_omega = 1.0
        config.noise_model = StateIndependentNoiseModel(g_max=1.0, prog_coeff=[sigma, 0.0, 0.0])
        net = convert_to_analog(network(), config).eval()

        def run(batch):
            net.program_analog_weights()
            return right(net, batch)

        return run

    runs = {}
    makers = {"torch": plain, "aihwkit-lightning": lightning, "aihwkit": aihwkit}
    with torch.no_grad():
        for line in sys.stdin:
            name, batch = line.split()
            if name not in runs:
                runs[name] = makers[name]()
            processor, clock = time.process_time(), time.perf_counter()
            correct = runs[name](int(batch))
            seconds = time.process_time() - processor, time.perf_counter() - clock
            print("result", json.dumps([*seconds, correct / len(x)]), flush=True)


# ---- in our environment --------------------------------------------------------------------------------------------


class Peers:
    """The process with the peers."""

    def __init__(self, python, arrays, sigma):
        command = [python, "-W", "ignore", __file__, "--peer", arrays, "--sigma", str(sigma)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, name, batch):
        self.process.stdin.write(f"{name} {batch}\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("result "):
                return json.loads(line.removeprefix("result "))
        raise SystemExit(f"the process with the peers ended while {name} ran")


class Kppstat:
    """The same, evaluated by kppstat."""

    def __init__(self, model, data, sigma):
        from kppstat.data import load as load_data
        from kppstat.engine import Engine, Evaluator
        from kppstat.noise import Gaussian, Variation
        from kppstat.onnx_io import load
        from kppstat.performance import performance_named

        self.model = load(model)
        self.data = load_data(data, self.model)
        self.evaluator = Evaluator(self.model, Variation(Gaussian(sigma)), self.data, performance_named("top-1"))
        self.engine = Engine(self.evaluator, workers=1)
        self.clean = float(self.engine.clean().mean())
        self.index = 0

    def run(self, rows=None):
        from kppstat.engine import Task

        self.index += 1
        task = Task(self.index, rows)
        processor, clock = time.process_time(), time.perf_counter()
        scores = self.evaluator(task).scores
        return [time.process_time() - processor, time.perf_counter() - clock, float(scores.mean())]

    def weights(self):
        """Return the arrays that the peers' network takes."""
        constants = self.model.graph.constants
        names = [w.name for w in self.model.weights]
        biases = [next(c for c in constants if c == n.replace("weight", "bias")) for n in names]
        arrays = {}
        for i, weight, bias in zip(LAYERS, names, biases, strict=True):
            arrays |= {f"w{i}": constants[weight], f"b{i}": constants[bias]}
        return arrays


def compare(options):
    """Return the times of all contestants, in turns."""
    from kppstat import demo

    ours = Kppstat(demo.MODEL, demo.DATA, options.sigma)
    with tempfile.TemporaryDirectory() as folder:
        arrays = str(Path(folder) / "arrays.npz")
        # The graph scales pixels itself; the peers get them scaled, which is to their advantage.
        x = ours.data.inputs["pixels"] * np.float32(1 / 255)
        np.savez(arrays, x=x, y=ours.data.targets.astype(np.int64), **ours.weights())
        peers = Peers(options.peer_python or environment(), arrays, options.sigma)
        clean = Peers(peers.process.args[0], arrays, 0.0).run("torch", 500)[2]
        if abs(clean - ours.clean) > 2e-4:
            raise SystemExit(f"the networks differ: clean accuracy {clean} in torch, {ours.clean} in onnxruntime")
        trials = {name: {batch: peers.run(name, batch)[0] for batch in BATCHES} for name in TARGETS}
        batches = {name: min(times, key=times.get) for name, times in trials.items()}
        ours.run()
        times = {OURS: [], **{name: [] for name in TARGETS}}
        for _ in range(options.rounds):
            times[OURS].append(ours.run())
            for name, batch in batches.items():
                times[name].append(peers.run(name, batch))
    batches[OURS] = ours.evaluator.feeding.batch
    own = statistics.median(t[0] for t in times[OURS])
    table = []
    for name, runs in times.items():
        processor, clock = (statistics.median(t[i] for t in runs) for i in (0, 1))
        table.append(
            {
                "contestant": name,
                "batch": batches[name],
                "processor_seconds": round(processor, 4),
                "clock_seconds": round(clock, 4),
                "ratio": round(own / processor, 4),
                "target": TARGETS.get(name, ""),
                "mean_accuracy": round(statistics.mean(t[2] for t in runs), 4),
                "rounds": len(runs),
            }
        )
    return table


def tasks(options):
    """Return microseconds of one task on random inputs, by number of inputs."""
    from kppstat import demo

    table = []
    for model, data in [(demo.MODEL, demo.DATA), *((Path(m), None) for m in options.model)]:
        ours = Kppstat(model, data, options.sigma)
        rng = np.random.default_rng(0)
        row = {"model": model.stem, "weights": sum(w.size for w in ours.model.weights)}
        row["setup"] = round(1e6 * min(_processor(lambda: ours.evaluator.session(1)) for _ in range(20)))  # noqa: B023
        for count in ROWS:
            repeats = 30 if count <= 128 else 3
            rows = [rng.integers(0, len(ours.data), count) for _ in range(repeats)]
            row[str(count)] = round(1e6 * statistics.median(ours.run(r)[0] for r in rows))
        table.append(row)
    return table


def _processor(action):
    begun = time.process_time()
    action()
    return time.process_time() - begun


def environment():
    """Make the peers' environment under build/ and return its Python."""
    folder = ROOT / "build" / "peers"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        wanted = ["torch", "aihwkit==1.1.0", "aihwkit-lightning==2.1.0"]
        subprocess.run([python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", *wanted], check=True)
    return str(python)


def show(table):
    columns = list(table[0])
    widths = [max(len(str(row[c])) for row in [dict(zip(columns, columns, strict=True)), *table]) for c in columns]
    for row in [dict(zip(columns, columns, strict=True)), *table]:
        print("  ".join(str(row[c]).rjust(w) for c, w in zip(columns, widths, strict=True)))
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="Python of an environment with the peers")
    parser.add_argument("--sigma", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--model", nargs="*", default=[], help="further models, with their .npz, for the table of tasks"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--peer", metavar="ARRAYS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer(options.peer, options.sigma)
        return
    print("One instance on 10,000 images; ratio is kppstat's time to the contestant's.")
    comparison = compare(options)
    show(comparison)
    print("Microseconds of the processor for one instance on so many random inputs; setup is part of each.")
    per_task = tasks(options)
    show(per_task)
    options.out.mkdir(parents=True, exist_ok=True)
    packages = ("kppstat", "onnxruntime", "numpy", "numba")
    facts = {"sigma": options.sigma, "machine": platform.processor() or platform.machine(), "threads": 1}
    facts["versions"] = {p: version(p) for p in packages} | {"python": platform.python_version()}
    record = {**facts, "comparison": comparison, "tasks_microseconds": per_task}
    (options.out / "engine.json").write_text(json.dumps(record, indent=1) + "\n")
    with (options.out / "engine.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(comparison[0]))
        writer.writeheader()
        writer.writerows(comparison)


if __name__ == "__main__":
    main()
