"""Where the prediction ends: before the functions that only turn logits into probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kppstat.graph import Graph, Port

_TAIL = {"Softmax", "LogSoftmax", "Sigmoid", "Identity"}


def split(graph: Graph) -> tuple[Graph, Graph | None]:
    """Return the network up to its logits, and what follows them (None where nothing does).

    Logits are nearly Gaussian over instances; probabilities near 0 and 1 are not.

    Examples
    --------
    >>> from kppstat.graph import Node
    >>> nodes = (Node("Gemm", ("x", "w"), ("a",)), Node("Softmax", ("a",), ("y",)))
    >>> head, tail = split(Graph(nodes, (), (Port("y", "float32", None),), {}))
    >>> head.outputs[0].name, [node.op for node in tail.nodes]
    ('a', ['Softmax'])
    """
    maker = {name: node for node in graph.nodes for name in node.outputs}
    first = graph.outputs[0]
    name, tail = first.name, []
    while name in maker and maker[name].op in _TAIL:
        tail.append(maker[name])
        name = maker[name].inputs[0]
    needed, kept = {name}, []
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
            needed.update(n for body in node.attributes.values() if isinstance(body, Graph) for n in _read(body))
    port = Port(name, first.dtype, first.shape)
    head = replace(graph, nodes=tuple(reversed(kept)), outputs=(port,))
    return head, Graph(tuple(reversed(tail)), (port,), (first,), {}) if tail else None


def logits_from(outputs: np.ndarray, tail: Graph | None) -> np.ndarray:
    """Return the logits behind outputs, up to a constant for each input.

    Examples
    --------
    >>> from kppstat.graph import Node
    >>> tail = Graph((Node("Softmax", ("a",), ("y",)),), (), (), {})
    >>> logits_from(np.array([[0.5, 0.25]]), tail).round(3).tolist()
    [[-0.693, -1.386]]
    """
    ops = {node.op for node in tail.nodes} if tail is not None else set()
    least = np.finfo(np.float32).tiny
    if "Softmax" in ops:
        return np.log(np.maximum(outputs, least))
    if "Sigmoid" in ops:
        return np.log(np.maximum(outputs, least)) - np.log(np.maximum(1 - outputs, least))
    return outputs


def _read(body: Graph) -> set[str]:
    names = {p.name for p in body.outputs}
    for node in body.nodes:
        names.update(node.inputs)
    return names
