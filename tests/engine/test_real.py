"""Real models made elsewhere: their clean accuracy, and bits that do not depend on how they are run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kppstat.data import load as load_data
from kppstat.engine import Engine, Evaluator, Task
from kppstat.noise import Gaussian, Variation
from kppstat.onnx_io import load
from kppstat.performance import performance_named

# Clean accuracy as stated with the files; two run within seconds, the others are large or slow.
CLEAN = {"mnist_cntk_zoo": 0.9891, "mnist_lenet5_clntrained": 0.9889}
SLOW = {
    "magika_v1": 0.9864,
    "cifar10_lenet_mrfi": 0.6226,
    "cifar10_resnet8_mlperftiny": 0.8224,
    "textline_flip_ppocr_cls": 0.9805,
    "crepe_tiny_pitch": 0.8627,
    "imagenet_efficientnet_lite0": 0.90,
}


@pytest.mark.parametrize(
    ("name", "clean"), [*CLEAN.items(), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW.items())]
)
def test_real_models(shared: Path, tmp_path: Path, name: str, clean: float) -> None:
    subprocess.run([sys.executable, shared / "data/prepare.py", tmp_path, name], check=True, capture_output=True)
    model = load(tmp_path / f"{name}.onnx")
    evaluator = Evaluator(model, Variation(Gaussian(0.01)), load_data(None, model), performance_named("top-1"), seed=1)
    rows = np.random.default_rng(0).integers(0, len(evaluator.dataset), 20)
    before = evaluator.outputs(7, rows[:1])
    with Engine(evaluator, workers=2) as engine:
        assert round(float(engine.clean().mean()), 4) == clean
        whole, part = engine.map([Task(7), Task(7, rows)])
    assert evaluator._ready_template().optimised
    np.testing.assert_array_equal(part.scores, whole.scores[rows])
    if not evaluator.feeding.padded:
        np.testing.assert_array_equal(evaluator.outputs(7, rows[:1]), before)
