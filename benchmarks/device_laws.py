"""Compare PCM and ReRAM laws with aihwkit 1.1.0: mean and standard deviation of programmed weights, level by level.

aihwkit needs an environment of its own:

    python -m venv build/aihwkit
    build/aihwkit/bin/pip install -c constraints.txt torch aihwkit==1.1.0
    python -m benchmarks.device_laws --peer-python build/aihwkit/bin/python

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

ROOT = Path(__file__).resolve().parents[1]
LEVELS = np.array([-1.0, -0.75, -0.5, -0.2, -0.05, 0.0, 0.1, 0.35, 0.6, 0.9, 1.0])
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
        Pair,
        PcmRetention,
        Programming,
    )

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


def peer(draws, out):
    """Run in aihwkit's environment: moments of programmed weights by its own code."""
    from importlib import import_module

    import torch

    torch.manual_seed(2026)
    w = torch.tensor(np.repeat(LEVELS[:, None], draws, axis=1), dtype=torch.float32)
    found = {}
    for name, (path, arguments, time) in CASES.items():
        module, cls = path.split(".")
        model = getattr(import_module(f"aihwkit.inference.noise.{module}"), cls)(**arguments)
        noisy = model.apply_programming_noise(w)[0] if time is None else model.apply_noise(w, time)
        noisy = noisy.reshape(w.shape).double()
        deviation = noisy - noisy.mean(1, keepdim=True)
        found[name] = {
            "mean": noisy.mean(1).tolist(),
            "variance": deviation.square().mean(1).tolist(),
            "fourth": deviation.pow(4).mean(1).tolist(),
        }
    Path(out).write_text(json.dumps(found))


def environment():
    """Make aihwkit's environment under build/ and return its Python."""
    folder = ROOT / "build" / "aihwkit"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        command = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", "torch", "aihwkit==1.1.0"]
        subprocess.run(command, check=True)
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="Python of an environment with aihwkit 1.1.0")
    parser.add_argument("--draws", type=int, default=100_000, help="samples of each level by aihwkit")
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
    for name in CASES:
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
