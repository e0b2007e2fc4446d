"""Fold each BatchNormalization into the weights before it, when asked to: noise then acts on the folded weights."""

from __future__ import annotations

from collections import Counter

import numpy as np
from onnx import NodeProto, helper

from kppstat.onnx_io.lift import Lifted, reads
from kppstat.onnx_io.roles import FLOATS, canonical

EPSILON = 1e-5  # ONNX's default


def fold_batch_norms(lifted: Lifted, notes: list[str]) -> dict[str, np.ndarray]:
    """Fold, in place, and return by weight name the factors that its values were multiplied with.

    With ``y = gamma (x - mean) / sqrt(var + epsilon) + beta`` after ``x = W s + c``, the folded weights are
    ``W gamma / sqrt(var + epsilon)`` per output channel (Jacob et al. 2018, arXiv 1712.05877, equation 14).
    """
    graph = lifted.skeleton.graph
    factors: dict[str, np.ndarray] = {}
    left = 0
    counts = Counter(reads(graph))
    producers = {name: node for node in graph.node for name in node.output}
    kept: list[NodeProto] = []
    for node in graph.node:
        if node.op_type != "BatchNormalization" or canonical(node.domain):
            kept.append(node)
            continue
        before = producers.get(node.input[0])
        factor = None if before is None or counts[node.input[0]] > 1 else _fold_one(before, node, lifted, counts)
        if factor is None or before is None:
            left += 1
            kept.append(node)
        else:
            factors[before.input[1]] = factor
            before.output[0] = node.output[0]
    if factors:
        copies = [NodeProto.FromString(n.SerializeToString()) for n in kept]
        del graph.node[:]
        graph.node.extend(copies)
        still = set(reads(graph))
        for name in [n for n in lifted.constants if counts[n] and n not in still]:
            del lifted.constants[name]
        notes.append(f"{_count(len(factors))} folded into the weights before; noise now acts on the folded weights.")
    if left:
        notes.append(f"{_count(left)} not folded: no Conv, ConvTranspose or Gemm with weights of its own comes before.")
    if not factors and not left:
        notes.append("There was no BatchNormalization to fold.")
    return factors


def _count(number: int) -> str:
    return f"{number} BatchNormalization {'was' if number == 1 else 'were'}"


def _fold_one(before: NodeProto, norm: NodeProto, lifted: Lifted, counts: Counter[str]) -> np.ndarray | None:
    """Fold one BatchNormalization into the node before it; return the factors, or None if that cannot be done."""
    constants = lifted.constants
    if before.op_type not in ("Conv", "ConvTranspose", "Gemm") or canonical(before.domain):
        return None
    names = [before.input[1], *norm.input[1:5]]
    bias_name = before.input[2] if len(before.input) > 2 else ""
    if any(n not in constants for n in names + [bias_name] * bool(bias_name)) or counts[names[0]] > 1:
        return None
    if _attribute(norm, "training_mode", 0) or len([o for o in norm.output if o]) > 1:
        return None
    weight = constants[names[0]]
    if weight.dtype.name not in FLOATS:
        return None
    gamma, beta, mean, variance = (constants[n].astype(np.float64) for n in names[1:])
    with np.errstate(all="ignore"):
        factor = gamma / np.sqrt(variance + _attribute(norm, "epsilon", EPSILON))
    channels = _per_channel(before, factor, weight.shape)
    if channels is None or not np.isfinite(factor).all():
        return None
    bias = np.zeros(()) if not bias_name else constants[bias_name].astype(np.float64)
    if before.op_type == "Gemm":
        bias = bias * _attribute(before, "beta", 1.0)
        others = [a for a in before.attribute if a.name != "beta"]
        del before.attribute[:]
        before.attribute.extend(others)
    name = f"{norm.output[0]}/bias"
    constants[name] = ((bias - mean) * factor + beta).astype(weight.dtype)
    constants[names[0]] = (weight.astype(np.float64) * channels).astype(weight.dtype)
    del before.input[2:]
    before.input.append(name)
    return channels


def _per_channel(node: NodeProto, factor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the factors in a shape that multiplies the weights of the node, or None if they do not fit."""
    if node.op_type == "Gemm":
        result = factor[:, None] if _attribute(node, "transB", 0) else factor[None, :]
    elif node.op_type == "Conv":
        result = factor.reshape(-1, *[1] * (len(shape) - 1))
    else:  # ConvTranspose: [in channels, out channels per group, ...], channel g * per_group + j
        groups = int(_attribute(node, "group", 1))
        if shape[0] % groups or len(factor) != groups * shape[1]:
            return None
        rows = np.repeat(factor.reshape(groups, shape[1]), shape[0] // groups, axis=0)
        result = rows.reshape(*shape[:2], *[1] * (len(shape) - 2))
    try:
        fits = np.broadcast_shapes(result.shape, shape) == shape
    except ValueError:
        return None
    return result if fits else None


def _attribute(node: NodeProto, name: str, default: float) -> float:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
