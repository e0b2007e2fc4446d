"""Small models that take whatever data a test is about."""

from pathlib import Path

import numpy as np

from kppstat.onnx_io import Model, load
from tests.onnx_io import zoo


def one_input(folder: Path, shape: str = "N, 2, 4, 4", dtype: str = "float", name: str = "pixels") -> Model:
    """A model of one input, of 3 classes."""
    proto = zoo.parse(
        f"""net ({dtype}[{shape}] {name}) => (float[N, 3] y) {{
            c = Cast <to = 1> ({name})
            f = Flatten (c)
            s = ReduceSum (f, axis)
            y = MatMul (s, w)
        }}""",
        axis=np.array([1]),
        w=zoo.draw(1, 3),
    )
    return load(zoo.save(proto, folder / "net.onnx"))


def two_inputs(folder: Path) -> Model:
    """A model of two inputs, `a` of 2 and `b` of 3 numbers."""
    proto = zoo.parse(
        """net (float[N, 2] a, float[N, 3] b) => (float[N, 4] out) {
            c = Concat <axis = 1> (a, b)
            out = MatMul (c, w)
        }""",
        w=zoo.draw(5, 4),
    )
    return load(zoo.save(proto, folder / "net.onnx"))


def with_a_setting(folder: Path) -> Model:
    """A model with an input `gain` that is the same for all inputs."""
    proto = zoo.parse(
        """net (float[N, 4] x, float gain) => (float[N, 3] out) {
            h = MatMul (x, w)
            out = Mul (h, gain)
        }""",
        w=zoo.draw(4, 3),
    )
    return load(zoo.save(proto, folder / "net.onnx"))
