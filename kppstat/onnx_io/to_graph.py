"""From ONNX's messages to the project's own graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, ValueInfoProto, helper

from kppstat.graph import Graph, Node, Port
from kppstat.onnx_io.normalise import shape_of
from kppstat.onnx_io.roles import canonical
from kppstat.onnx_io.stored import array


def graph_of(proto: GraphProto, constants: Mapping[str, np.ndarray]) -> Graph:
    """Return the graph; its bodies read the constants of the outermost graph by name."""
    return Graph(
        nodes=tuple(_node(n) for n in proto.node),
        inputs=tuple(_port(v) for v in proto.input),
        outputs=tuple(_port(v) for v in proto.output),
        constants=dict(constants),
    )


def _node(proto: NodeProto) -> Node:
    outputs = tuple(proto.output)
    attributes = {a.name: _value(a) for a in proto.attribute}
    name = proto.name or next(filter(None, outputs), "")
    return Node(proto.op_type, tuple(proto.input), outputs, attributes, name, canonical(proto.domain))


def _value(attribute: AttributeProto) -> Any:
    """Return an attribute as a plain value: str for strings, tuple for lists, array for tensors, Graph for bodies."""
    match attribute.type:
        case AttributeProto.GRAPH:
            return graph_of(attribute.g, {})
        case AttributeProto.GRAPHS:
            return tuple(graph_of(g, {}) for g in attribute.graphs)
        case AttributeProto.TENSOR:
            return array(attribute.t, Path())
        case AttributeProto.STRING:
            return attribute.s.decode("utf-8", "replace")
        case AttributeProto.STRINGS:
            return tuple(s.decode("utf-8", "replace") for s in attribute.strings)
        case AttributeProto.INTS | AttributeProto.FLOATS:
            return tuple(helper.get_attribute_value(attribute))
    return helper.get_attribute_value(attribute)


def _port(value: ValueInfoProto) -> Port:
    kind = value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else 0
    known = helper.get_all_tensor_dtypes()
    dtype = helper.tensor_dtype_to_np_dtype(kind).name if kind in known else value.type.WhichOneof("value") or "unknown"
    return Port(value.name, dtype, shape_of(value))
