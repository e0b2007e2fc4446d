"""Tensors as an ONNX file stores them: to NumPy and back, whatever the field, the type or the side file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from kppstat.errors import ModelError

# Types whose bytes in the file are the bytes of the array; all others are decoded by onnx.
PLAIN: dict[int, str] = {
    TensorProto.FLOAT: "<f4",
    TensorProto.DOUBLE: "<f8",
    TensorProto.FLOAT16: "<f2",
    TensorProto.INT64: "<i8",
    TensorProto.INT32: "<i4",
    TensorProto.INT16: "<i2",
    TensorProto.INT8: "i1",
    TensorProto.UINT8: "u1",
    TensorProto.BOOL: "?",
}
LARGEST = 1 << 40  # bytes; a size beyond this is a damaged file
SMALL = 1024  # bytes; tensors below this stay in the model file
PAGE = 4096  # bytes; onnxruntime can map external data that start at a page


def side_file(tensor: TensorProto, folder: Path) -> tuple[Path, int, int | None] | None:
    """Return the external file, offset and length in bytes of a tensor, or None if the model file itself holds it."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return None
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    where = f"tensor '{tensor.name}'"
    inside = location and not Path(location).is_absolute() and "\\" not in location and "\0" not in location
    path = folder / location
    if not inside or ".." in Path(location).parts or not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(
            f"its external data file {location!r} lies outside the folder of the model",
            where=where,
            remedy="Put a copy of the data file beside the model",
        )
    if not path.is_file():
        raise ModelError(
            f"its external data file {location!r} is missing",
            where=where,
            remedy=f"Put it beside the model, in {folder}",
        )
    try:
        offset = int(entries.get("offset", "0") or "0")
        length = int(entries["length"]) if entries.get("length") else None
    except ValueError:
        offset, length = -1, None
    if offset < 0 or (length is not None and length < 0):
        raise ModelError("the offset or length of its external data is no number", where=where, remedy=DAMAGED)
    return path, offset, length


DAMAGED = "The file is damaged; export or download it again"


def array(tensor: TensorProto, folder: Path) -> np.ndarray:
    """Return the values of a tensor; a view into the file where its type allows."""
    where = f"tensor '{tensor.name}'"
    shape = tuple(tensor.dims)
    if any(n < 0 for n in shape) or 8 * math.prod(shape) > LARGEST:
        raise ModelError(f"its shape {list(shape)} is impossible", where=where, remedy=DAMAGED)
    try:
        outside = side_file(tensor, folder)
        if outside is not None:
            return _mapped(tensor, shape, outside)
        if tensor.data_type in PLAIN and tensor.HasField("raw_data"):
            return np.frombuffer(tensor.raw_data, PLAIN[tensor.data_type]).reshape(shape)
        return numpy_helper.to_array(tensor)
    except ModelError:
        raise
    except Exception as error:  # onnx raises many kinds for damaged tensors
        raise ModelError(
            f"its values do not fit its type and shape {list(shape)}", where=where, remedy=DAMAGED
        ) from error


def _mapped(tensor: TensorProto, shape: tuple[int, ...], outside: tuple[Path, int, int | None]) -> np.ndarray:
    """Return a view into a memory-mapped external file."""
    path, offset, length = outside
    size = path.stat().st_size
    if tensor.data_type in PLAIN and length is None:
        length = math.prod(shape) * np.dtype(PLAIN[tensor.data_type]).itemsize
    if offset + (length or 0) > size:
        raise ModelError(
            f"its external data file {path.name!r} is too short", where=f"tensor '{tensor.name}'", remedy=DAMAGED
        )
    if length == 0 or offset == size:
        part = np.zeros(0, np.uint8)
    else:
        part = np.memmap(path, np.uint8, "r").view(np.ndarray)[offset : None if length is None else offset + length]
    if tensor.data_type in PLAIN:
        return part.view(PLAIN[tensor.data_type]).reshape(shape)
    return numpy_helper.to_array(TensorProto(data_type=tensor.data_type, dims=shape, raw_data=part.tobytes()))


def external_bytes(tensor: TensorProto, folder: Path) -> bytes:
    """Return the bytes of an external tensor."""
    outside = side_file(tensor, folder)
    if outside is None:
        raise AssertionError("the tensor is not external")
    path, offset, length = outside
    with path.open("rb") as stream:
        stream.seek(offset)
        if length is None:
            length = array(tensor, folder).nbytes
        return stream.read(length)


def tensor(name: str, values: np.ndarray) -> TensorProto:
    """Return the tensor to store, its values in `raw_data` wherever the type allows."""
    return numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name)


def is_plain(values: np.ndarray) -> bool:
    """Say whether the bytes of an array are those that a file stores."""
    return values.dtype.isnative and values.dtype.str in PLAIN.values() and values.flags.c_contiguous


def header(name: str, values: np.ndarray, location: str, offset: int) -> TensorProto:
    """Return a tensor whose values, an array that is plain, lie in a file beside the model."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    result = TensorProto(name=name, data_type=kind, dims=values.shape)
    make_external(result, location, offset, values.nbytes)
    return result


def make_external(tensor: TensorProto, location: str, offset: int, length: int) -> None:
    """Let a tensor say that its values lie in a file beside the model, and drop them."""
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def graphs_in(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the bodies that a node (If, Loop, Scan) carries."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs
