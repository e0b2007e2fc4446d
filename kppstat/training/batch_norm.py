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
    nodes = [n for n in graph.nodes if n.op == "BatchNormalization" and len(n.outputs) == 3]
    names = [name for n in nodes for name in n.outputs[1:]]
    means: dict[str, list[Tensor]] = {n.inputs[_MEAN]: [] for n in nodes}
    variances: dict[str, list[Tensor]] = {n.inputs[_VARIANCE]: [] for n in nodes}
    with torch.no_grad():
        for inputs in batches:
            found = forward(graph, inputs, values, keep=names)
            for n in nodes:
                means[n.inputs[_MEAN]].append(found[n.outputs[1]])
                variances[n.inputs[_VARIANCE]].append(found[n.outputs[2]])
    result: dict[str, Tensor] = {}
    for n in nodes:
        m, v = torch.stack(means[n.inputs[_MEAN]]), torch.stack(variances[n.inputs[_VARIANCE]])
        result[n.inputs[_MEAN]] = m.mean(0)
        result[n.inputs[_VARIANCE]] = v.mean(0) + m.var(0, correction=0)
    return result
