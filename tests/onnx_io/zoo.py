"""Small models, as text, that have what importing must cope with. Their weights are drawn, not trained."""

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper, parser

RNG = np.random.default_rng(7)


def parse(text: str, opset: int = 17, **weights: np.ndarray) -> ModelProto:
    """Return the model of a graph in ONNX's text form, with `weights` as initializers."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1]> {text}')
    model.graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in weights.items())
    return model


def draw(*shape: int, dtype: str = "float32") -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def save(model: ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path


def cnn() -> ModelProto:
    """Conv, BatchNormalization, pool, Gemm: opset 17, free batch."""
    rng = np.random.default_rng(7)  # its own: the trainer's tests need the same network in any order of tests

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    return parse(
        """cnn (float[N, 2, 6, 6] x) => (float[N, 3] y) {
            a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
            n = BatchNormalization (a, gamma, beta, mean, var)
            r = Relu (n)
            p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
            f = Flatten (p)
            y = Gemm <transB = 1> (f, w2, b2)
        }""",
        w1=draw(4, 2, 3, 3),
        b1=draw(4),
        gamma=draw(4),
        beta=draw(4),
        mean=draw(4),
        var=np.abs(draw(4)) + 0.5,
        w2=draw(3, 36),
        b2=draw(3),
    )


def fixed_batch() -> ModelProto:
    """Batch 1, a Reshape to a fixed size, and a weight that reaches MatMul through Reshape and Transpose."""
    return parse(
        """fixed (float[1, 2, 4] x) => (float[1, 3] y) {
            shape = Constant <value = int64[2] {1, 8}> ()
            f = Reshape (x, shape)
            wshape = Constant <value = int64[2] {3, 8}> ()
            r = Reshape (w, wshape)
            t = Transpose <perm = [1, 0]> (r)
            m = MatMul (f, t)
            y = Add (m, b)
        }""",
        9,
        w=draw(3, 2, 4),
        b=draw(1, 3),
    )


def branches() -> ModelProto:
    """Weights in Constant nodes of both branches of an If, under the same names."""
    model = parse(
        """branches (float[N, 3] x, bool c) => (float[N, 2] y) {
            s = Relu (x)
            y = If (c) <
                then_branch = one () => (float[N, 2] o) {
                    w = Constant <value = float[3, 2] {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}> ()
                    m = MatMul (s, w)
                    o = Tanh (m)
                },
                else_branch = two () => (float[N, 2] o) {
                    w = Constant <value = float[3, 2] {-1.0, -2.0, -3.0, 0.5, -5.0, -6.0}> ()
                    o = MatMul (s, w)
                }
            >
        }""",
        11,
    )
    return model


def loop() -> ModelProto:
    """A Loop whose body multiplies by a weight stored in it, three times."""
    body = parser.parse_graph(
        """body (int64 i, bool go, float[N, 2] h) => (bool going, float[N, 2] out) {
            going = Identity (go)
            m = MatMul (h, w)
            out = Tanh (m)
        }"""
    )
    body.initializer.append(numpy_helper.from_array(draw(2, 2), "w"))
    model = parse(
        """loop (float[N, 2] x) => (float[N, 2] y) {
            n = Constant <value = int64 {3}> ()
            yes = Constant <value = bool {1}> ()
        }""",
    )
    model.graph.node.append(helper.make_node("Loop", ["n", "yes", "x"], ["y"], name="repeat", body=body))
    return model


def recurrent() -> ModelProto:
    """LSTM and GRU over a sequence."""
    return parse(
        """recurrent (float[N, 5, 3] x) => (float[N, 4] y) {
            t = Transpose <perm = [1, 0, 2]> (x)
            a, ah, ac = LSTM <hidden_size = 4> (t, w1, r1, b1)
            s = Squeeze (a, one)
            g, gh = GRU <hidden_size = 4> (s, w2, r2)
            y = Squeeze (gh, zero)
        }""",
        w1=draw(1, 16, 3),
        r1=draw(1, 16, 4),
        b1=draw(1, 32),
        w2=draw(1, 12, 4),
        r2=draw(1, 12, 4),
        one=np.array([1]),
        zero=np.array([0]),
    )


def quantised() -> ModelProto:
    """QDQ form: an int8 weight behind DequantizeLinear and Transpose."""
    return parse(
        """qdq (float[N, 4] x) => (float[N, 3] y) {
            xs = Constant <value = float {0.05}> ()
            xz = Constant <value = int8 {0}> ()
            q = QuantizeLinear (x, xs, xz)
            d = DequantizeLinear (q, xs, xz)
            wd = DequantizeLinear <axis = 0> (wq, ws, wz)
            wt = Transpose <perm = [1, 0]> (wd)
            y = MatMul (d, wt)
        }""",
        wq=RNG.integers(-127, 128, (3, 4)).astype(np.int8),
        ws=np.abs(draw(3)) / 50 + np.float32(0.01),
        wz=np.zeros(3, np.int8),
    )


def integer() -> ModelProto:
    """Only integer products: nothing that device variation can act on."""
    return parse(
        """integer (uint8[N, 4] x) => (int32[N, 3] y) { y = MatMulInteger (x, w) }""",
        w=RNG.integers(-127, 128, (4, 3)).astype(np.int8),
    )


def half() -> ModelProto:
    """float16 weights."""
    return parse(
        """half (float16[N, 4] x) => (float16[N, 3] y) { y = Gemm (x, w, b) }""",
        w=draw(4, 3, dtype="float16"),
        b=draw(3, dtype="float16"),
    )


def embedding() -> ModelProto:
    """A table read by Gather and, transposed, by MatMul: one stored tensor."""
    return parse(
        """embedding (int64[N, 3] i) => (float[N, 3, 6] y) {
            e = Gather (table, i)
            n = LayerNormalization (e, scale, shift)
            t = Transpose <perm = [1, 0]> (table)
            y = MatMul (n, t)
        }""",
        table=draw(6, 4),
        scale=draw(4),
        shift=draw(4),
    )


ALL = (cnn, fixed_batch, branches, loop, recurrent, quantised, integer, half, embedding)
