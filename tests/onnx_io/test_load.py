import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from kppstat.errors import ModelError
from kppstat.onnx_io import load
from kppstat.onnx_io.normalise import OPSET
from kppstat.onnx_io.session import session_of
from tests.onnx_io import zoo
from tests.onnx_io.running import close, outputs

NAMES = [f.__name__ for f in zoo.ALL if f is not zoo.integer]
FEEDS = {
    "cnn": {"x": (3, 2, 6, 6)},
    "fixed_batch": {"x": (1, 2, 4)},
    "branches": {"x": (4, 3)},
    "loop": {"x": (4, 2)},
    "recurrent": {"x": (2, 5, 3)},
    "quantised": {"x": (3, 4)},
    "half": {"x": (2, 4)},
}


@pytest.mark.parametrize("odd", [None, 3, b"bytes"])
def test_what_is_no_path_is_refused(odd):
    with pytest.raises(ModelError, match=f"of type {type(odd).__name__}, no path"):
        load(odd)


@pytest.mark.parametrize("name", NAMES)
def test_the_imported_model_gives_what_the_file_gives(loaded, name):
    proto = getattr(zoo, name)()
    model = loaded(proto)
    image = model.image().patched({})
    rng = np.random.default_rng(1)
    for condition in (True, False):
        if name == "embedding":
            feeds = {"i": rng.integers(0, 6, (2, 3))}
        else:
            dtype = "float16" if name == "half" else "float32"
            feeds = {k: rng.standard_normal(shape).astype(dtype) for k, shape in FEEDS[name].items()}
        if name == "branches":
            feeds["c"] = np.array(condition)
        assert close(outputs(image, feeds), outputs(proto, feeds), 2e-2 if name == "half" else 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_one_opset_whatever_the_file_has(loaded, name):
    model = loaded(getattr(zoo, name)())
    assert {o.version for o in onnx.ModelProto.FromString(model.skeleton).opset_import if not o.domain} == {22}
    assert any("to opset 22" in note for note in model.notes)


def test_weights_are_numbered_in_order_and_carry_their_scale(loaded):
    model = loaded(zoo.cnn())
    assert [(w.name, w.position, w.shape, w.consumers) for w in model.weights] == [
        ("w1", 0, (4, 2, 3, 3), ("Conv 'a'",)),
        ("w2", 1, (3, 36), ("Gemm 'y'",)),
    ]
    values = model.values()
    assert list(values) == ["w1", "w2"]
    assert [w.max_abs for w in model.weights] == [float(np.abs(v).max()) for v in values.values()]
    assert model.batch is None


def test_exact_tensors_are_named_with_a_reason(loaded):
    reasons = {e.name: e.reason for e in loaded(zoo.cnn()).exact}
    assert set(reasons) == {"b1", "b2", "gamma", "beta", "mean", "var"}
    assert "bias" in reasons["b1"]
    assert "normalisation" in reasons["var"]
    assert "Conv 'a'" in reasons["b1"]


def test_weights_in_branches_are_found_under_distinct_names(loaded):
    model = loaded(zoo.branches())
    values = model.values()
    assert len(values) == 2
    assert sorted(float(v[0, 0]) for v in values.values()) == [-1.0, 1.0]


@pytest.mark.parametrize("condition", [True, False])
def test_weights_in_branches_are_patched(loaded, condition):
    proto = zoo.branches()
    model = loaded(proto)
    feeds = {"x": np.ones((1, 3), np.float32), "c": np.array(condition)}
    zeros = {name: np.zeros_like(v) for name, v in model.values().items()}
    assert np.abs(outputs(proto, feeds)[0]).max() > 0.5
    assert np.abs(outputs(model.image().patched(zeros), feeds)[0]).max() == 0


def test_a_weight_in_a_loop_is_patched(loaded):
    model = loaded(zoo.loop())
    zeros = {"w": np.zeros((2, 2), np.float32)}
    assert not outputs(model.image().patched(zeros), {"x": np.ones((1, 2), np.float32)})[0].any()


def test_a_weight_behind_reshape_and_transpose_is_the_stored_tensor(loaded):
    (weight,) = loaded(zoo.fixed_batch()).weights
    assert (weight.name, weight.shape, weight.consumers) == ("w", (3, 2, 4), ("MatMul 'm'",))


def test_a_quantised_weight_is_its_dequantised_value(loaded):
    proto = zoo.quantised()
    stored = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    model = loaded(proto)
    expected = stored["wq"].astype(np.float32) * stored["ws"][:, None]
    np.testing.assert_allclose(model.values()["wd"], expected, rtol=1e-6)
    assert any("DequantizeLinear 'wd'" in note for note in model.notes)


def test_a_tensor_read_twice_carries_one_noise_and_the_other_reader_is_named(loaded):
    model = loaded(zoo.embedding())
    assert [w.name for w in model.weights] == ["table"]
    assert any("'table' is also read by Gather 'e'" in note for note in model.notes)


def test_half_precision_is_worked_with_as_float32(loaded):
    model = loaded(zoo.half())
    assert model.values()["w"].dtype == np.float32
    assert model.graph.constants["w"].dtype == np.float16


def test_double_precision_stays(loaded):
    proto = zoo.parse("g (double[N, 2] x) => (double[N, 2] y) { y = MatMul(x, w) }", w=zoo.draw(2, 2, dtype="float64"))
    assert loaded(proto).values()["w"].dtype == np.float64


def test_bfloat16_is_found_and_patched(loaded):
    proto = zoo.parse("g (float[N, 2] x) => (float[N, 2] y) { c = Cast<to = 1>(w) \n y = MatMul(x, c) }")
    proto.graph.initializer.append(helper.make_tensor("w", onnx.TensorProto.BFLOAT16, (2, 2), [1.0, 2.0, 3.0, 4.0]))
    model = loaded(proto)
    assert model.values()["w"].tolist() == [[1, 2], [3, 4]]
    patched = model.image().patched({"w": np.eye(2, dtype=np.float32)})
    x = np.float32([[5, 7]])
    assert outputs(patched, {"x": x})[0].tolist() == x.tolist()


def test_initializers_listed_as_inputs_are_not_inputs(loaded):
    proto = zoo.cnn()
    proto.ir_version = 3
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    assert [p.name for p in loaded(proto).graph.inputs] == ["x"]


def test_a_fixed_batch_is_freed_and_said(loaded):
    proto = zoo.fixed_batch()
    model = loaded(proto)
    assert model.batch is None
    assert any("was fixed at 1" in note for note in model.notes)
    x = np.random.default_rng(0).standard_normal((5, 2, 4)).astype(np.float32)
    one_by_one = np.concatenate([outputs(proto, {"x": x[i : i + 1]})[0] for i in range(5)])
    np.testing.assert_allclose(outputs(model.image().patched({}), {"x": x})[0], one_by_one, rtol=1e-5)


def test_a_batch_of_two_is_freed_too(loaded):
    proto = zoo.parse(
        """g (float[2, 2, 2] x) => (float[2, 3] y) {
            s = Constant <value = int64[2] {2, -1}> ()
            f = Reshape (x, s)
            y = MatMul (f, w)
        }""",
        w=zoo.draw(4, 3),
    )
    model = loaded(proto)
    assert model.batch is None
    assert outputs(model.image().patched({}), {"x": np.zeros((7, 2, 2), np.float32)})[0].shape == (7, 3)


def test_a_batch_that_cannot_be_freed_is_kept_and_said(loaded):
    # The softmax runs over the batch, so that inputs do see each other.
    proto = zoo.parse(
        "g (float[4, 3] x) => (float[4, 3] y) { m = MatMul(x, w) \n y = Softmax<axis = 0>(m) }", w=zoo.draw(3, 3)
    )
    model = loaded(proto)
    assert model.batch == 4
    assert any("groups of 4" in note for note in model.notes)


def test_a_free_batch_whose_inputs_see_each_other_is_fed_one_at_a_time(loaded):
    proto = zoo.parse(
        "g (float[N, 3] x) => (float[N, 3] y) { m = MatMul(x, w) \n y = Softmax<axis = 0>(m) }", w=zoo.draw(3, 3)
    )
    model = loaded(proto)
    assert model.batch == 1
    assert any("one at a time" in note for note in model.notes)


def test_functions_are_put_in_place_of_their_calls(loaded):
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
        g (float[N, 2] x) => (float[N, 2] y) { y = mine.layer(x) }
        <domain: "mine", opset_import: ["" : 17]>
        layer (a) => (b) { w = Constant<value = float[2, 2] {1.0, 2.0, 3.0, 4.0}>() \n b = MatMul(a, w) }"""
    )
    model = loaded(proto)
    assert [w.shape for w in model.weights] == [(2, 2)]
    assert any("functions" in note for note in model.notes)


def test_other_domains_are_kept_and_named(loaded):
    proto = zoo.parse(
        'g (float[N, 4] x) => (float[N, 3] y) { y = com.microsoft.FusedGemm<activation = "Relu">(x, w, b) }',
        w=zoo.draw(4, 3),
        b=zoo.draw(3),
    )
    model = loaded(proto)
    assert [w.consumers for w in model.weights] == [("FusedGemm 'y'",)]
    assert any("com.microsoft" in note for note in model.notes)


@pytest.mark.parametrize("opset", range(7, 26))
def test_every_opset_from_7_to_25(loaded, opset):
    proto = zoo.parse(
        "g (float[N, 4] x) => (float[N, 3] y) { m = MatMul(x, w) \n y = Relu(m) }", opset, w=zoo.draw(4, 3)
    )
    model = loaded(proto)
    x = zoo.draw(2, 4)
    assert close(outputs(model.image().patched({}), {"x": x}), outputs(proto, {"x": x}))


@pytest.mark.parametrize("scale", ["1.0", "0.00000001"])
def test_operators_that_draw_random_numbers_are_refused_by_name(loaded, scale):
    proto = zoo.parse(
        f"""g (float[N, 4] x) => (float[N, 4] y) {{
            r = RandomNormalLike<scale = {scale}>(x)
            m = MatMul(x, w)
            y = Add(m, r)
        }}""",
        w=zoo.draw(4, 4),
    )
    with pytest.raises(ModelError, match="RandomNormalLike 'r' draws random numbers"):
        loaded(proto)


def test_dropout_that_still_trains_is_refused(loaded):
    proto = zoo.parse(
        "g (float[N, 4] x) => (float[N, 4] y) { m = MatMul(x, w) \n y = Dropout(m, ratio, training) }",
        w=zoo.draw(4, 4),
        ratio=np.array(0.5, np.float32),
        training=np.array(True),
    )
    with pytest.raises(ModelError, match="two runs on the same inputs give different outputs"):
        loaded(proto)


def test_a_weight_of_zeros_is_noted(loaded):
    proto = zoo.parse("g (float[N, 2] x) => (float[N, 2] y) { y = MatMul(x, w) }", w=np.zeros((2, 2), np.float32))
    model = loaded(proto)
    assert model.weights[0].max_abs == 0
    assert any("zero throughout" in note for note in model.notes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(loaded, bad):
    w = zoo.draw(2, 2)
    w[1, 0] = bad
    with pytest.raises(ModelError, match=r"weight 'w' of MatMul 'y': holds (NaN|infinite) values"):
        loaded(zoo.parse("g (float[N, 2] x) => (float[N, 2] y) { y = MatMul(x, w) }", w=w))


def test_weights_whose_deviations_would_overflow_are_refused(loaded):
    w = zoo.draw(2, 2)
    w[1, 0] = -3e38
    with pytest.raises(ModelError, match=r"weight 'w' of MatMul 'y': reaches 3e\+38"):
        loaded(zoo.parse("g (float[N, 2] x) => (float[N, 2] y) { y = MatMul(x, w) }", w=w))


def test_a_model_without_weights_is_refused_with_the_reason(loaded):
    with pytest.raises(ModelError, match=r"no weight that device variation can act on.*MatMulInteger"):
        loaded(zoo.integer())
    with pytest.raises(ModelError, match="no weight that device variation can act on"):
        loaded(zoo.parse("g (float[N] x) => (float[N] y) { y = Relu(x) }"))


def test_a_model_without_inputs_is_refused(loaded):
    with pytest.raises(ModelError, match="takes no inputs"):
        loaded(zoo.parse("g () => (float[2, 2] y) { y = MatMul(w, w) }", w=zoo.draw(2, 2)))


def test_a_model_without_outputs_is_refused(loaded):
    proto = zoo.cnn()
    del proto.graph.output[:]
    with pytest.raises(ModelError, match=r"no outputs|checker refuses it"):
        loaded(proto)


def test_an_opset_that_onnxruntime_only_partly_knows_is_undone(tmp_path, monkeypatch):
    tried = []

    def partly(skeleton, constants):
        tried.append(skeleton.opset_import[0].version)
        if tried[-1] == OPSET:
            raise ModelError("onnxruntime cannot run it")
        return session_of(skeleton, constants)

    module = sys.modules[load.__module__]
    monkeypatch.setattr(module, "session_of", partly)
    proto = zoo.parse("g (float[N, 4] x) => (float[N, 4] y) { y = MatMul(x, w) }", w=zoo.draw(4, 4))
    model = module.load_here(zoo.save(proto, tmp_path / "net.onnx"), fold_batch_norm=False)
    assert tried[:2] == [OPSET, 17]
    assert any("stay at opset 17" in note for note in model.notes)
    x = zoo.draw(2, 4)
    assert close(outputs(model.image().patched({}), {"x": x}), outputs(proto, {"x": x}))


def test_an_operator_that_onnxruntime_lacks_is_refused_by_name(loaded):
    proto = zoo.parse("g (float[N, 2] x) => (float[N, 2] y) { y = nobody.Frobnicate(x, w) }", w=zoo.draw(2, 2))
    proto.opset_import.add(domain="nobody", version=1)
    with pytest.raises(ModelError, match=r"onnxruntime cannot run it.*Frobnicate"):
        loaded(proto)


def test_a_wrong_conversion_is_noticed_and_undone(loaded, monkeypatch):
    from kppstat.onnx_io import normalise

    def wrong(proto, version):
        result = onnx.version_converter._original(proto, version)
        next(n for n in result.graph.node if n.op_type == "Relu").op_type = "Neg"
        return result

    monkeypatch.setattr(onnx.version_converter, "_original", normalise.version_converter.convert_version, raising=False)
    monkeypatch.setattr(normalise.version_converter, "convert_version", wrong)
    proto = zoo.cnn()
    model = loaded(proto)
    assert any("stay at opset 17" in note for note in model.notes)
    x = zoo.draw(2, 2, 6, 6)
    assert close(outputs(model.image().patched({}), {"x": x}), outputs(proto, {"x": x}))


def test_a_wrong_import_is_refused(loaded, monkeypatch):
    from kppstat.onnx_io import load as _  # noqa: F401  (the function hides the module of its name)

    module = sys.modules["kppstat.onnx_io.load"]
    original = module.fold

    def wrong(lifted, notes):
        aliases = original(lifted, notes)
        lifted.constants["b1"] = lifted.constants["b1"] + 1
        return aliases

    monkeypatch.setattr(module, "fold", wrong)
    with pytest.raises(ModelError, match="gives other outputs than the file"):
        loaded(zoo.cnn())


def test_an_unfoldable_weight_is_named(loaded):
    proto = zoo.parse(
        """g (float[N, 4] x) => (float[N, 2] y) {
            m = MatMul (x, w)
            h = HardSwish (v)
            y = MatMul (m, h)
        }""",
        w=zoo.draw(4, 4),
        v=zoo.draw(4, 2),
    )
    model = loaded(proto)
    assert [w.name for w in model.weights] == ["w"]
    assert any("'h' of MatMul 'y' carries no device variation" in note for note in model.notes)


def test_attributes_full_of_numbers_are_listed(loaded):
    proto = zoo.parse(
        """g (float[N, 2] x) => (float[N, 2] y) { m = MatMul(x, w)
            y = ai.onnx.ml.Scaler<offset = [1.0, 2.0], scale = [3.0, 4.0]>(m) }""",
        w=zoo.draw(2, 2),
    )
    proto.opset_import.add(domain="ai.onnx.ml", version=3)
    assert {e.name for e in loaded(proto).exact} == {"y.offset", "y.scale"}


def test_the_model_travels_between_processes(loaded):
    model = loaded(zoo.cnn())
    again = pickle.loads(pickle.dumps(model))
    assert again.image().patched({}) == model.image().patched({})


def test_the_hash_is_that_of_the_file(tmp_path):
    path = zoo.save(zoo.cnn(), tmp_path / "m.onnx")
    import hashlib

    assert load(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(["Transpose", "Identity", "Reshape", "Squeeze", "Cast", "Flatten"]), max_size=4),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_any_chain_of_views_leads_to_the_stored_tensor(tmp_path_factory, chain, rows, columns):
    text, shape, name = "", [rows, columns], "w"
    weights = {"w": zoo.draw(rows, columns)}
    for number, view in enumerate(chain):
        out = f"v{number}"
        match view:
            case "Transpose":
                text += f"{out} = Transpose<perm = [1, 0]>({name})\n"
                shape = shape[::-1]
            case "Reshape":
                weights[f"s{number}"] = np.array(shape[::-1])
                text += f"{out} = Reshape({name}, s{number})\n"
                shape = shape[::-1]
            case "Squeeze":
                weights[f"a{number}"] = np.array([0])
                text += f"u{number} = Unsqueeze({name}, a{number})\n{out} = Squeeze(u{number}, a{number})\n"
            case "Cast":
                text += f"c{number} = Cast<to = 11>({name})\n{out} = Cast<to = 1>(c{number})\n"
            case "Flatten":
                text += f"{out} = Flatten<axis = 1>({name})\n"
            case _:
                text += f"{out} = Identity({name})\n"
        name = out
    proto = zoo.parse(
        f"g (float[N, {shape[0]}] x) => (float[N, {shape[1]}] y) {{ {text} y = MatMul(x, {name}) }}", **weights
    )
    path: Path = zoo.save(proto, tmp_path_factory.mktemp("views") / "m.onnx")
    model = load(path)
    assert [(w.name, w.shape) for w in model.weights] == [("w", (rows, columns))]
    x = zoo.draw(2, shape[0])
    doubled = model.image().patched({"w": 2 * weights["w"]})
    assert close(outputs(doubled, {"x": x}), [2 * outputs(proto, {"x": x})[0]])


def test_the_package_can_be_imported_without_onnx():
    code = "import kppstat, sys; assert not {'onnx', 'onnxruntime', 'torch'} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
