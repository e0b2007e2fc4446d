"""Compare device laws with aihwkit 1.1.0 and aihwkit-lightning 2.1.0: mean and standard deviation, level by level.

PCM and ReRAM are aihwkit's; lightning has Gaussian deviations, of quantised weights too. Both need an environment of
their own, that of `engine.py`:

    python -m venv build/peers
    build/peers/bin/pip install -c constraints.txt torch aihwkit==1.1.0 aihwkit-lightning==2.1.0
    python -m benchmarks.device_laws --peer-python build/peers/bin/python

Without --peer-python the environment is made under build/ first. Prints a table; --json writes the numbers. Exits 1
where a difference is beyond six standard errors of the sampling.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.engine import environment

ROOT = Path(__file__).resolve().parents[1]
# None is halfway between two levels of a quantised weight: there rounding hangs on the last bit of single precision.
LEVELS = np.array([-1.0, -0.75, -0.45, -0.2, -0.05, 0.0, 0.1, 0.35, 0.6, 0.9, 1.0])
HOUR, DAY, MONTH = 3600.0, 86400.0, 30 * 86400.0

# name: (constructor in aihwkit.inference.noise, its arguments, seconds since programming or None for just programmed)
CASES = {
    "pcm, programmed": ("pcm.PCMLikeNoiseModel", {}, None),
    "pcm, 1 hour": ("pcm.PCMLikeNoiseModel", {}, HOUR),
    "pcm, 1 day": ("pcm.PCMLikeNoiseModel", {}, DAY),
    "pcm, 1 month": ("pcm.PCMLikeNoiseModel", {}, MONTH),
    "hermes 1, programmed": ("hermes.HermesNoiseModel", {"num_devices": 1}, None),
    "hermes 1, 1 day": ("hermes.HermesNoiseModel", {"num_devices": 1}, DAY),
    "hermes 2, programmed": ("hermes.HermesNoiseModel", {"num_devices": 2}, None),
    "hermes 2, 1 day": ("hermes.HermesNoiseModel", {"num_devices": 2}, DAY),
    # Its coefficients are for g_max = 40 uS; at its default of 25 they are not rescaled.
    "reram Wan, 1 s": ("reram.ReRamWan2022NoiseModel", {"g_max": 40.0}, 1.0),
    "reram Wan, 1 day": ("reram.ReRamWan2022NoiseModel", {"g_max": 40.0}, DAY),
    "reram Wan, 2 days": ("reram.ReRamWan2022NoiseModel", {"g_max": 40.0}, 2 * DAY),
    "reram CMO 2 %, programmed": ("reram.ReRamCMONoiseModel", {"acceptance_range": 2}, None),
    "reram CMO 0.2 %, programmed": ("reram.ReRamCMONoiseModel", {"acceptance_range": 0.2}, None),
    "reram CMO 2 %, 1 hour": ("reram.ReRamCMONoiseModel", {"acceptance_range": 2}, HOUR),
    "reram CMO 2 %, 1 day": ("reram.ReRamCMONoiseModel", {"acceptance_range": 2}, DAY),
    "state independent, programmed": ("custom.StateIndependentNoiseModel", {}, None),
    "state independent, 1 day": ("custom.StateIndependentNoiseModel", {}, DAY),
}

# name: (standard deviation, bits of the magnitude or None for weights that are not quantised)
LIGHTNING = {
    "lightning, AddNormal": (0.1, None),
    "lightning, 2 bits, AddNormal": (0.1, 2),
    "lightning, 7 bits, AddNormal": (0.03, 7),
}


def ours(name):
    """The same law as an expression of kppstat."""
    from kppstat.noise import (
        Asymmetric,
        Chain,
        CmoRead,
        CmoRelaxation,
        Conductance,
        Drift,
        Encoded,
        Gaussian,
        Pair,
        PcmRetention,
        Programming,
        Quantise,
    )

    if name in LIGHTNING:
        sigma, bits = LIGHTNING[name]
        return Encoded((Quantise(bits),), Gaussian(sigma)) if bits else Gaussian(sigma)
    time = CASES[name][2]
    if name.startswith("reram Wan"):
        suffix = {1.0: "1s", DAY: "1d", 2 * DAY: "2d"}[time]
        return Encoded((Pair(),), Programming(f"reram-wan-2022-{suffix}"))
    if name.startswith("reram CMO"):
        laws = (Programming("reram-cmo-2" if "CMO 2 %" in name else "reram-cmo-0.2"),)
        laws += (CmoRelaxation(time), CmoRead(time)) if time else ()
        return Encoded((Asymmetric(),), Chain(laws))
    if name.startswith("state independent"):
        # 0.2 uS of 25, and read noise of 1 uS at full conductance.
        laws = (Conductance(0.2 / 25),)
        laws += (Drift(time, nu=0.1, nu_sd=0.05, t0=20.0, read=1 / 25),) if time else ()
        return Encoded((Pair(),), Chain(laws))
    device = "pcm-nandakumar-2019" if name.startswith("pcm") else f"hermes-{name[7]}"
    laws = (Programming(device),) + ((PcmRetention(time, device),) if time else ())
    return Encoded((Pair(),), Chain(laws))


def programmed(name, w):
    """Weights programmed by aihwkit."""
    from importlib import import_module

    path, arguments, time = CASES[name]
    module, cls = path.split(".")
    model = getattr(import_module(f"aihwkit.inference.noise.{module}"), cls)(**arguments)
    noisy = model.apply_programming_noise(w)[0] if time is None else model.apply_noise(w, time)
    return noisy.reshape(w.shape)


def forward(name, w):
    """Weights as a layer of lightning applies them: it answers each unit vector, in training mode, with a column."""
    import torch
    from aihwkit_lightning.nn import AnalogLinear
    from aihwkit_lightning.simulator.configs import (
        TorchInferenceRPUConfig,
        WeightNoiseInjectionType,
        WeightQuantizationType,
    )

    config = TorchInferenceRPUConfig()
    config.modifier.noise_type = WeightNoiseInjectionType.ADD_NORMAL
    config.modifier.std_dev, bits = LIGHTNING[name]
    if bits:
        config.modifier.quantization_type = WeightQuantizationType.DISCRETIZE
        config.modifier.res = 2 * (2**bits - 1)
    layer = AnalogLinear(len(w), w.shape[1], bias=False, rpu_config=config)
    with torch.no_grad():
        layer.weight.copy_(w.T)
        return layer.train()(torch.eye(len(w)))


def peer(draws, out):
    """Run in the peers' environment: moments of weights by their own code."""
    import torch

    torch.manual_seed(2026)
    w = torch.tensor(np.repeat(LEVELS[:, None], draws, axis=1), dtype=torch.float32)
    found = {}
    for name in (*CASES, *LIGHTNING):
        noisy = (forward if name in LIGHTNING else programmed)(name, w).double()
        deviation = noisy - noisy.mean(1, keepdim=True)
        found[name] = {
            "mean": noisy.mean(1).tolist(),
            "variance": deviation.square().mean(1).tolist(),
            "fourth": deviation.pow(4).mean(1).tolist(),
        }
    Path(out).write_text(json.dumps(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="Python of an environment with both")
    parser.add_argument("--draws", type=int, default=100_000, help="samples of each level by the peers")
    parser.add_argument("--json", help="write the numbers here")
    parser.add_argument("--peer", metavar="OUT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer(options.draws, options.peer)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "peer.json"
        python = options.peer_python or environment()
        command = [python, "-m", "benchmarks.device_laws", "--peer", out, "--draws", str(options.draws)]
        subprocess.run(command, check=True, cwd=ROOT)
        found = json.loads(out.read_text())
    rows, worst = [], 0.0
    print(f"{'law':32} {'mean: worst z':>14} {'sd: worst z':>12} {'largest sd difference':>22}")
    for name in (*CASES, *LIGHTNING):
        theirs = {key: np.array(value) for key, value in found[name].items()}
        mean, variance = ours(name).moments(LEVELS)
        # float32 arithmetic of the peer: 1e-6 of full scale.
        mean_z = np.abs(mean - theirs["mean"]) / (np.sqrt(theirs["variance"] / options.draws) + 1e-6)
        error = np.sqrt(np.maximum(theirs["fourth"] - theirs["variance"] ** 2, 0) / options.draws) + 1e-12
        sd_z = np.abs(variance - theirs["variance"]) / error
        difference = np.abs(np.sqrt(variance / theirs["variance"]) - 1).max()
        rows.append({"law": name, "mean_z": mean_z.max(), "sd_z": sd_z.max(), "sd_difference": difference})
        worst = max(worst, mean_z.max(), sd_z.max())
        print(f"{name:32} {mean_z.max():14.2f} {sd_z.max():12.2f} {100 * difference:20.2f} %")
    if options.json:
        Path(options.json).write_text(json.dumps({"draws": options.draws, "levels": LEVELS.tolist(), "rows": rows}))
    return int(worst > 6)


if __name__ == "__main__":
    sys.exit(main())
