"""A small network with every kind of trained tensor, and data that it can learn."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from kppstat.noise import Gaussian, Variation
from kppstat.onnx_io import Model, load
from kppstat.training import Plan, Session
from tests.onnx_io import zoo

NOISE = Variation(Gaussian(0.1))
_FOLDER = TemporaryDirectory()


@cache
def model() -> Model:
    """Conv, BatchNormalization, Relu, MaxPool, Gemm; loaded once, because that takes a process of its own."""
    return load(zoo.save(zoo.cnn(), Path(_FOLDER.name) / "small.onnx"))


def data(n: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Inputs whose class is where their mean is largest."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, n)
    x = rng.standard_normal((n, 2, 6, 6)).astype(np.float32)
    x[np.arange(n), 0, 2 * labels] += 3
    return x, labels


def session(folder: Path, strategy: Any = "gaussian", *, epochs: int = 2, **settings: Any) -> Session:
    """A training on the CPU that takes well under a second."""
    fixed = {"batch": 8, "val_share": 0.25, "instances": 6, "k": 10, "lr": 0.02}
    plan = Plan(epochs=epochs, **{**fixed, **settings.pop("plan", {})})
    given = {"data": data(), "out": folder / "out.onnx", "device": "cpu", **settings}
    return Session(given.pop("model", None) or model(), strategy, plan, given.pop("noise", NOISE), **given)


def run(session: Session) -> dict[str, torch.Tensor]:
    """Train to the end, write the result, and return the tensors that were kept."""
    for _ in session.states():
        pass
    session.finish()
    values, statistics = session.loop.kept
    return {**values, **statistics}


def module() -> nn.Module:
    """The same kind of network as a module."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(0.1), nn.Linear(36, 3),
    )  # fmt: skip
