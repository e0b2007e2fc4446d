"""The demo's network with its first 400 inputs."""

import numpy as np
import pytest

from kppstat import data
from kppstat.data import Dataset
from kppstat.demo import DATA, MODEL
from kppstat.onnx_io import Model, load


@pytest.fixture(scope="session")
def lenet() -> Model:
    return load(MODEL)


@pytest.fixture(scope="session")
def few(lenet: Model) -> Dataset:
    with np.load(DATA) as demo:
        return data.from_arrays({"x": demo["x"][:400]}, demo["y"][:400], lenet)
