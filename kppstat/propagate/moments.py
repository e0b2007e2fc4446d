"""The interpreter for moments: one pass forward for means and variances, one back for each network output."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kppstat.array import Array, cast, dtype_name, is_floating, like, to_numpy
from kppstat.errors import KppstatError, ModelError
from kppstat.graph import Graph, Node
from kppstat.ops import Operator, lookup
from kppstat.ops.gaussian import quadrature
from kppstat.ops.moments import Moments, Step
from kppstat.propagate.forward import apply, describe
from kppstat.propagate.passage import Done, Passage
from kppstat.propagate.rewrite import maxima_first

_WAY_OUT = "Sampling works on it: use an estimate instead of a prediction"

Correction = Callable[[Node, Moments], Moments]
PairScale = Callable[[Node, Moments], Array | None]


class MovedAcrossInputs(Exception):
    """A value no longer holds each input in one piece along axis 0; such a network is taken one input at a time."""


def without_rule(graph: Graph, weights: Container[str]) -> list[Node]:
    """Return the nodes that device variation reaches and that have no rule for moments, in order.

    Parameters
    ----------
    graph : Graph
    weights : container of str
        Names of the weights that vary.
    """
    random: set[str] = set()
    missing = []
    for node in graph.nodes:
        if not any(name in random or name in weights for name in node.inputs):
            continue
        operator = lookup(node.op, node.domain)
        if operator is not None and operator.family.name == "exact":
            continue
        if operator is None or (operator.rule is None and operator.family.rule is None):
            missing.append(node)
        random.update(node.outputs)
    return missing


def require_rules(graph: Graph, weights: Container[str]) -> None:
    """Raise if some operator has no rule for moments, naming all of them at once.

    Raises
    ------
    ModelError
    """
    missing = without_rule(graph, weights)
    if missing:
        raise ModelError(
            f"{describe(missing)} cannot be predicted: no rule for moments",
            remedy=_WAY_OUT,
        )


def moments(
    graph: Graph,
    inputs: Mapping[str, Array],
    weights: Mapping[str, tuple[Array, Array]],
    *,
    correct: Correction | None = None,
    pair_scale: PairScale | None = None,
    dtype: str = "float32",
    whole: Container[str] = (),
) -> Passage:
    """Propagate mean and variance of each element through the network.

    Parameters
    ----------
    graph : Graph
    inputs : mapping of str to array
        Exact network inputs; axis 0 of each runs over the inputs.
    weights : mapping of str to (mean, variance)
        Moments of the weights that vary, per element; what a noise model's ``moments`` returns.
    correct : callable, optional
        Applied to the moments of every output that sums elements which may be correlated (`Calibration.correct`).
    pair_scale : callable, optional
        Corrects how far apart the elements of a pooling window are (`Calibration.pair_scale`).
    dtype : str
    whole : names of inputs that are the same for all network inputs

    Returns
    -------
    Passage

    Raises
    ------
    ModelError
        If an operator has no rule for moments: all of them are named at once.

    Examples
    --------
    >>> import numpy as np
    >>> from kppstat.graph import Graph, Node, Port
    >>> x, y = Port("x", "float32", (None, 2)), Port("y", "float32", (None, 1))
    >>> w = np.array([[1.0], [2.0]])
    >>> graph = Graph((Node("MatMul", ("x", "w"), ("y",)),), (x,), (y,), {"w": w})
    >>> passage = moments(graph, {"x": np.array([[3.0, 4.0]])}, {"w": (w, 0.01 * np.ones_like(w))})
    >>> spread = passage.spread()
    >>> spread.mean.tolist(), spread.var.round(6).tolist()
    ([[11.0]], [[0.25]])
    """
    require_rules(graph, weights)
    graph = maxima_first(graph)
    table: dict[str, Any] = {n: _working(v, dtype) for n, v in {**graph.constants, **inputs}.items()}
    for name, (mean, var) in weights.items():
        table[name] = Moments(_working(mean, dtype), _working(var, dtype), shared=True)
    run = _Run(table, _count(inputs, whole), {n: n for n in weights}, dtype, correct, pair_scale)
    for node in graph.nodes:
        run.take(node)
    return Passage(graph, table, run.count, tuple(run.done), run.origin)


def _count(inputs: Mapping[str, Array], whole: Container[str]) -> int:
    return int(next(v.shape[0] for n, v in inputs.items() if n not in whole))


def _working(value: Any, dtype: str) -> Any:
    floating = value is not None and not isinstance(value, Moments) and is_floating(value)
    return cast(value, dtype) if floating and dtype_name(value) != dtype else value


class _Run:
    """A pass under way: the table so far, and from which value each elementwise chain starts."""

    def __init__(
        self,
        table: dict[str, Any],
        count: int,
        origin: dict[str, str],
        dtype: str,
        correct: Correction | None,
        pair_scale: PairScale | None,
    ) -> None:
        self.table, self.count, self.origin, self.dtype = table, count, origin, dtype
        self.correct, self.pair_scale = correct, pair_scale
        self.done: list[Done] = []
        self.roots: dict[str, tuple[str, tuple[Node, ...]]] = {}
        self.owners: dict[str, np.ndarray] = {}

    def take(self, node: Node) -> None:
        """Compute one node."""
        values = [self.table[n] if n else None for n in node.inputs]
        operator = lookup(node.op, node.domain)
        if not any(isinstance(v, Moments) for v in values):
            self._store(node, apply(node, values))
            return
        assert operator is not None  # require_rules
        if operator.family.name == "exact":
            self._store(node, apply(node, [v.mean if isinstance(v, Moments) else v for v in values]))
            return
        chain = self._chain(node, operator, values)
        step, sources = self._fused(node, chain) if chain else (self._step(node, operator, values), node.inputs)
        outputs = tuple(self._corrected(node, operator, o) for o in step.outputs)
        self._store(node, outputs)
        if isinstance(outputs[0], Moments) and outputs[0].shared:
            random = next(n for n, v in zip(node.inputs, values, strict=True) if isinstance(v, Moments))
            self.origin[node.outputs[0]] = self.origin[random]
        else:
            self._follow(node, operator, step, outputs)
            self.done.append(Done(node, step, tuple(sources), self.owners.get(node.outputs[0])))

    def _store(self, node: Node, outputs: Sequence[Any]) -> None:
        for name, value in zip(node.outputs, outputs, strict=False):
            if name:
                self.table[name] = _working(value, self.dtype)

    def _step(self, node: Node, operator: Operator, values: Sequence[Any]) -> Step:
        reference = next(v.mean for v in values if isinstance(v, Moments))
        ready = [_aligned(v, i, operator, reference) for i, v in enumerate(values)]
        keywords = operator.keywords(node.attributes, len(node.outputs))
        if self.pair_scale is not None and node.op == "MaxPool":
            keywords["scale"] = self.pair_scale(node, values[0])
        where = f"node {node.name or node.outputs[0]!r}"
        try:
            with np.errstate(all="ignore"):
                if operator.rule is not None:
                    result: Step = operator.rule(*ready, **keywords)
                else:
                    assert operator.family.rule is not None  # require_rules
                    result = operator.family.rule(operator.forward, ready, keywords)
        except KppstatError as error:
            raise ModelError(error.what, where=where, remedy=error.remedy) from None
        except NotImplementedError as error:
            raise ModelError(
                f"{node.op} with {error} cannot be predicted: no rule for moments", where=where, remedy=_WAY_OUT
            ) from None
        except (TypeError, AttributeError) as error:  # a parameter that is exact in all usual networks varies here
            raise ModelError(
                f"{node.op} with inputs that vary in an unusual way cannot be predicted", where=where, remedy=_WAY_OUT
            ) from error
        return result

    def _corrected(self, node: Node, operator: Operator, value: Any) -> Any:
        use = self.correct is not None and operator.family.mixes and isinstance(value, Moments) and not value.shared
        return self.correct(node, value) if use and self.correct is not None else value

    def _follow(self, node: Node, operator: Operator, step: Step, outputs: Sequence[Any]) -> None:
        """Note which network input each output element belongs to, wherever axis 0 does not tell."""
        n = self.count
        if n == 1:
            return
        read = [(name, self.table.get(name)) for name in node.inputs]
        random = [name for name, v in read if isinstance(v, Moments) and not v.shared]
        shuffled = any(name in self.owners for name in random)
        if step.places is not None:
            before = np.concatenate([[-1], *(self._owner(name).reshape(-1) for name in random)])
            for name, place in zip(node.outputs, step.places(), strict=True):
                owner = before[place]
                if not _in_order(owner, n):
                    self.owners[name] = owner
        elif shuffled and operator.family.univariate:
            parts = [self._owner(name) for name in random]
            shape = tuple(outputs[0].mean.shape)
            found = [np.broadcast_to(p, shape) for p in parts]
            if any((f != found[0]).any() for f in found):
                raise MovedAcrossInputs(node.name)
            if not _in_order(found[0], n):
                self.owners[node.outputs[0]] = found[0]
        elif shuffled or step.couples_rows or any(isinstance(o, Moments) and o.mean.shape[0] % n for o in outputs):
            raise MovedAcrossInputs(node.name)

    def _owner(self, name: str) -> np.ndarray:
        """Return the network input that each element of a value belongs to."""
        if name in self.owners:
            return self.owners[name]
        shape = tuple(self.table[name].mean.shape)
        rows = np.arange(shape[0]) // max(shape[0] // self.count, 1)
        return np.broadcast_to(rows.reshape(-1, *[1] * (len(shape) - 1)), shape)

    def _chain(self, node: Node, operator: Operator, values: Sequence[Any]) -> tuple[str, tuple[Node, ...]] | None:
        """Note from which value this one is made element by element; return the chain if several paths of it meet."""
        random = [(n, v) for n, v in zip(node.inputs, values, strict=True) if isinstance(v, Moments)]
        if not operator.family.univariate or any(v.shared for _, v in random):
            return None
        starts = [self.roots.get(n, (n, ())) for n, _ in random]
        root = starts[0][0]
        if any(s[0] != root for s in starts):
            return None
        nodes = _union(starts, node)
        whole = [v.mean if isinstance(v, Moments) else v for v in values if v is not None]
        shape = np.broadcast_shapes(*(tuple(v.shape) for v in whole))
        if shape != tuple(self.table[root].mean.shape):
            return None
        self.roots[node.outputs[0]] = (root, nodes)
        return (root, nodes) if len(random) > 1 else None

    def _fused(self, node: Node, chain: tuple[str, tuple[Node, ...]]) -> tuple[Step, tuple[str, ...]]:
        """Return the step of a whole elementwise chain, such as x * sigmoid(x), as one function of its start."""
        root, nodes = chain

        def f(t: Array) -> Array:
            local = {root: t}
            for n in nodes:
                values = [local[i] if i in local else self.table[i] if i else None for i in n.inputs]
                local[n.outputs[0]] = apply(n, values)[0]
            return local[node.outputs[0]]

        with np.errstate(all="ignore"):
            return quadrature(f, self.table[root]), (root,)


def _in_order(owner: np.ndarray, n: int) -> bool:
    """Whether the elements of each network input lie in one piece along axis 0; filled in ones belong anywhere."""
    if owner.ndim == 0 or owner.shape[0] % n:
        return False
    rows = np.arange(owner.shape[0]) // (owner.shape[0] // n)
    wanted = rows.reshape(-1, *[1] * (owner.ndim - 1))
    return bool(((owner == wanted) | (owner < 0)).all())


def _union(starts: Sequence[tuple[str, tuple[Node, ...]]], node: Node) -> tuple[Node, ...]:
    """Return the nodes of several chains in the order in which they can run, and this one after them."""
    seen: dict[int, Node] = {}
    for _, chain in starts:
        seen.update((id(n), n) for n in chain)
    return (*seen.values(), node)


def _aligned(value: Any, i: int, operator: Operator, reference: Array) -> Any:
    """Bring an exact input into the array library of the random ones."""
    if value is None or isinstance(value, Moments):
        return value
    return to_numpy(value) if i in operator.static else like(value, reference)


def passages(
    graph: Graph,
    inputs: Mapping[str, Array],
    weights: Mapping[str, tuple[Array, Array]],
    *,
    correct: Correction | None = None,
    pair_scale: PairScale | None = None,
    size: int = 64,
    dtype: str = "float32",
    whole: Container[str] = (),
) -> Iterator[tuple[slice, Passage]]:
    """Yield `moments` of groups of at most `size` inputs, with the rows that each group takes.

    Networks that mix or move the axis of inputs (recurrent layouts) are taken one input at a time.
    """
    total = _count(inputs, whole)
    begin = 0
    while begin < total:
        rows = slice(begin, min(begin + size, total))
        part = {n: v if n in whole else v[rows] for n, v in inputs.items()}
        try:
            passage = moments(graph, part, weights, correct=correct, pair_scale=pair_scale, dtype=dtype, whole=whole)
        except MovedAcrossInputs:
            size = 1
            continue
        yield rows, passage
        begin = rows.stop
