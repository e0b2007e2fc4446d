import numpy as np
import pytest

from kppstat.onnx_io import load, save
from tests.onnx_io import zoo
from tests.onnx_io.running import close, outputs
from tests.onnx_io.test_image import noisy, serialised


def normalised(layer: str, *signal: str, **weights: np.ndarray) -> object:
    """A layer, then BatchNormalization over 4 channels, then Relu."""
    return zoo.parse(
        f"""g (float[{", ".join(signal)}] x) => (float y) {{
            c = {layer}
            n = BatchNormalization<epsilon = 0.01>(c, gamma, beta, mean, var)
            y = Relu(n)
        }}""",
        gamma=zoo.draw(4),
        beta=zoo.draw(4),
        mean=zoo.draw(4),
        var=np.abs(zoo.draw(4)) + np.float32(0.1),
        **weights,
    )


CASES = {
    "conv": (normalised("Conv(x, w, b)", "N", "2", "5", "5", w=zoo.draw(4, 2, 3, 3), b=zoo.draw(4)), (2, 2, 5, 5)),
    "conv without bias": (normalised("Conv(x, w)", "N", "2", "5", w=zoo.draw(4, 2, 3)), (2, 2, 5)),
    "depthwise conv": (normalised("Conv<group = 2>(x, w)", "N", "2", "5", "5", w=zoo.draw(4, 1, 3, 3)), (2, 2, 5, 5)),
    "transposed conv": (
        normalised("ConvTranspose(x, w, b)", "N", "2", "5", "5", w=zoo.draw(2, 4, 3, 3), b=zoo.draw(4)),
        (2, 2, 5, 5),
    ),
    "grouped transposed conv": (
        normalised("ConvTranspose<group = 2>(x, w)", "N", "6", "4", "4", w=zoo.draw(6, 2, 3, 3)),
        (2, 6, 4, 4),
    ),
    "gemm": (normalised("Gemm(x, w, b)", "N", "3", w=zoo.draw(3, 4), b=zoo.draw(4)), (2, 3)),
    "gemm with factors": (
        normalised("Gemm<transB = 1, alpha = 0.5, beta = 3.0>(x, w, b)", "N", "3", w=zoo.draw(4, 3), b=zoo.draw(4)),
        (2, 3),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_folding_changes_the_weights_and_not_the_outputs(loaded, case):
    proto, shape = CASES[case]
    model, plain = loaded(proto, fold_batch_norm=True), loaded(proto)
    assert "BatchNormalization" in {n.op for n in plain.graph.nodes}
    assert "BatchNormalization" not in {n.op for n in model.graph.nodes}
    assert any("noise now acts on the folded weights" in note for note in model.notes)
    assert not np.allclose(model.values()["w"], plain.values()["w"])
    x = {"x": zoo.draw(*shape)}
    assert close(outputs(model.image().patched({}), x), outputs(proto, x), 1e-4)


def test_it_is_not_folded_by_default(loaded):
    assert "BatchNormalization" in {n.op for n in loaded(zoo.cnn()).graph.nodes}


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        # The convolution is read elsewhere too.
        ("c = Conv(x, w) n = BatchNormalization(c, g, g, g, v) y = Add(n, c)", {}),
        # An activation lies between.
        ("c = Conv(x, w) r = Relu(c) y = BatchNormalization(r, g, g, g, v)", {}),
        # The weight is shared with another layer.
        ("c = Conv(x, w) n = BatchNormalization(c, g, g, g, v) y = Conv(n, w)", {}),
    ],
)
def test_where_it_cannot_be_folded_it_stays_and_is_named(loaded, text, weights):
    ones = np.ones(2, np.float32)
    proto = zoo.parse(f"g (float[N, 2, 3] x) => (float y) {{ {text} }}", w=zoo.draw(2, 2, 1), g=ones, v=ones, **weights)
    model = loaded(proto, fold_batch_norm=True)
    assert "BatchNormalization" in {n.op for n in model.graph.nodes}
    assert any("1 BatchNormalization was not folded" in note for note in model.notes)


def test_none_to_fold_is_said(loaded):
    model = loaded(zoo.half(), fold_batch_norm=True)
    assert any("no BatchNormalization to fold" in note for note in model.notes)


@pytest.mark.parametrize("case", CASES)
def test_folded_weights_are_unfolded_for_the_file(tmp_path, case):
    proto, shape = CASES[case]
    model = load(zoo.save(proto, tmp_path / "model.onnx"), fold_batch_norm=True)
    weights = noisy(model)
    save(model, weights, tmp_path / "new.onnx")
    x = {"x": zoo.draw(*shape)}
    assert close(outputs(tmp_path / "new.onnx", x), outputs(serialised(model, weights), x), 1e-4)
