import gc
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from kppstat.errors import ModelError
from kppstat.onnx_io import Model, image
from kppstat.onnx_io.bytes_image import BytesImage
from kppstat.onnx_io.file_image import FileImage
from tests.onnx_io import zoo
from tests.onnx_io.running import equal, outputs

X = {"x": np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32)}


def noisy(model: Model, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    scales = {w.name: np.float32(w.max_abs) for w in model.weights}
    return {
        name: v + np.float32(0.1) * scales[name] * rng.standard_normal(v.shape).astype(v.dtype)
        for name, v in model.values().items()
    }


def serialised(model: Model, weights: dict[str, np.ndarray]) -> ModelProto:
    """The slow way: a new message with the weights in it."""
    proto = ModelProto.FromString(model.skeleton)
    for name, values in (dict(model.graph.constants) | weights).items():
        stored = values.astype(model.graph.constants[name].dtype)
        proto.graph.initializer.append(numpy_helper.from_array(stored, name))
    return proto


@pytest.fixture(params=["bytes", "file"])
def any_image(request, monkeypatch):
    """Run the test for both kinds of image; the file is otherwise for models above 2 GB."""
    if request.param == "file":
        monkeypatch.setattr(image, "LIMIT", 0)
    return {"bytes": BytesImage, "file": FileImage}[request.param]


def test_patched_is_the_model_with_these_weights_bit_for_bit(loaded, any_image):
    model = loaded(zoo.cnn())
    img = model.image()
    assert isinstance(img, any_image)
    for seed in range(3):
        weights = noisy(model, seed)
        assert equal(outputs(img.patched(weights), X), outputs(serialised(model, weights), X))


def test_weights_left_out_are_the_intended_ones_again(loaded, any_image):
    model = loaded(zoo.cnn())
    img = model.image()
    clean = outputs(img.patched({}), X)
    weights = noisy(model)
    assert not equal(outputs(img.patched(weights), X), clean)
    only = {"w2": weights["w2"]}
    assert equal(outputs(img.patched(only), X), outputs(serialised(model, only), X))
    assert equal(outputs(img.patched({}), X), clean)


def test_patched_decodes_as_an_ordinary_model(loaded):
    model = loaded(zoo.cnn())
    weights = noisy(model)
    proto = onnx.load_from_string(model.image().patched(weights))
    onnx.checker.check_model(proto)
    found = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for name, values in weights.items():
        np.testing.assert_array_equal(found[name], values)


def test_an_image_travels_between_processes(loaded, any_image):
    model = loaded(zoo.cnn())
    img = model.image()
    again = pickle.loads(pickle.dumps(img))
    weights = noisy(model)
    assert equal(outputs(again.patched(weights), X), outputs(img.patched(weights), X))


def test_two_file_images_do_not_share_what_they_patch(loaded, monkeypatch):
    monkeypatch.setattr(image, "LIMIT", 0)
    model = loaded(zoo.cnn())
    first = model.image()
    second = pickle.loads(pickle.dumps(first))
    a, b = first.patched(noisy(model, 1)), second.patched(noisy(model, 2))
    assert a != b
    assert equal(outputs(a, X), outputs(serialised(model, noisy(model, 1)), X))


def test_files_go_with_the_image(loaded, monkeypatch):
    monkeypatch.setattr(image, "LIMIT", 0)
    img = loaded(zoo.cnn()).image()
    path = img.patched({})
    assert isinstance(path, Path)
    assert path.exists()
    del img
    gc.collect()
    assert not path.exists()


def test_a_file_image_whose_files_are_gone_says_so(loaded, monkeypatch):
    monkeypatch.setattr(image, "LIMIT", 0)
    img = loaded(zoo.cnn()).image()
    copy = pickle.loads(pickle.dumps(img))
    del img
    gc.collect()
    with pytest.raises(ModelError, match="gone or on another machine"):
        copy.patched({})


def test_half_precision_is_stored_as_such(loaded, any_image):
    model = loaded(zoo.half())
    weights = noisy(model)
    x = {"x": zoo.draw(2, 4, dtype="float16")}
    assert equal(outputs(model.image().patched(weights), x), outputs(serialised(model, weights), x))


def test_unknown_names_and_wrong_shapes_are_refused(loaded, any_image):
    img = loaded(zoo.cnn()).image()
    with pytest.raises(ModelError, match="no weight 'w3'"):
        img.patched({"w3": np.zeros(2, np.float32)})
    with pytest.raises(ModelError, match=r"weight 'w1' has shape \(4, 2, 3, 3\), not \(4, 2\)"):
        img.patched({"w1": np.zeros((4, 2), np.float32)})


def test_a_model_above_the_limit_is_checked_and_freed_like_any_other(loaded, monkeypatch):
    monkeypatch.setattr(image, "LIMIT", 0)
    model = loaded(zoo.fixed_batch())
    assert model.batch is None
