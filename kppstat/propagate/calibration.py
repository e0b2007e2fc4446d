"""Correlations inside the network, measured on a few instances and inputs.

A variance per element cannot know that the elements which an operator sums are correlated: weights shared over
positions and residual branches make them so. A few instances of a few inputs measure by what factor each channel's
variance is off, and how far apart the elements of a pooling window are; the factors then correct the pass of moments
for all inputs. They act on means and gains only: the variance of the outputs comes from the adjoint pass.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kppstat.array import Array, like, to_numpy
from kppstat.graph import Graph, Node
from kppstat.ops import lookup
from kppstat.ops.moments import Moments
from kppstat.ops.pools import elements, max_windows, neighbours
from kppstat.propagate.forward import forward
from kppstat.propagate.moments import MovedAcrossInputs, moments
from kppstat.propagate.rewrite import maxima_first


@dataclass(frozen=True, eq=False)
class Calibration:
    """Factors on variances, by the name of the value.

    Attributes
    ----------
    variances : dict of str to array
        Measured over propagated variance, one number per channel (axis 1), in a shape that broadcasts.
    distances : dict of str to array
        The same for the difference of neighbours in the windows of a MaxPool, by the name of its output.
    instances : int
        How many instances were measured.
    """

    variances: dict[str, Array]
    distances: dict[str, Array]
    instances: int

    def correct(self, node: Node, value: Moments) -> Moments:
        """Return the moments with their variance corrected."""
        factor = self.variances.get(node.outputs[0])
        if factor is None:
            return value
        factor = like(factor, value.mean)
        return replace(value, var=value.var * factor)

    def pair_scale(self, node: Node, value: Moments) -> Array | None:
        """Return the factor on the distances inside the windows of a MaxPool."""
        factor = self.distances.get(node.outputs[0])
        return None if factor is None else like(factor, value.mean)


class _Sums:
    """Running sums of deviations from the intended network, which lose no digits."""

    def __init__(self) -> None:
        self.first: Any = 0.0
        self.second: Any = 0.0
        self.count = 0

    def add(self, apart: Any) -> None:
        self.first, self.second, self.count = self.first + apart, self.second + apart * apart, self.count + 1

    def variance(self) -> Any:
        spread = (self.second - self.first * self.first / self.count) / (self.count - 1)
        return np.maximum(to_numpy(spread), 0)


def _pool(x: Any) -> np.ndarray:
    """Sum over all axes but the channels."""
    x = to_numpy(x)
    return x.sum(axis=tuple(a for a in range(x.ndim) if a != 1), keepdims=True, dtype=np.float64)


def _ratio(measured: Any, propagated: Any) -> np.ndarray:
    """Return the factor per channel, from standard deviations, so that a few large variances do not rule."""
    top, bottom = _pool(np.sqrt(to_numpy(measured))), _pool(np.sqrt(to_numpy(propagated)))
    return (np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), 1.0) ** 2).astype(np.float32)


def calibrate(
    graph: Graph,
    inputs: Mapping[str, Array],
    weights: Mapping[str, tuple[Array, Array]],
    instances: Iterable[Mapping[str, Array]],
    *,
    dtype: str = "float32",
    whole: Container[str] = (),
    observe: Callable[[Mapping[str, Array]], None] | None = None,
) -> Calibration:
    """Measure the correlations inside the network.

    Parameters
    ----------
    graph : Graph
    inputs : mapping of str to array
        A few dozen network inputs; of a network that mixes its inputs the first one is taken.
    weights : mapping of str to (mean, variance)
        As for `moments`.
    instances : iterable of mapping of str to array
        Programmed weights of at least two instances; more than 30 are worth their cost.
    dtype : str
    whole : names of inputs that are the same for all network inputs
    observe : callable, optional
        Receives the outputs of the network in each instance.

    Returns
    -------
    Calibration
    """
    if not _apart(graph, inputs, weights, dtype, whole):
        inputs = {n: v if n in whole else v[:1] for n, v in inputs.items()}
    ordered = maxima_first(graph)
    mixing = [n for n in ordered.nodes if (o := lookup(n.op, n.domain)) is not None and o.family.mixes]
    pools = [n for n in ordered.nodes if n.op == "MaxPool"]
    keep = list(dict.fromkeys([n.outputs[0] for n in mixing] + [n.inputs[0] for n in pools]))
    intended = forward(ordered, inputs, {n: mean for n, (mean, _) in weights.items()}, dtype=dtype, keep=keep)
    spread = {name: _Sums() for name in keep}
    apart = {n.outputs[0]: _Sums() for n in pools}
    for instance in instances:
        values = forward(ordered, inputs, instance, dtype=dtype, keep=keep)
        if observe is not None:
            observe(values)
        deviations = {name: values[name] - intended[name] for name in keep if _is_float(values[name])}
        for name, deviation in deviations.items():
            spread[name].add(deviation)
        for pool in pools:
            x = deviations[pool.inputs[0]]
            pairs = neighbours(x, max_windows(x, **pool.attributes))
            apart[pool.outputs[0]].add(np.stack([to_numpy(a - b) for a, b in pairs]))
    measured = {name: sums.variance() for name, sums in spread.items() if sums.count > 1}
    found = Calibration({}, {}, next(iter(spread.values())).count if spread else 0)

    def correct(node: Node, value: Moments) -> Moments:
        name = node.outputs[0]
        if name in measured and value.mean.ndim > 1:
            found.variances[name] = _ratio(measured[name], value.var)
        return found.correct(node, value)

    def pair_scale(node: Node, value: Moments) -> Array | None:
        at = max_windows(value.mean, **node.attributes)
        parts = elements(value.var, at)
        if value.apart is not None:
            propagated = [value.apart(at, i, i + 1) for i in range(len(parts) - 1)]
        else:
            propagated = [a + b for a, b in neighbours(value.var, at)]
        top = apart[node.outputs[0]].variance().sum(axis=0)
        found.distances[node.outputs[0]] = _ratio(top, sum(propagated))
        return found.pair_scale(node, value)

    moments(graph, inputs, weights, correct=correct, pair_scale=pair_scale, dtype=dtype, whole=whole)
    return found


def _apart(
    graph: Graph, inputs: Mapping[str, Array], weights: Mapping[str, Any], dtype: str, whole: Container[str]
) -> bool:
    """Whether the network keeps its inputs apart; where rows mix, only one input at a time can be measured."""
    two = {n: v if n in whole else v[:2] for n, v in inputs.items()}
    try:
        moments(graph, two, weights, dtype=dtype, whole=whole)
    except MovedAcrossInputs:
        return False
    return True


def _is_float(x: Any) -> bool:
    return "float" in str(x.dtype)
