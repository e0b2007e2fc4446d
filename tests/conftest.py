"""What several rooms' tests need: the demo's network, a part of its data, and the files beside the repository."""

from pathlib import Path

import numpy as np
import pytest

from kppstat import data
from kppstat.data import Dataset
from kppstat.demo import DATA, MODEL
from kppstat.onnx_io import Model, load

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def few_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 300 test images of the demo, as a file."""
    with np.load(DATA) as demo:
        path = tmp_path_factory.mktemp("data") / "few.npz"
        np.savez(path, x=demo["x"][:300], y=demo["y"][:300])
    return path


@pytest.fixture(scope="session")
def lenet() -> Model:
    """The demo's network."""
    return load(MODEL)


@pytest.fixture(scope="session")
def few(lenet: Model, few_inputs: Path) -> Dataset:
    """The same images with their labels, loaded."""
    return data.load(str(few_inputs), lenet)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data beside the repository."""
    if not (SHARED / "models").is_dir():
        pytest.skip("the folder of real models is not beside the repository")
    return SHARED
