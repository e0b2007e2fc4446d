import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from kppstat.errors import ModelError
from kppstat.onnx_io import load, save
from tests.onnx_io import zoo
from tests.onnx_io.running import close, equal, outputs
from tests.onnx_io.test_image import noisy, serialised
from tests.onnx_io.test_read import external

NAMES = [f.__name__ for f in zoo.ALL if f is not zoo.integer]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_is_what_loads(tmp_path, name):
    model = load(zoo.save(getattr(zoo, name)(), tmp_path / "model.onnx"))
    weights = noisy(model)
    save(model, weights, tmp_path / "new.onnx")
    again = load(tmp_path / "new.onnx")
    stored = {n: v.astype(model.graph.constants[n].dtype) for n, v in weights.items()}
    found = {w.name: again.graph.constants[w.name] for w in again.weights}
    assert set(found) == set(stored)
    for key, values in stored.items():
        np.testing.assert_array_equal(found[key], values)


def test_everything_else_in_the_file_stays(tmp_path):
    proto = zoo.cnn()
    proto.metadata_props.add(key="author", value="someone")
    proto.producer_name = "mine"
    proto.graph.doc_string = "for the record"
    for number, node in enumerate(proto.graph.node):
        node.name = f"node {number}"
    model = load(zoo.save(proto, tmp_path / "model.onnx"))
    weights = noisy(model)
    save(model, weights, tmp_path / "new.onnx")
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            tensor.raw_data = weights[tensor.name].tobytes()
    assert (tmp_path / "new.onnx").read_bytes() == proto.SerializeToString()


def test_unchanged_weights_give_the_same_outputs_and_the_file_itself_is_left_alone(tmp_path):
    path = zoo.save(zoo.branches(), tmp_path / "model.onnx")
    before = path.read_bytes()
    model = load(path)
    save(model, model.values(), tmp_path / "new.onnx")
    for condition in (True, False):
        feeds = {"x": zoo.draw(2, 3), "c": np.array(condition)}
        assert equal(outputs(tmp_path / "new.onnx", feeds), outputs(path, feeds))
    assert path.read_bytes() == before


