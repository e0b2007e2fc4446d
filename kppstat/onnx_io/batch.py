"""Free the batch: let a model that was exported for a fixed number of inputs take any number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, ValueInfoProto

from kppstat.graph import Port
from kppstat.onnx_io.lift import Lifted
from kppstat.onnx_io.normalise import shape_of

AXIS = "batch"


def batch_inputs(ports: Sequence[Port]) -> tuple[list[str], int | None]:
    """Return the inputs whose first axis is the batch, and its size; None if it is free.

    The first input with an axis decides; inputs whose first axis differs (states, settings) are fed as they are.
    """
    axes = {p.name: p.shape[0] for p in ports if p.shape}
    size = next(iter(axes.values()), None)
    return [name for name, n in axes.items() if n == size], size


def freed(lifted: Lifted, names: Sequence[str], size: int) -> Lifted:
    """Return the model with the first axis of these inputs and of all outputs free, and with its Reshapes following.

    A Reshape to ``[size, ...]`` of a value that depends on the inputs keeps the first axis that it finds instead. That
    is a guess: the caller checks the result against the model as it came.
    """
    skeleton = ModelProto()
    skeleton.CopyFrom(lifted.skeleton)
    constants = dict(lifted.constants)
    graph = skeleton.graph
    for value in graph.input:
        if value.name in names:
            _free(value)
    for value in graph.output:
        shape = shape_of(value)
        if shape and shape[0] == size:
            _free(value)
    live = {v.name for v in graph.input}
    for node in graph.node:
        if not live.intersection(node.input):
            continue
        live.update(node.output)
        if node.op_type == "Reshape" and node.input[0] in live and (target := constants.get(node.input[1])) is not None:
            following = _following(target, size)
            if following is not None:
                name = f"{node.input[1]}/{AXIS}"
                constants[name] = following
                node.input[1] = name
    return Lifted(skeleton, constants, lifted.homes)


def _free(value: ValueInfoProto) -> None:
    value.type.tensor_type.shape.dim[0].dim_param = AXIS


def _following(target: np.ndarray, size: int) -> np.ndarray | None:
    """Return the target shape of a Reshape for any batch: -1 where that is unambiguous, or else 0 (as it was)."""
    if target.ndim != 1 or not target.size or target[0] != size:
        return None
    result = target.copy()
    result[0] = 0 if -1 in target[1:] else -1
    return result


def together(groups: Sequence[Sequence[np.ndarray] | None]) -> list[np.ndarray] | None:
    """Put the outputs of several groups one behind the other, or return None if their shapes do not allow it."""
    done = [g for g in groups if g is not None]
    if len(done) < len(groups) or any(not isinstance(v, np.ndarray) or not v.ndim for g in done for v in g):
        return None
    return [np.concatenate(values) for values in zip(*done, strict=True)]
