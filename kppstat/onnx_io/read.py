"""From a path to a checked ONNX model and its hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, inliner

from kppstat.errors import ModelError
from kppstat.onnx_io.stored import graphs_in, side_file

CHUNK = 1 << 22
LIMIT = 2**31 - 1  # protobuf's own limit on one message


@dataclass(frozen=True, eq=False)
class File:
    """A model as it lies on the disk: `source` is what onnxruntime opens; `proto` is decoded, without external data."""

    path: Path
    source: bytes | Path
    proto: ModelProto
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder that external data may lie in."""
        return self.path.parent


def read(path: Path) -> File:
    """Read, decode and check a model file; `ModelError` if it is anything else."""
    data = _bytes(path)
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, whose module depends on its version
        raise ModelError(_what_it_is(data), where=str(path), remedy=GIVE_ONNX) from error
    if not proto.graph.node:
        what = "the file holds no ONNX graph" if not proto.ByteSize() else "the model has no operators"
        raise ModelError(what, where=str(path), remedy=GIVE_ONNX)
    outside = external_files(proto, path.parent)
    source = path if outside else data
    sha256 = _sha256(data, outside, path.parent)
    try:
        onnx.checker.check_model(path if outside else proto)
        if not proto.functions:
            return File(path, source, proto, sha256)
        inlined = inliner.inline_local_functions(proto)
    except Exception as error:  # ValidationError, and what its bindings raise for damaged files
        raise ModelError(
            f"onnx's checker refuses it: {gist(error)}", where=str(path), remedy="Export the model again"
        ) from error
    note = f"{len(proto.functions)} functions of the file were put in place of their calls."
    return File(path, source, inlined, sha256, (note,))


GIVE_ONNX = "Give an ONNX model file"


def _bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ModelError("this is a folder", where=str(path), remedy="Give the .onnx file in it")
        if path.exists() and not path.is_file():
            raise ModelError("this is no ordinary file", where=str(path), remedy=GIVE_ONNX)
        if path.stat().st_size > LIMIT:
            raise ModelError(
                "a single file above 2 GB cannot be an ONNX model",
                where=str(path),
                remedy="Save the model with external data",
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError("no such file", where=str(path), remedy="Check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"cannot be read: {reason}", where=str(path), remedy=GIVE_ONNX) from error
    if not data:
        raise ModelError("the file is empty", where=str(path), remedy=GIVE_ONNX)
    return data


def _what_it_is(data: bytes) -> str:
    """Say what a file is that does not decode as ONNX."""
    kinds = {
        b"PK\x03\x04": "this is a zip archive (.npz, .pt or .zip), no ONNX model",
        b"\x93NUMPY": "this is a NumPy array, no ONNX model",
        b"\x89HDF": "this is an HDF5 file, no ONNX model",
        b"\x1f\x8b": "this is a gzip archive; unpack it first",
        b"version https://git-lfs": "this is a Git LFS pointer; fetch the file itself with `git lfs pull`",
    }
    for magic, what in kinds.items():
        if data.startswith(magic):
            return what
    if data[4:8] == b"ORTM":
        return "this is onnxruntime's own format (.ort), no ONNX model"
    return "this is no ONNX model, or a damaged one"


def every_tensor(proto: ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor that a model stores, those in bodies and functions included."""
    yield from _tensors(proto.graph)
    for function in proto.functions:
        yield from _tensors_of(function.node)


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of(graph.node)


def _tensors_of(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for body in graphs_in(node):
            yield from _tensors(body)


def external_files(proto: ModelProto, folder: Path) -> list[Path]:
    """Return the external data files of a model, sorted, each once."""
    outside = (side_file(t, folder) for t in every_tensor(proto))
    return sorted({found[0] for found in outside if found is not None})


def _sha256(data: bytes, outside: list[Path], folder: Path) -> str:
    """Hash the file and then its external data, in the order of their names."""
    digest = hashlib.sha256(data)
    for path in outside:
        digest.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as stream:
            while block := stream.read(CHUNK):
                digest.update(block)
    return digest.hexdigest()


def gist(error: BaseException) -> str:
    """Return the first telling line of an error of onnx or onnxruntime, cut to a readable length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    text = re.sub(r"^(\[\w+\])?( : \d+ : \w+ :)? *", "", text)  # such as "[ONNXRuntimeError] : 1 : FAIL : "
    text = re.sub(r"/\S+:\d+ .*?\) (?=\S)", "", text).rstrip(". ")  # a source line and function of onnxruntime
    return text if len(text) <= 200 else text[:197] + "..."
