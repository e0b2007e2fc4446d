"""Lift every constant out of a model: initializers, Constant nodes, and those in bodies of If, Loop and Scan.

What stays is a skeleton that reads all constants by name, and a table of arrays. Names are those of the file; a value
of a body whose name occurs elsewhere too gets a number behind it, so that no two values of the skeleton share a name.
The file's own message of each constant is remembered, so that new weights can be written back to where they came from.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    ValueInfoProto,
    helper,
)

from kppstat.errors import ModelError
from kppstat.onnx_io.stored import array, graphs_in

LARGEST_DENSE = 1 << 28  # elements that a sparse tensor may unfold to


@dataclass(frozen=True, eq=False)
class Home:
    """Where the file has a value: the graph, the message that stores or computes it, and its name there."""

    graph: GraphProto
    message: TensorProto | SparseTensorProto | NodeProto
    name: str


@dataclass(eq=False)
class Lifted:
    """A model without its constants, and the constants."""

    skeleton: ModelProto
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    homes: dict[str, Home] = field(default_factory=dict)

    def copy(self) -> Lifted:
        """Return a copy that can be changed; the arrays are shared and never changed in place."""
        skeleton = ModelProto()
        skeleton.CopyFrom(self.skeleton)
        return Lifted(skeleton, dict(self.constants), self.homes)


def lift(proto: ModelProto, folder: Path) -> Lifted:
    """Return the skeleton and the constants of a model; the model itself is not changed."""
    lifted = Lifted(ModelProto())
    for name in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        if proto.HasField(name):
            setattr(lifted.skeleton, name, getattr(proto, name))
    lifted.skeleton.opset_import.extend(proto.opset_import)
    _Lifting(lifted, folder, Counter(names_in(proto.graph))).graph(proto.graph, lifted.skeleton.graph, {}, top=True)
    return lifted


def names_in(graph: GraphProto) -> Iterator[str]:
    """Yield every name that a graph or one of its bodies defines, once for each definition."""
    inputs = {v.name for v in graph.input}
    yield from inputs
    yield from (t.name for t in graph.initializer if t.name not in inputs)
    yield from (t.values.name for t in graph.sparse_initializer)
    for node in graph.node:
        yield from (name for name in node.output if name)
        for body in graphs_in(node):
            yield from names_in(body)


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield the nodes of a graph and of its bodies."""
    for node in graph.node:
        yield node
        for body in graphs_in(node):
            yield from all_nodes(body)


def reads(graph: GraphProto) -> Iterator[str]:
    """Yield every name that is read, once for each reader: by a node, or as an output of a graph or body."""
    for node in all_nodes(graph):
        yield from node.input
        for body in graphs_in(node):
            yield from (v.name for v in body.output)
    yield from (v.name for v in graph.output)


