"""Small models and their evaluators."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from kppstat.data import from_arrays
from kppstat.engine import Evaluator
from kppstat.noise import Gaussian, NoiseModel, Variation
from kppstat.onnx_io import load
from kppstat.performance import performance_named
from tests.onnx_io import zoo

RNG = np.random.default_rng(3)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def convolutions(batch: str = "N") -> ModelProto:
    """Convolutions whose channels do not fill a vector, one with batch normalisation, one depthwise, and two layers."""
    return zoo.parse(
        f"""net (float[{batch}, 3, 8, 8] x) => (float[{batch}, 6] y) {{
            a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
            r1 = Relu (a)
            b = Conv <pads = [1, 1, 1, 1]> (r1, w2)
            n = BatchNormalization (b, gamma, beta, mean, var)
            r2 = Relu (n)
            d = Conv <pads = [1, 1, 1, 1], group = 20> (r2, w3)
            s = Add (d, r2)
            p = GlobalAveragePool (s)
            f = Flatten (p)
            g = Gemm <transB = 1> (f, w4, b4)
            r3 = Relu (g)
            y = MatMul (r3, w5)
        }}""",
        w1=draw(5, 3, 3, 3),
        b1=draw(5),
        w2=draw(20, 5, 3, 3),
        gamma=draw(20),
        beta=draw(20),
        mean=draw(20),
        var=np.abs(draw(20)) + np.float32(0.5),
        w3=draw(20, 1, 3, 3),
        w4=draw(9, 20),
        b4=draw(9),
        w5=draw(9, 6),
    )


def across_inputs() -> ModelProto:
    """A model whose outputs depend on all inputs of a batch."""
    return zoo.parse(
        """net (float[N, 4] x) => (float[N, 3] y) {
            h = MatMul (x, w)
            m = ReduceMean <axes = [0], keepdims = 1> (h)
            y = Sub (h, m)
        }""",
        w=draw(4, 3),
    )


def evaluator(
    folder: Path,
    proto: ModelProto,
    noise: NoiseModel | None = None,
    *,
    n: int = 70,
    targets: bool = True,
    performance: Any = "top-1",
    seed: int = 5,
) -> Evaluator:
    """An evaluator on random inputs, with labels that the clean model would mostly give."""
    model = load(zoo.save(proto, folder / "net.onnx"))
    shape = [s or 1 for s in (model.graph.inputs[0].shape or ())[1:]]
    x = np.random.default_rng(11).standard_normal((n, *shape)).astype(np.float32)
    variation = Variation(noise or Gaussian(0.05))
    unlabelled = Evaluator(model, variation, from_arrays({"x": x}, None, model), performance_named("top-1"))
    labels = unlabelled.outputs(None).argmax(axis=1)
    labels[::9] = 0
    data = from_arrays({"x": x}, labels if targets else None, model)
    return Evaluator(model, variation, data, performance_named(performance), seed=seed)


def same(a: Mapping[int, np.ndarray], b: Mapping[int, np.ndarray]) -> bool:
    return list(a) == list(b) and all(np.array_equal(a[i], b[i]) for i in a)
