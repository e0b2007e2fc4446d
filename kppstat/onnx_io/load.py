"""Load an ONNX file."""

from __future__ import annotations

from pathlib import Path

from kppstat.errors import ModelError
from kppstat.onnx_io.lift import lift
from kppstat.onnx_io.model import Model
from kppstat.onnx_io.normalise import IR_VERSION, normalise
from kppstat.onnx_io.read import read
from kppstat.onnx_io.to_graph import graph_of
from kppstat.onnx_io.weights import find


def load(path: str | Path, *, fold_batch_norm: bool = False) -> Model:
    """Load an ONNX file."""
    path = Path(path)
    file = read(path)
    notes: list[str] = []
    lifted = normalise(lift(file.proto, file.folder), notes)
    lifted.skeleton.ir_version = max(lifted.skeleton.ir_version, IR_VERSION)
    graph = graph_of(lifted.skeleton.graph, lifted.constants)
    found = find(graph)
    if not found.weights:
        raise ModelError("no weight that device variation could act on", where=str(path))
    first = graph.inputs[0].shape
    batch = first[0] if first else None
    return Model(path, file.sha256, graph, found.weights, found.exact, (*notes, *found.notes), batch, lifted.skeleton)
