"""The second derivative of the loss by each weight, by one backward pass of squares: the ranking of SWIM."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kppstat.errors import ModelError
from kppstat.graph import Node
from kppstat.ops import lookup
from kppstat.propagate.forward import apply
from kppstat.worst_case.network import Network

_PLACES = {"view", "sum", "same"}  # families whose derivatives are 0, 1 or -1
_PICKS = {"MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceSum"}  # and operators
_AVERAGES = {"AveragePool", "GlobalAveragePool", "ReduceMean"}
_SCALES = {"BatchNormalization", "Div", "PRelu", "Pow"}  # elementwise in their first input


def curvature(network: Network) -> Tensor:
    """Return the diagonal of the Hessian of the cross-entropy by the recursion of SWIM.

    At the logits the second derivative is ``p (1 - p)``. A linear operator hands it back through its squared weights,
    and to a weight through its squared input; an elementwise one through its squared derivative (arXiv 2202.08395 and
    MariusAnje/SWIM, Functions.py). Products of different paths are left out: that is SWIM's approximation.

    Parameters
    ----------
    network : Network
        With the inputs and labels of the loss. One gradient pass is counted.

    Returns
    -------
    Tensor, shape (network.size,)
        Of the mean loss, by deviations in units of max|W|: with the same sigma on all tensors ``sigma**2 / 2`` times
        this is the rise of the loss that SWIM expects of each weight.

    Raises
    ------
    ModelError
        If an operator on the way to the logits has no such rule; the message names it.
    """
    total = {name: torch.zeros(w.shape) for name, w in network.intended.items()}
    with torch.no_grad():
        for rows in network.batches():
            _add(network, rows, total)
    network.spend(1.0)
    scaled = [(total[name] * network.units[name] ** 2).reshape(-1) for name in network.slices]
    return torch.cat(scaled) / len(network)


def _add(network: Network, rows: np.ndarray, total: dict[str, Tensor]) -> None:
    """Add what these inputs give to the second derivative of each weight."""
    table: dict[str, Any] = {**network.graph.constants, **network.intended, **network.feed(rows)}
    moving = set(network.intended)
    passed: list[Node] = []
    for node in network.graph.nodes:
        table.update(zip(node.outputs, apply(node, [table[n] if n else None for n in node.inputs]), strict=False))
        if moving.intersection(node.inputs):
            moving.update(node.outputs)
            passed.append(node)
    logits = table[network.logits]
    odds = torch.softmax(logits.reshape(len(logits), -1), dim=1)
    odds[len(rows) :] = 0  # inputs that only fill up a batch
    second: dict[str, Tensor] = {network.logits: (odds * (1 - odds)).reshape(logits.shape)}
    for node in reversed(passed):
        if node.outputs[0] not in second:
            continue
        seed = second.pop(node.outputs[0])
        values = [table[n] if n else None for n in node.inputs]
        asked = [i for i, n in enumerate(node.inputs) if n in moving and _real(values[i])]
        for i in asked:
            name, part = node.inputs[i], _handed_back(node, values, i, seed, len(asked))
            if name in total:
                total[name] += part
            else:
                second[name] = second[name] + part if name in second else part


def _real(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _handed_back(node: Node, values: list[Any], i: int, seed: Tensor, asked: int) -> Tensor:
    """Return the second derivative by input `i` of a node, given that by its output and how many inputs ask."""
    operator = lookup(node.op, node.domain)
    family = "" if operator is None else operator.family.name
    if (family == "bilinear" or node.op == "Mul") and i < 2:
        factors = list(values[:2])  # a bias adds nothing
        factors[1 - i] = factors[1 - i] ** 2
        return _pulled(node, factors, i, seed)
    if family in _PLACES or node.op in _PICKS:
        return _pulled(node, values, i, seed).abs()
    if node.op in _AVERAGES:
        return _pulled(node, values, i, seed) * (seed.numel() / values[0].numel())
    if (family == "elementwise" or (node.op in _SCALES and i == 0)) and asked == 1:
        return _pulled(node, values, i, torch.ones_like(seed)) ** 2 * seed
    raise ModelError(
        f"SWIM's recursion has no rule for {node.op}",
        where=f"node {node.name or node.outputs[0]!r}",
        remedy="Rank the weights by another method",
    )


def _pulled(node: Node, values: list[Any], i: int, seed: Tensor) -> Tensor:
    """Return what autograd hands back to input `i` for a seed at the output."""
    with torch.enable_grad():
        leaf = values[i].detach().requires_grad_()
        out = apply(node, [*values[:i], leaf, *values[i + 1 :]])[0]
        (back,) = torch.autograd.grad(out, leaf, seed)
    return back
