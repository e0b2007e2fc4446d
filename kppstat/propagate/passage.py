"""The side table of a pass of moments, and the pass back from a network output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kppstat.array import Array, dtype_name, like, namespace, scatter_add
from kppstat.errors import ModelError
from kppstat.graph import Graph, Node
from kppstat.ops.moments import Moments, Step, Stored


@dataclass(frozen=True, eq=False)
class Done:
    """A node that device variation reaches, what its rule returned, and the values that its adjoints go to."""

    node: Node
    step: Step
    sources: tuple[str, ...]
    owner: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Share:
    """Where an adjoint meets a source of variance on its way back.

    Attributes
    ----------
    node : Node
    weight : str
        Name of the weight; empty for the part that no linear fit explains.
    stored : Stored or None
    adjoint : array
        Derivative of the network output with respect to the (first) output of the node.
    residual : array or None
    owner : array or None
        Number of the network input that each element belongs to, where axis 0 does not tell.
    """

    node: Node
    weight: str
    stored: Stored | None
    adjoint: Array
    residual: Array | None
    owner: np.ndarray | None = None

    def variance(self, n: int) -> Array:
        """Return the variance that this source gives to the network output of each of `n` inputs, shape (n,)."""
        if self.stored is not None:
            return self.stored.square(self.adjoint, n)
        xp = namespace(self.adjoint)
        product = self.adjoint * self.adjoint * self.residual
        if self.owner is not None:
            return scatter_add(n, self.owner.reshape(-1), xp.reshape(product, (-1,)))
        return xp.sum(xp.reshape(product, (n, -1)), axis=1)


@dataclass(frozen=True, eq=False)
class Spread:
    """Variance of network outputs over instances, and where it comes from.

    Attributes
    ----------
    mean, var : array, shape (n, outputs)
    by_weight : dict of str to array, shape (n, outputs)
        The share of each weight, to first order.
    nonlinear : array, shape (n, outputs)
        The rest: products of noise in several layers, and what the activations bend.
    """

    mean: Array
    var: Array
    by_weight: dict[str, Array]
    nonlinear: Array


@dataclass(frozen=True, eq=False)
class Passage:
    """The side table of a pass of moments over the graph.

    Attributes
    ----------
    graph : Graph
        As it was computed: maxima come before rising functions.
    table : dict
        `Moments` of each random value, arrays of the others.
    count : int
        Number of network inputs in this pass.
    """

    graph: Graph
    table: dict[str, Any]
    count: int
    done: tuple[Done, ...] = field(repr=False)
    origin: dict[str, str] = field(repr=False)

    def back(self, name: str, adjoint: Array) -> Iterator[Share]:
        """Carry an adjoint of a value back through the network and yield each source of variance that it meets."""
        waiting: dict[str, Array] = {name: adjoint}
        for done in reversed(self.done):
            received = [waiting.pop(n, None) if n else None for n in done.node.outputs]
            if all(r is None for r in received):
                continue
            first = received[0]
            if first is not None:
                for stored in done.step.stored:
                    yield Share(done.node, self.origin[done.node.inputs[stored.index]], stored, first, None)
                if done.step.residual is not None:
                    yield Share(done.node, "", None, first, done.step.residual, done.owner)
            for source, pulled in zip(done.sources, done.step.pull(received), strict=False):
                if pulled is not None and source:
                    waiting[source] = waiting[source] + pulled if source in waiting else pulled

    def seeds(
        self, name: str, columns: Array | None = None, against: Array | None = None
    ) -> Iterator[tuple[int, Array]]:
        """Yield the adjoint that picks each output in turn, with the number of the turn.

        The value is seen as (n, outputs); `columns` of shape (n, turns) says which output of each input is picked
        in each turn, by default all in order; `against` of shape (n,) an output of each input that is taken off.
        """
        value = self.table[name].mean
        xp = namespace(value)
        width = int(np.prod(tuple(value.shape))) // self.count
        rows = np.arange(self.count)
        turns = width if columns is None else columns.shape[1]
        for i in range(turns):
            picked = np.zeros((self.count, width), dtype_name(value))
            picked[rows, i if columns is None else columns[:, i]] = 1.0
            if against is not None:
                picked[rows, against] -= 1.0
            yield i, xp.reshape(like(picked, value), tuple(value.shape))

    def spread(self, name: str | None = None, columns: Array | None = None) -> Spread:
        """Return the variance of a network output, with the correlations that shared weights and branches bring.

        The value is seen as (n, outputs); each of the outputs costs one pass back.

        Parameters
        ----------
        name : str, optional
            The value; the first output of the graph by default.
        columns : ndarray of int, shape (n, turns), optional
            Which outputs of each input are asked for; all by default.
        """
        name = name or self.graph.outputs[0].name
        value = self.table[name]
        n = self.count
        if not isinstance(value, Moments):
            raise ModelError(f"output {name} does not depend on any weight that varies")
        xp = namespace(value.mean)
        mean = xp.reshape(value.mean, (n, -1))
        if columns is not None:
            mean = mean[like(np.arange(n)[:, None], mean), like(columns, mean)]
        width = mean.shape[1]
        shares: dict[str, list[Any]] = {}
        for i, seed in self.seeds(name, columns):
            for share in self.back(name, seed):
                turns = shares.setdefault(share.weight, [0.0] * width)
                turns[i] = turns[i] + share.variance(n)
        zero = xp.zeros_like(mean[:, 0])
        stacked = {w: xp.stack([c + zero for c in turns], axis=1) for w, turns in shares.items()}
        nonlinear = stacked.pop("", xp.zeros_like(mean))
        return Spread(mean, sum(stacked.values()) + nonlinear, stacked, nonlinear)
