"""The imported network: an immutable graph of ONNX operators, and its weights.

Results of a pass over the graph live in a side table of that pass, never on a node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of the graph.

    Attributes
    ----------
    op : str
        ONNX operator type, such as ``Conv``.
    inputs, outputs : tuple of str
        Names of values; an empty name is an optional input left out.
    attributes : mapping
        ONNX attributes by name as plain Python values; the body of If, Loop and Scan is a `Graph`.
    name : str
        Name in the file, or one made from the first output.
    domain : str
        ONNX operator domain; empty is the standard one.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the graph: its name, NumPy dtype and shape (None where the size is free)."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class Graph:
    """A network: nodes in an order in which they can run, and the constants that they read.

    The body of If, Loop or Scan reads values of the graphs around it by name, and holds no constants of its own: all
    are in the outermost graph. No two values of a network share a name, those of bodies included.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    constants: Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor that carries device variation.

    Attributes
    ----------
    name : str
        Name of the constant in `Graph.constants`.
    position : int
        Its number among the weights of the model; names its stream of random numbers.
    shape : tuple of int
    max_abs : float
        Largest absolute value, the unit in which sigma counts.
    consumers : tuple of str
        ``"Conv 'conv1'"`` and so on: the nodes in which it is stored as conductances.
    """

    name: str
    position: int
    shape: tuple[int, ...]
    max_abs: float
    consumers: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for n in self.shape:
            count *= n
        return count


@dataclass(frozen=True, slots=True)
class ExactTensor:
    """A constant that carries no device variation, and why."""

    name: str
    shape: tuple[int, ...]
    reason: str
