"""The interpreter loop over the graph: arrays in, arrays out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kppstat.array import Array, cast, is_floating, is_torch, like, to_numpy, without_half
from kppstat.errors import KppstatError, ModelError
from kppstat.graph import Graph, Node
from kppstat.ops import Operator, lookup

_CONTROL = {"If"}


def unsupported(graph: Graph) -> list[Node]:
    """Return the nodes whose operator has no forward, in order, also those inside the branches of If.

    Examples
    --------
    >>> from kppstat.graph import Graph, Node
    >>> odd = Node("Frobnicate", ("x",), ("y",), name="odd")
    >>> [node.name for node in unsupported(Graph((odd,), (), (), {}))]
    ['odd']
    """
    found = []
    for node in graph.nodes:
        bodies = [a for a in node.attributes.values() if isinstance(a, Graph)]
        if node.op not in _CONTROL and lookup(node.op, node.domain) is None:
            found.append(node)
        for body in bodies:
            found += unsupported(body)
    return found


def require_supported(graph: Graph) -> None:
    """Raise if the forward of some operator is missing, naming all of them at once.

    Raises
    ------
    ModelError
    """
    missing = unsupported(graph)
    if missing:
        raise ModelError(
            f"{describe(missing)} cannot be computed by kppstat's own operators",
            remedy="Evaluation with onnxruntime still works: use a method that only samples",
        )


def describe(nodes: Sequence[Node]) -> str:
    """Return one phrase that names operators, how often they occur and the first node of each.

    Examples
    --------
    >>> from kppstat.graph import Node
    >>> describe([Node("Loop", (), ("y",), name="l1"), Node("Loop", (), ("z",), name="l2")])
    "Loop (2 nodes, first 'l1')"
    """
    counts = Counter(n.op for n in nodes)
    first = {n.op: n.name or n.outputs[0] for n in reversed(nodes)}
    return ", ".join(f"{o} ({c} node{'s' * (c > 1)}, first {first[o]!r})" for o, c in counts.items())


def last_uses(graph: Graph, keep: Sequence[str] = ()) -> list[list[str]]:
    """Return, for each node, the values that no later node reads, so that they can be freed after it."""
    kept = {port.name for port in graph.outputs} | set(keep)
    seen: set[str] = set()
    free: list[list[str]] = []
    for node in reversed(graph.nodes):
        inside = [name for body in node.attributes.values() if isinstance(body, Graph) for name in _captured(body)]
        names = [*node.inputs, *node.outputs, *inside]
        mine = [n for n in dict.fromkeys(names) if n and n not in seen and n not in kept]
        seen.update(mine)
        free.append(mine)
    return free[::-1]


def _captured(graph: Graph) -> set[str]:
    """Names that a body reads from outside."""
    made: set[str] = set(graph.constants)
    names: set[str] = {port.name for port in graph.outputs}
    for node in graph.nodes:
        made.update(node.outputs)
        names.update(node.inputs)
        for body in node.attributes.values():
            if isinstance(body, Graph):
                names |= _captured(body)
    return names - made


def arguments(operator: Operator, values: Sequence[Array | None]) -> list[Array | None]:
    """Bring the inputs of a node into one array library; static ones become NumPy arrays."""
    reference = next((v for i, v in enumerate(values) if i not in operator.static and is_torch(v)), None)
    return without_half(
        [
            v if v is None else to_numpy(v) if i in operator.static else v if reference is None else like(v, reference)
            for i, v in enumerate(values)
        ]
    )


def apply(node: Node, values: Sequence[Array | None]) -> tuple[Array, ...]:
    """Run the forward of one node on its input values.

    Raises
    ------
    ModelError
        If the operator is unknown or cannot take these values; names the node.
    """
    operator = lookup(node.op, node.domain)
    if operator is None:
        raise ModelError(f"operator {node.op} is not supported", where=f"node {node.name or node.outputs[0]!r}")
    try:
        with np.errstate(all="ignore"):
            result = operator(*arguments(operator, values), **operator.keywords(node.attributes, len(node.outputs)))
    except KppstatError as error:
        raise ModelError(error.what, where=f"node {node.name or node.outputs[0]!r}", remedy=error.remedy) from None
    except (ValueError, TypeError, IndexError, KeyError, RuntimeError, NotImplementedError) as error:
        shapes = ", ".join("-" if v is None else f"{tuple(v.shape)}" for v in values)
        reason = str(error).strip().split("\n")[0]
        raise ModelError(
            f"{node.op} failed on inputs of shape {shapes}: {reason}",
            where=f"node {node.name or node.outputs[0]!r}",
            remedy="Check that the inputs have the shape the model expects",
        ) from error
    return result if isinstance(result, tuple) else (result,)


def forward(
    graph: Graph,
    inputs: Mapping[str, Array],
    weights: Mapping[str, Array] | None = None,
    *,
    dtype: str | None = None,
    keep: Sequence[str] = (),
    watch: Callable[[Node, tuple[Array, ...]], None] | None = None,
) -> dict[str, Array]:
    """Compute the network.

    Parameters
    ----------
    graph : Graph
    inputs : mapping of str to array
        The graph inputs by name, NumPy arrays or torch tensors.
    weights : mapping of str to array, optional
        Constants to be replaced, by name; torch tensors that require gradients receive them.
    dtype : str, optional
        Compute in this floating-point type, such as ``"float64"``, whatever the constants are.
    keep : sequence of str
        Intermediate values to be returned as well; all others are freed as soon as nothing reads them any more.
    watch : callable, optional
        Called with each node and its outputs.

    Returns
    -------
    dict of str to array
        The graph outputs, and the values of `keep`.

    Raises
    ------
    ModelError
        If an operator is missing (all are named at once) or a node cannot take its inputs.

    Examples
    --------
    >>> import numpy as np
    >>> from kppstat.graph import Graph, Node, Port
    >>> x, y = Port("x", "float32", (None, 2)), Port("y", "float32", (None, 2))
    >>> graph = Graph((Node("Relu", ("x",), ("y",)),), (x,), (y,), {})
    >>> forward(graph, {"x": np.array([[-1.0, 2.0]], np.float32)})["y"].tolist()
    [[0.0, 2.0]]
    """
    require_supported(graph)
    missing = [p.name for p in graph.inputs if p.name not in inputs and p.name not in graph.constants]
    if missing:
        raise ModelError(f"input {', '.join(missing)} is not given", remedy="Give an array for each graph input")
    table: dict[str, Any] = {**graph.constants, **inputs, **(weights or {})}
    if dtype is not None:
        table = {n: _working(v, dtype) for n, v in table.items()}
    _run(graph, table, dtype, keep, watch)
    return {name: table[name] for name in [*(p.name for p in graph.outputs), *keep]}


def _working(value: Array, dtype: str) -> Array:
    return cast(value, dtype) if is_floating(value) else value


def _run(
    graph: Graph,
    table: dict[str, Any],
    dtype: str | None,
    keep: Sequence[str],
    watch: Callable[[Node, tuple[Array, ...]], None] | None,
) -> None:
    """Fill the side table with the outputs of all nodes, freeing what is no longer needed."""
    for node, free in zip(graph.nodes, last_uses(graph, keep), strict=True):
        if node.op == "If":
            results = _branch(node, table, dtype)
        else:
            results = apply(node, [table[n] if n else None for n in node.inputs])
        if dtype is not None:
            results = tuple(_working(r, dtype) for r in results)
        if watch is not None:
            watch(node, results)
        table.update((n, r) for n, r in zip(node.outputs, results, strict=False) if n)
        for name in free:
            table.pop(name, None)


def _branch(node: Node, table: Mapping[str, Any], dtype: str | None) -> tuple[Array, ...]:
    """Run the branch of an If that its condition names; it sees all values around it."""
    chosen = bool(to_numpy(table[node.inputs[0]]).reshape(-1)[0])
    body: Graph = node.attributes["then_branch" if chosen else "else_branch"]
    inner: dict[str, Any] = {**table, **{n: v for n, v in body.constants.items() if n not in table}}
    if dtype is not None:
        inner = {n: _working(v, dtype) for n, v in inner.items()}
    _run(body, inner, dtype, (), None)
    return tuple(inner[p.name] for p in body.outputs)
