from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import ModelProto

from kppstat.onnx_io import Model, load
from tests.onnx_io.zoo import save


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Model]:
    """Save a model and load it."""

    def load_it(proto: ModelProto, **settings: bool) -> Model:
        return load(save(proto, tmp_path / "model.onnx"), **settings)

    return load_it
