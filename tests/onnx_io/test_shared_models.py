"""Networks that others trained, where they lie beside the repository."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from kppstat.onnx_io import Model, load, save
from kppstat.onnx_io.load import load_here
from tests.onnx_io.running import close, equal, outputs
from tests.onnx_io.test_image import noisy, serialised

FOLDER = Path(__file__).parents[2].parent / "shared" / "models"
MODELS = sorted(FOLDER.rglob("*.onnx"))
WEIGHTS = {
    "cifar10_lenet_mrfi": 5,
    "cifar10_resnet8_mlperftiny": 10,
    "crepe_tiny_pitch": 7,
    "imagenet_efficientnet_lite0": 50,
    "magika_v1": 4,
    "mnist_cntk_zoo": 3,
    "mnist_lenet5_clntrained": 4,
    "textline_flip_ppocr_cls": 54,
    "basic_pitch_nmp": 9,
    "mtcnn_onet": 8,
    "oww_hey_mycroft_lstm": 5,
    "plcmos_v2": 20,
    "silero_vad": 16,
    "swift_f0": 27,
}
FED_SINGLY = ("plcmos_v2", "silero_vad", "swift_f0")
SHAPES = {
    "textline_flip_ppocr_cls": {"x": (2, 3, 48, 192)},
    "plcmos_v2": {"degraded_audio": (1, 1, 300, 257), "rater_embed": (1, 64)},
    "swift_f0": {"audio": (1, 16000)},
    "silero_vad": {"input": (1, 512), "state": (2, 1, 128)},
}

pytestmark = pytest.mark.skipif(not MODELS, reason="needs the models of ../shared/models")


def feeds(path: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {}
    graph = onnx.load(path).graph
    stored_names = {t.name for t in graph.initializer}
    for value in graph.input:
        stored = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if value.name in stored_names:
            continue
        shape = SHAPES.get(path.stem, {}).get(value.name, [n or 2 for n in stored])
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        draws = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 200, shape)
        made[value.name] = np.asarray(draws, dtype)
    settings = {"sr": np.array(16000), "fmin": np.array(50, np.float32), "fmax": np.array(2000, np.float32)}
    return made | {k: v for k, v in settings.items() if k in made}


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_import_patch_and_save(path, tmp_path):
    model = load(path)
    assert len(model.weights) == WEIGHTS[path.stem]
    assert model.batch == (1 if path.stem in FED_SINGLY else None)
    nothing_is_passed_over(model)
    x = feeds(path)
    image = model.image()
    assert close(outputs(image.patched({}), x), outputs(path, x), 1e-3)
    weights = noisy(model)
    assert equal(outputs(image.patched(weights), x), outputs(serialised(model, weights), x))
    save(model, weights, tmp_path / "new.onnx")
    again = load_here(tmp_path / "new.onnx", fold_batch_norm=False).values()
    for name, values in weights.items():
        np.testing.assert_array_equal(again[name], values)


def nothing_is_passed_over(model: Model) -> None:
    """Every tensor of real numbers in the file is a weight, is exact for a reason, or went into a folded one."""
    listed = {w.name for w in model.weights} | {e.name for e in model.exact}
    stored = {t.name for t in onnx.load(model.path).graph.initializer if t.data_type == 1 and np.prod(t.dims) > 1}
    assert not (stored - listed) & model.graph.constants.keys()
    assert all(e.reason for e in model.exact)


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_folding_batch_norm_keeps_the_outputs(path):
    model = load_here(path, fold_batch_norm=True)
    x = feeds(path)
    assert close(outputs(model.image().patched({}), x), outputs(path, x), 1e-2)
