"""Write new weights into a copy of the user's file, and leave everything else in it as it is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from onnx import GraphProto, NodeProto, SparseTensorProto, TensorProto, helper

from kppstat.errors import ModelError
from kppstat.onnx_io.lift import Home, Lifted, lift
from kppstat.onnx_io.model import Model
from kppstat.onnx_io.read import File, every_tensor, read
from kppstat.onnx_io.stored import PAGE, external_bytes, make_external, tensor


def save(model: Model, weights: Mapping[str, np.ndarray], out: str | Path) -> None:
    """Write the model's file with other weights; its nodes, names, metadata and opset stay.

    A weight is written to where the file stores it: an initializer, a Constant node, a body of If, Loop or Scan. Where
    the file computes it from constants (DequantizeLinear, say), a Constant node takes the place of that computation.
    If batch normalisations were folded on loading, the weights are unfolded again. External data go to one file beside
    `out`, named after it with ``.data`` behind.

    Parameters
    ----------
    model : Model
        What `load` returned. Its file must still be there, unchanged.
    weights : mapping of str to ndarray
        New values by the names of `Model.weights`, each in its shape; those left out keep their values.
    out : str or Path
        The file to write. An existing one is replaced only when the new one is complete.

    Raises
    ------
    ModelError
        If the file has changed, a name or shape does not fit, a value is not finite, or `out` cannot be written.

    Examples
    --------
    >>> import onnx.parser, tempfile
    >>> from kppstat.onnx_io import load
    >>> text = \'\'\'<ir_version: 8, opset_import: ["" : 17]>
    ... tiny (float[N, 2] x) => (float[N, 1] y) <float[2, 1] w = {1.0, -2.0}> { y = MatMul(x, w) }\'\'\'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     onnx.save(onnx.parser.parse_model(text), f"{folder}/tiny.onnx")
    ...     model = load(f"{folder}/tiny.onnx")
    ...     save(model, {"w": 2 * model.values()["w"]}, f"{folder}/twice.onnx")
    ...     load(f"{folder}/twice.onnx").values()["w"].ravel().tolist()
    [2.0, -4.0]
    """
    out = Path(out)
    file = read(model.path)
    if file.sha256 != model.sha256:
        raise ModelError("the file has changed since it was loaded", where=str(model.path), remedy="Load it again")
    lifted = lift(file.proto, file.folder)
    for name, values in weights.items():
        _put(lifted, model, name, np.asarray(values))
    try:
        _write(file, out)
    except OSError as error:
        raise ModelError(
            f"cannot be written: {error.strerror or error}",
            where=str(out),
            remedy="Check the folder and its free space",
        ) from error


def _put(lifted: Lifted, model: Model, name: str, values: np.ndarray) -> None:
    """Put the values of one weight into the message of the file that stores it."""
    where = f"weight '{name}'"
    intended = {w.name: w.shape for w in model.weights}
    if name not in intended or name not in lifted.homes:
        raise ModelError("the file has no such weight", where=where, remedy="Give names of Model.weights")
    if values.shape != intended[name]:
        raise ModelError(f"has shape {values.shape}, not {intended[name]}", where=where)
    if name in model.factors:
        factor = model.factors[name]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(factor == 0, lifted.constants[name], values / factor)
    with np.errstate(over="ignore"):
        values = values.astype(model.graph.constants[name].dtype)
    if not np.isfinite(values.astype(np.float64)).all():
        raise ModelError(f"has values that {values.dtype.name} cannot hold", where=where, remedy="Write finite values")
    for same in [name, *(alias for alias, stands_for in model.aliases.items() if stands_for == name)]:
        _store(lifted.homes[same], values)


def _store(home: Home, values: np.ndarray) -> None:
    """Put values where the file has a constant, or where it computes one."""
    match home.message:
        case TensorProto() as stored:
            _overwrite(stored, values)
        case SparseTensorProto() as sparse:
            home.graph.sparse_initializer.remove(sparse)
            home.graph.initializer.append(tensor(home.name, values))
        case NodeProto(op_type="Constant") as node if len(node.attribute) and node.attribute[0].name == "value":
            _overwrite(node.attribute[0].t, values)
        case NodeProto() as node:
            _replace(home.graph, node, home.name, values)


def _overwrite(stored: TensorProto, values: np.ndarray) -> None:
    """Replace the values of a tensor; external ones wait in `raw_data` until they are written."""
    for key in ("float_data", "double_data", "int32_data"):
        stored.ClearField(key)  # the other fields that a float type may be stored in
    stored.raw_data = tensor("", values).raw_data


def _replace(graph: GraphProto, node: NodeProto, name: str, values: np.ndarray) -> None:
    """Let a Constant node give the value `name` that `node` computed."""
    constant = helper.make_node("Constant", [], [name], name=node.name, value=tensor(name, values))
    if len([output for output in node.output if output]) == 1:
        node.CopyFrom(constant)
        return
    position = list(graph.node).index(node)
    # Left empty, the output would say that it is not wanted, but onnxruntime 1.31 crashes on a Split like that.
    node.output[list(node.output).index(name)] = f"{name}/replaced"
    constant.name = f"{node.name}/{name}"
    graph.node.insert(position, constant)


def _write(file: File, out: Path) -> None:
    """Write the model, and its external data to a file of their own; each appears under its name when complete."""
    outside = [t for t in every_tensor(file.proto) if t.data_location == TensorProto.EXTERNAL]
    if outside:
        data = out.with_name(f"{out.name}.data")
        with _replacing(data) as stream:
            for stored in outside:
                _move(stored, file.folder, data.name, stream)
    with _replacing(out) as stream:
        stream.write(file.proto.SerializeToString())


def _move(stored: TensorProto, folder: Path, location: str, stream: IO[bytes]) -> None:
    """Append the values of an external tensor to `stream`, and let it point there."""
    if not stored.HasField("raw_data"):
        stored.raw_data = external_bytes(stored, folder)
    stream.write(bytes(-stream.tell() % PAGE))
    offset = stream.tell()
    stream.write(stored.raw_data)
    make_external(stored, location, offset, len(stored.raw_data))


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file beside `path` that takes its name once all is on the disk, and vanishes on an error."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
