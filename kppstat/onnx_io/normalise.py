"""Bring a lifted model to one opset: each operator then has one signature, whatever exporter wrote the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, ValueInfoProto, helper, version_converter

from kppstat.onnx_io.lift import Lifted, lift
from kppstat.onnx_io.read import gist
from kppstat.onnx_io.stored import tensor

OPSET = 22
IR_VERSION = 10  # the first that opset 22 needs; every onnxruntime that knows opset 22 reads it
SMALL = 1024  # elements; larger constants never decide a shape or an attribute


def opset_of(proto: ModelProto) -> int:
    """Return the version of the standard operators that a model imports; 0 if it imports none."""
    return max((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), default=0)


def closed(lifted: Lifted) -> ModelProto:
    """Return the skeleton with its small constants as initializers and its large ones as inputs: valid, and small."""
    proto = ModelProto()
    proto.CopyFrom(lifted.skeleton)
    proto.ir_version = max(proto.ir_version, 4)  # from 4 on an initializer need not be an input
    for name, values in lifted.constants.items():
        if values.size <= SMALL:
            proto.graph.initializer.append(tensor(name, values))
        else:
            proto.graph.input.append(port(name, values))
    return proto


def port(name: str, values: np.ndarray) -> ValueInfoProto:
    """Return the declaration of an input that takes such an array."""
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    return helper.make_tensor_value_info(name, kind, values.shape)


def normalise(lifted: Lifted, notes: list[str]) -> Lifted:
    """Return the model at opset 22, or as it is with a note where onnx's converter cannot convert it."""
    found = opset_of(lifted.skeleton)
    if found in (0, OPSET):
        return lifted
    try:
        proto = version_converter.convert_version(closed(lifted), OPSET)
        onnx.checker.check_model(proto)
    except Exception as error:  # the converter raises RuntimeError, ValueError and its own ConvertError
        notes.append(f"Operators stay at opset {found}: onnx's converter to opset {OPSET} says: {gist(error)}.")
        return lifted
    proto.ir_version = max(proto.ir_version, IR_VERSION)
    held = {name: values for name, values in lifted.constants.items() if values.size > SMALL}
    inputs = [v for v in proto.graph.input if v.name not in held]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    converted = lift(proto, Path())
    converted.constants.update(held)
    converted.homes = lifted.homes
    notes.append(f"Operators were converted from opset {found} to opset {OPSET}.")
    return converted


def shape_of(value: ValueInfoProto) -> tuple[int | None, ...] | None:
    """Return the shape of a value, None for a free size; None if even the rank is unknown."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim)
