"""A change of order that keeps the function and helps its moments."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from kppstat.graph import Graph, Node

# Never decreasing, whatever their attributes (a slope below zero would be odd but is checked).
_RISING = {"Relu", "Clip", "Sigmoid", "HardSigmoid", "Tanh", "Elu", "Selu", "Celu", "Softplus", "Softsign", "LeakyRelu"}
_MAXIMA = {"MaxPool", "GlobalMaxPool"}


def maxima_first(graph: Graph) -> Graph:
    """Return the graph with each maximum before the rising function that it follows: max f(x) = f(max x).

    Clark's formulas hold for Gaussians, which a sum of many weights is and a rectified one is not.

    Examples
    --------
    >>> from kppstat.graph import Graph, Node, Port
    >>> nodes = (Node("Relu", ("x",), ("a",)), Node("GlobalMaxPool", ("a",), ("y",)))
    >>> [node.op for node in maxima_first(Graph(nodes, (), (Port("y", "float32", None),), {})).nodes]
    ['GlobalMaxPool', 'Relu']
    """
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    uses.update(port.name for port in graph.outputs)
    nodes = list(graph.nodes)
    moved = True
    while moved:  # a maximum may pass several functions
        moved = False
        maker = {name: i for i, node in enumerate(nodes) for name in node.outputs}
        for j, pool in enumerate(nodes):
            i = maker.get(pool.inputs[0]) if pool.op in _MAXIMA and len(pool.outputs) == 1 else None
            if i is None or not _rises(nodes[i]) or uses[pool.inputs[0]] != 1:
                continue
            function = nodes[i]
            between = f"{pool.inputs[0]}/of the maximum"
            uses[between] = 1
            # The pool takes the later place, so that everything it reads exists; the function follows it.
            nodes[j] = replace(pool, inputs=(function.inputs[0], *pool.inputs[1:]), outputs=(between,))
            nodes.insert(j + 1, replace(function, inputs=(between, *function.inputs[1:]), outputs=pool.outputs))
            del nodes[i]
            moved = True
            break
    return replace(graph, nodes=tuple(nodes))


def _rises(node: Node) -> bool:
    if node.op not in _RISING or node.domain not in {"", "ai.onnx"}:
        return False
    slopes = {"LeakyRelu": "alpha", "HardSigmoid": "alpha", "Elu": "alpha", "Celu": "alpha", "Selu": "gamma"}
    name = slopes.get(node.op)
    return name is None or node.attributes.get(name, 1.0) >= 0
