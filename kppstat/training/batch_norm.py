"""Batch normalisation in training: the statistics of the mini-batch, and their refresh afterwards.

Running statistics are constants of the graph. While training, each batch normalisation uses the statistics of its
mini-batch, under device variation like everything else. After each epoch the running statistics are measured once more
on training inputs without device variation, as TRICE does (arXiv 2307.15853; CIM_CW ``utils.TUpdateBN``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from kppstat.graph import Graph, Node
from kppstat.propagate import forward

_MEAN, _VARIANCE = 3, 4


def batch_norms(graph: Graph) -> list[Node]:
    """Return the batch normalisations whose running statistics are constants."""
    return [
        n
        for n in graph.nodes
        if n.op == "BatchNormalization" and all(n.inputs[i] in graph.constants for i in (_MEAN, _VARIANCE))
    ]


def statistics_of(graph: Graph) -> list[str]:
    """Return the names of the running means and variances."""
    return list(dict.fromkeys(n.inputs[i] for n in batch_norms(graph) for i in (_MEAN, _VARIANCE)))


def in_training(graph: Graph) -> Graph:
    """Return the graph with batch normalisations that use, and also return, the statistics of the mini-batch."""
    own = {id(n) for n in batch_norms(graph)}
    nodes = tuple(_measuring(n) if id(n) in own else n for n in graph.nodes)
    return replace(graph, nodes=nodes)


def _measuring(node: Node) -> Node:
    # With momentum 0 the new running statistics are those of this mini-batch alone.
    outputs = (node.outputs[0], *_measured(node))
    return replace(node, outputs=outputs, attributes={**node.attributes, "training_mode": 1, "momentum": 0.0})


def _measured(node: Node) -> tuple[str, str]:
    return f"{node.outputs[0]}/batch mean", f"{node.outputs[0]}/batch variance"


def measured(graph: Graph, values: Mapping[str, Tensor], inputs: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """Return the names of all running statistics and, in their place, those of one mini-batch; gradients flow through.

    Parameters
    ----------
    graph : Graph
        As `in_training` returned it.
    values, inputs : mapping of str to Tensor
    """
    nodes = [n for n in graph.nodes if n.op == "BatchNormalization" and len(n.outputs) == 3]
    if not nodes:
        return []
    found = forward(graph, inputs, values, keep=[name for n in nodes for name in n.outputs[1:]])
    return [
        (n.inputs[place], found[name])
        for n in nodes
        for place, name in zip((_MEAN, _VARIANCE), n.outputs[1:], strict=True)
    ]


def measure(graph: Graph, values: Mapping[str, Tensor], batches: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the running statistics over all inputs: the mean, and the variance within and between mini-batches.

    Parameters
    ----------
    graph : Graph
        As `in_training` returned it.
    values : mapping of str to Tensor
    batches : iterable of dict of str to Tensor
        Mini-batches of equal size.
    """
    found: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        for inputs in batches:
            for name, value in measured(graph, values, inputs):
                found.setdefault(name, []).append(value)
    result: dict[str, Tensor] = {}
    for n in graph.nodes:
        if n.op == "BatchNormalization" and len(n.outputs) == 3:
            m, v = torch.stack(found[n.inputs[_MEAN]]), torch.stack(found[n.inputs[_VARIANCE]])
            result[n.inputs[_MEAN]] = m.mean(0)
            result[n.inputs[_VARIANCE]] = v.mean(0) + m.var(0, correction=0)
    return result
