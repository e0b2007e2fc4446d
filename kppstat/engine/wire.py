"""Look into a serialised ONNX model without building it in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# Field numbers of onnx.proto: of ModelProto, of GraphProto, of NodeProto, and of TensorProto.
_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_NODE_NAME = 3
_DATA_TYPE, _NAME, _RAW_DATA = 2, 8, 9


@dataclass(frozen=True)
class Initializer:
    """Where the values of an initializer lie: bytes `start` to `stop`; `kind` is its ONNX data type."""

    name: str
    kind: int
    start: int
    stop: int


def initializers(model: bytes) -> list[Initializer]:
    """Return the initializers of the main graph that have raw data.

    Raises
    ------
    ValueError
        If the bytes are no protobuf message.
    """
    parts = [_initializer(model, start, stop) for number, start, stop in _graph(model) if number == _INITIALIZER]
    return [entry for part in parts for entry in part]


def computation(model: bytes) -> list[bytes]:
    """Return the nodes and initializers of the main graph as bytes, without the names of nodes, which mean nothing.

    Raises
    ------
    ValueError
        If the bytes are no protobuf message.
    """
    found = []
    for number, start, stop in _graph(model):
        if number == _INITIALIZER:
            found.append(model[start:stop])
        elif number == _NODE:
            fields = _fields(model, start, stop)
            found.append(b"".join(bytes([inner]) + model[a:b] for inner, a, b in fields if inner != _NODE_NAME))
    return found


def _graph(model: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the fields of the main graph, which may be written in several parts."""
    for number, start, stop in _fields(model, 0, len(model)):
        if number == _GRAPH:
            yield from _fields(model, start, stop)


def _initializer(model: bytes, start: int, stop: int) -> list[Initializer]:
    name, kind, raw = "", 0, None
    for number, first, last in _fields(model, start, stop):
        if number == _NAME:
            name = model[first:last].decode()
        elif number == _DATA_TYPE:
            kind, _ = _varint(model, first)
        elif number == _RAW_DATA:
            raw = first, last
    return [] if raw is None else [Initializer(name, kind, *raw)]


def _fields(data: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of the fields of a message (Protocol Buffers documentation, "Encoding")."""
    while at < stop:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            end = _varint(data, at)[1]
        elif kind == 2:
            size, at = _varint(data, at)
            end = at + size
        elif kind in (1, 5):
            end = at + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"wire type {kind}")
        yield key >> 3, at, end
        at = end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