@dataclass(eq=False)
class _Lifting:
    lifted: Lifted
    folder: Path
    defined: Counter[str]

    def graph(self, old: GraphProto, new: GraphProto, outer: Mapping[str, str], *, top: bool = False) -> None:
        """Copy `old` into `new` without constants; `outer` maps names of enclosing graphs to their new names."""
        names = {k: v for k, v in outer.items() if k not in _own_names(old)}
        outputs = {v.name for v in old.output}
        stored = {t.name for t in old.initializer} | {t.values.name for t in old.sparse_initializer}
        new.name = old.name

        def rename(value: ValueInfoProto) -> ValueInfoProto:
            copy = ValueInfoProto()
            copy.CopyFrom(value)
            if value.name not in names:
                names[value.name] = self.unique(value.name, keep=top)
            copy.name = names[value.name]
            return copy

        def take(name: str, values: np.ndarray, message: TensorProto | SparseTensorProto | NodeProto) -> None:
            if name in outputs:
                self.defined[name] += 1  # by the Identity below
            unique = self.unique(name, keep=top and name not in outputs)
            self.lifted.constants[unique] = values
            self.lifted.homes[unique] = Home(old, message, name)
            if name in outputs:  # a graph's output must come from a node
                names[name] = name if top else self.unique(name, keep=False)
                new.node.append(helper.make_node("Identity", [unique], [names[name]], name=f"{unique}/output"))
            else:
                names[name] = unique

        new.input.extend(rename(v) for v in old.input if v.name not in stored)
        for tensor in old.initializer:
            take(tensor.name, array(tensor, self.folder), tensor)
        for sparse in old.sparse_initializer:
            take(sparse.values.name, dense(sparse, self.folder), sparse)
        for node in old.node:
            values = constant_of(node, self.folder)
            if values is not None:
                take(node.output[0], values, node)
                continue
            for name in filter(None, node.output):
                names[name] = self.unique(name, keep=top)
                self.lifted.homes[names[name]] = Home(old, node, name)
            new.node.append(self.node(node, names))
        new.output.extend(rename(v) for v in old.output)

    def node(self, old: NodeProto, names: Mapping[str, str]) -> NodeProto:
        """Copy a node with its names mapped and its bodies lifted."""
        new = NodeProto(op_type=old.op_type, domain=old.domain, name=old.name, overload=old.overload)
        new.input.extend(names.get(name, name) for name in old.input)
        new.output.extend(names.get(name, name) for name in old.output)
        for attribute in old.attribute:
            if attribute.type not in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
                new.attribute.append(attribute)
                continue
            copy = new.attribute.add(name=attribute.name, type=attribute.type)
            if attribute.type == AttributeProto.GRAPH:
                self.graph(attribute.g, copy.g, names)
            for body in attribute.graphs:
                self.graph(body, copy.graphs.add(), names)
        return new

    def unique(self, name: str, *, keep: bool) -> str:
        """Return the name itself if `keep` or if no other value has it, or else the name with a number behind it."""
        if keep or self.defined[name] == 1:
            return name
        count = 2
        while self.defined[f"{name}_{count}"]:
            count += 1
        self.defined[f"{name}_{count}"] = 2  # taken for good
        return f"{name}_{count}"


def _own_names(body: GraphProto) -> set[str]:
    own = {v.name for v in body.input} | {t.name for t in body.initializer}
    return own | {name for node in body.node for name in node.output}


def constant_of(node: NodeProto, folder: Path) -> np.ndarray | None:
    """Return the value of a Constant node, or None for any other node."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or len(node.output) != 1:
        return None
    if len(node.attribute) != 1:
        raise ModelError(f"Constant '{node.output[0]}' has no single value", remedy="Export the model again")
    attribute = node.attribute[0]
    match attribute.name:
        case "value":
            return array(attribute.t, folder)
        case "sparse_value":
            return dense(attribute.sparse_tensor, folder)
        case "value_float":
            return np.array(attribute.f, np.float32)
        case "value_floats":
            return np.array(attribute.floats, np.float32)
        case "value_int":
            return np.array(attribute.i, np.int64)
        case "value_ints":
            return np.array(attribute.ints, np.int64)
        case "value_string":
            return np.array(attribute.s.decode("utf-8", "replace"), object)
        case "value_strings":
            return np.array([s.decode("utf-8", "replace") for s in attribute.strings], object)
    return None


def dense(sparse: SparseTensorProto, folder: Path) -> np.ndarray:
    """Unfold a sparse tensor, whose indices are either linear or one row of coordinates per value."""
    values, indices = array(sparse.values, folder), array(sparse.indices, folder)
    shape = tuple(sparse.dims)
    if any(n < 0 for n in shape) or math.prod(shape) > LARGEST_DENSE:
        raise ModelError(f"the sparse tensor '{sparse.values.name}' has the impossible shape {list(shape)}")
    result = np.zeros(shape, values.dtype)
    try:
        result[tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, shape)] = values
    except (IndexError, ValueError) as error:
        raise ModelError(f"the sparse tensor '{sparse.values.name}' has indices outside its shape") from error
    return result
