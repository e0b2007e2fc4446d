"""Which constants carry device variation, and why the others do not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kppstat.errors import ModelError
from kppstat.graph import ExactTensor, Graph, Node, Weight
from kppstat.onnx_io.roles import FLOATS, VIEWS, canonical, packed_inputs, reason, weight_inputs

LISTED = 2  # elements from which on an exact tensor is listed: single numbers are settings of the graph

#: Beyond this, squares of the deviations that noise models allow, and variances with them, overflow in float32.
LARGEST = 1e12


@dataclass(eq=False)
class Found:
    """The weights and the exact tensors of a graph, in the order in which the nodes read them."""

    weights: tuple[Weight, ...] = ()
    exact: tuple[ExactTensor, ...] = ()
    notes: list[str] = field(default_factory=list)


def all_nodes(graph: Graph) -> Iterator[Node]:
    """Yield the nodes of a graph in running order, those of a body after the node that holds it."""
    for node in graph.nodes:
        yield node
        for body in bodies_of(node):
            yield from all_nodes(body)


def bodies_of(node: Node) -> list[Graph]:
    """Return the bodies of If, Loop and Scan."""
    return [value for value in node.attributes.values() if isinstance(value, Graph)]


def label(node: Node) -> str:
    """Return how a node is named to the user."""
    return f"{node.op} '{node.name}'"


def find(graph: Graph) -> Found:
    """Sort the constants of a graph into weights and exact tensors."""
    constants = graph.constants
    producers = {name: node for node in all_nodes(graph) for name in node.outputs if name}
    consumers: dict[str, list[str]] = defaultdict(list)
    readers: dict[str, tuple[Node, int]] = {}
    found = Found()
    for node in all_nodes(graph):
        weighty = weight_inputs(node.op, node.domain)
        for index, name in enumerate(node.inputs):
            root = stored_root(name, producers, constants)
            if root is None:
                continue
            if index in weighty and constants[root].dtype.name in FLOATS and constants[root].size:
                if label(node) not in consumers[root]:
                    consumers[root].append(label(node))
            elif node.op not in VIEWS or node.domain not in ("", "ai.onnx") or index > 0:
                previous = readers.get(root)
                if previous is None or index in packed_inputs(node.op, node.domain):
                    readers[root] = (node, index)
        for body in bodies_of(node):
            for port in body.outputs:  # a constant that a body returns
                root = stored_root(port.name, producers, constants)
                if root is not None:
                    readers.setdefault(root, (node, -1))
    found.notes.extend(_unfolded(graph, producers))
    weights: list[Weight] = []
    for root, labels in consumers.items():
        values = constants[root]
        if not labels:
            continue
        weights.append(Weight(root, len(weights), values.shape, largest(root, values, labels[0]), tuple(labels)))
        if weights[-1].max_abs == 0:
            found.notes.append(f"Weight '{root}' is zero throughout, so device variation leaves it at zero.")
        if root in readers:
            node, index = readers[root]
            found.notes.append(f"Weight '{root}' is also read by {label(node)}, which then sees its device variation.")
    found.weights = tuple(weights)
    found.exact = tuple(_exact(graph, {w.name for w in weights}, readers))
    return found


def _unfolded(graph: Graph, producers: Mapping[str, Node]) -> Iterator[str]:
    """Name the weights that the graph computes from constants in a way that folding does not know."""
    live = {p.name for p in graph.inputs}
    for node in all_nodes(graph):
        bodies = bodies_of(node)
        live.update(port.name for body in bodies for port in body.inputs)
        if bodies or not node.inputs or not live.isdisjoint(node.inputs):
            live.update(node.outputs)
    for node in all_nodes(graph):
        for index in weight_inputs(node.op, node.domain):
            name = node.inputs[index] if index < len(node.inputs) else ""
            if name and name not in live and stored_root(name, producers, graph.constants) is None:
                yield (
                    f"The weight '{name}' of {label(node)} carries no device variation: {label(producers[name])} "
                    "computes it from constants at run time; export the model with constant folding."
                )


def stored_root(name: str, producers: Mapping[str, Node], constants: Mapping[str, np.ndarray]) -> str | None:
    """Follow views back from a value to the constant that it shows, or return None if it shows none."""
    while name not in constants:
        node = producers.get(name)
        if node is None or node.op not in VIEWS or canonical(node.domain) or not node.inputs:
            return None
        name = node.inputs[0]
    return name


def largest(name: str, values: np.ndarray, consumer: str) -> float:
    """Return the largest absolute value of a weight; `ModelError` if one is no number, or overflows."""
    most = max(abs(float(values.max())), abs(float(values.min())))
    if not np.isfinite(most):
        raise ModelError(
            f"holds {'NaN' if np.isnan(most) else 'infinite'} values",
            where=f"weight '{name}' of {consumer}",
            remedy="Train or export the model again",
        )
    if most > LARGEST:
        raise ModelError(
            f"reaches {most:.3g}, and what is computed of its deviations would overflow",
            where=f"weight '{name}' of {consumer}",
            remedy=f"Scale it to below {LARGEST:g}, and what reads its product back",
        )
    return most


def _exact(graph: Graph, weights: set[str], readers: Mapping[str, tuple[Node, int]]) -> Iterator[ExactTensor]:
    """Yield every other constant that holds real numbers, or packed weights, with the reason; unread ones last."""
    for name, (node, index) in readers.items():
        values = graph.constants[name]
        packed = index in packed_inputs(node.op, node.domain)
        if name not in weights and values.size >= LISTED and (packed or real(values)):
            yield ExactTensor(name, values.shape, f"{reason(node.op, index, node.domain)} ({label(node)})")
    for node in all_nodes(graph):
        for key, value in node.attributes.items():
            if isinstance(value, tuple) and len(value) >= LISTED and isinstance(value[0], float):
                reason_ = f"an attribute of {node.op}, kept in digital form"
                yield ExactTensor(f"{node.name}.{key}", (len(value),), reason_)
            elif isinstance(value, np.ndarray) and value.size >= LISTED and real(value):
                yield ExactTensor(f"{node.name}.{key}", value.shape, f"an attribute of {node.op}, kept in digital form")
    for name, values in graph.constants.items():
        if name not in readers and name not in weights and values.size >= LISTED and real(values):
            yield ExactTensor(name, values.shape, "read by no operator that takes part in the outputs")


def why_none(exact: Sequence[ExactTensor]) -> str:
    """Say why a model has no weight."""
    what = "no weight that device variation can act on"
    return f"{what}; its tensor '{exact[0].name}' is {exact[0].reason}" if exact else what


def real(values: np.ndarray) -> bool:
    """Say whether an array holds real numbers, 8-bit floats included."""
    return values.dtype.kind not in "biuOUS" and not values.dtype.name.startswith(("int", "uint"))