def test_the_file_itself_can_be_replaced(tmp_path):
    path = zoo.save(zoo.cnn(), tmp_path / "model.onnx")
    model = load(path)
    weights = noisy(model)
    save(model, weights, path)
    np.testing.assert_array_equal(load(path).values()["w1"], weights["w1"])
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_external_data_stay_external(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    model = load(external(tmp_path / "in"))
    weights = noisy(model)
    save(model, weights, tmp_path / "out" / "new.onnx")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["new.onnx", "new.onnx.data"]
    x = {"x": zoo.draw(2, 2, 6, 6)}
    assert close(outputs(tmp_path / "out" / "new.onnx", x), outputs(serialised(model, weights), x))
    np.testing.assert_array_equal(load(tmp_path / "out" / "new.onnx").values()["w2"], weights["w2"])


def test_external_data_can_be_replaced_in_place(tmp_path):
    path = external(tmp_path, "model.onnx.data")
    model = load(path)
    weights = noisy(model)
    save(model, weights, path)
    np.testing.assert_array_equal(load(path).values()["w2"], weights["w2"])


def test_a_dequantised_weight_becomes_a_constant(tmp_path):
    model = load(zoo.save(zoo.quantised(), tmp_path / "model.onnx"))
    weights = noisy(model)
    save(model, weights, tmp_path / "new.onnx")
    x = {"x": zoo.draw(2, 4)}
    assert close(outputs(tmp_path / "new.onnx", x), outputs(serialised(model, weights), x))


def test_one_of_several_computed_outputs_is_replaced(tmp_path):
    proto = zoo.parse(
        """g (float[N, 2] x) => (float[N, 2] y) {
            a, b = Split<axis = 1>(w, sizes)
            h = MatMul(x, a)
            y = MatMul(h, b)
        }""",
        opset=13,
        w=zoo.draw(2, 4),
        sizes=np.array([2, 2]),
    )
    model = load(zoo.save(proto, tmp_path / "model.onnx"))
    assert [w.name for w in model.weights] == ["a", "b"]
    for names in (["a"], ["b"], ["a", "b"]):
        weights = {n: v for n, v in noisy(model).items() if n in names}
        save(model, weights, tmp_path / "new.onnx")
        x = {"x": zoo.draw(3, 2)}
        assert close(outputs(tmp_path / "new.onnx", x), outputs(serialised(model, weights), x))


def test_a_computation_written_twice_is_one_weight_and_saved_in_both_places(tmp_path):
    proto = zoo.parse(
        """g (float[N, 2] x) => (float[N, 2] y) {
            a = Mul(w, s)
            b = Mul(w, s)
            h = MatMul(x, a)
            r = Relu(h)
            y = MatMul(r, b)
        }""",
        w=zoo.draw(2, 2),
        s=zoo.draw(2),
    )
    model = load(zoo.save(proto, tmp_path / "model.onnx"))
    (weight,) = model.weights
    assert len(weight.consumers) == 2
    weights = noisy(model)
    save(model, weights, tmp_path / "new.onnx")
    x = {"x": zoo.draw(3, 2)}
    assert close(outputs(tmp_path / "new.onnx", x), outputs(serialised(model, weights), x))


def test_constants_given_as_lists_are_replaced(tmp_path):
    proto = zoo.parse(
        """g (float[N, 4] x) => (float[N, 1] y) {
            v = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>()
            w = Reshape(v, shape)
            y = MatMul(x, w)
        }""",
        shape=np.array([4, 1]),
    )
    model = load(zoo.save(proto, tmp_path / "model.onnx"))
    save(model, {"v": np.float32([9, 8, 7, 6])}, tmp_path / "new.onnx")
    assert load(tmp_path / "new.onnx").values()["v"].tolist() == [9, 8, 7, 6]


def test_sparse_weights_become_dense(tmp_path):
    proto = zoo.parse("g (float[N, 3] x) => (float[N, 2] y) { y = MatMul(x, w) }")
    values = numpy_helper.from_array(np.float32([5, -7]), "w")
    indices = numpy_helper.from_array(np.array([1, 4]), "i")
    proto.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, (3, 2)))
    model = load(zoo.save(proto, tmp_path / "model.onnx"))
    new = zoo.draw(3, 2)
    save(model, {"w": new}, tmp_path / "new.onnx")
    np.testing.assert_array_equal(load(tmp_path / "new.onnx").values()["w"], new)


def test_what_does_not_fit_is_refused(tmp_path):
    model = load(zoo.save(zoo.cnn(), tmp_path / "model.onnx"))
    out = tmp_path / "new.onnx"
    with pytest.raises(ModelError, match="no such weight"):
        save(model, {"b1": np.zeros(4, np.float32)}, out)
    with pytest.raises(ModelError, match=r"has shape \(2,\)"):
        save(model, {"w1": np.zeros(2, np.float32)}, out)
    with pytest.raises(ModelError, match="cannot hold"):
        save(model, {"w1": np.full((4, 2, 3, 3), np.nan)}, out)
    half = load(zoo.save(zoo.half(), tmp_path / "half.onnx"))
    with pytest.raises(ModelError, match="float16 cannot hold"):
        save(half, {"w": np.full((4, 3), 1e6)}, out)
    assert not out.exists()


def test_a_changed_file_is_refused(tmp_path):
    path = zoo.save(zoo.cnn(), tmp_path / "model.onnx")
    model = load(path)
    zoo.save(zoo.half(), path)
    with pytest.raises(ModelError, match="has changed since it was loaded"):
        save(model, {}, tmp_path / "new.onnx")


def test_an_output_that_cannot_be_written_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    model = load(zoo.save(zoo.cnn(), tmp_path / "model.onnx"))
    with pytest.raises(ModelError, match=r"cannot be written.*No such file"):
        save(model, {}, tmp_path / "none" / "new.onnx")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match="cannot be written"):
        save(model, {}, tmp_path / "folder")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "new.onnx").write_bytes(b"the old one")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ModelError, match="No space left on device"):
        save(model, {}, tmp_path / "out" / "new.onnx")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["new.onnx"]
    assert (tmp_path / "out" / "new.onnx").read_bytes() == b"the old one"
