"""Gradients of an instance's smoothed performance with respect to its standard normals, by torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from kppstat.engine import Evaluator
from kppstat.errors import KppstatError, SettingError
from kppstat.graph import Graph
from kppstat.noise.philox import permutation
from kppstat.performance import Top1, TopK
from kppstat.prediction.head import split
from kppstat.propagate import describe, forward, unsupported

__all__ = ["Point", "gradients", "passes", "require_gradients"]

Point = tuple[int, tuple[tuple[int, float], ...]]

_REMEDY = "Use --method audited, which needs no gradients"
#: A margin counts as open within this share of the typical one.
_SOFT = 0.15
_BATCH = 256
#: Orders of inputs come from this stream.
_STREAM = (1 << 24) - 5


def passes(count: int, rows: int, inputs: int) -> float:
    """Return what gradients cost in evaluations: forward and backward count 3.

    Examples
    --------
    >>> passes(10, 500, 10_000)
    1.5
    """
    return 3 * count * rows / inputs


def require_gradients(evaluator: Evaluator, graph: Graph) -> None:
    """Raise if there are no gradients.

    Raises
    ------
    SettingError
        If torch is missing, or the performance or an operator has no gradient.
    """
    reason, remedy = "", _REMEDY
    if find_spec("torch") is None:
        reason, remedy = "torch is not installed", "Install kppstat[train], or use --method audited"
    elif not isinstance(evaluator.performance, Top1 | TopK):
        reason = f"no gradient is known of the performance '{evaluator.performance.name}'"
    elif missing := unsupported(graph):
        reason = f"{describe(missing)} has no gradient: kppstat has no operator of its own for it"
    if reason:
        raise SettingError(f"tilted sampling takes gradients, but {reason}", where="--method", remedy=remedy)


def gradients(evaluator: Evaluator, graph: Graph, points: Sequence[Point], rows: int) -> np.ndarray:
    """Return gradients of the smoothed performance at instances, each on random inputs of its own.

    The share of right answers is smoothed by a logistic function of the margin between the right class and the best
    other one (the k-th best for a top-k accuracy).

    Parameters
    ----------
    evaluator : Evaluator
        Fitted to the clean model.
    graph : Graph
        Of the model.
    points : sequence of (int, tuple)
        Numbers of the instances, and what they are combinations of, as in `Task`.
    rows : int
        Inputs of each.

    Returns
    -------
    ndarray, float32, shape (instances, draws)
        By the weights of the evaluator in their order.

    Raises
    ------
    KppstatError
        If torch is missing, or operators, noise or performance have no gradient; the remedy is named.
    """
    require_gradients(evaluator, graph)
    import torch

    # Behind a softmax the slope vanishes where the network is sure; margins order the inputs alike before it.
    head, _ = split(graph)
    rank = evaluator.performance.k if isinstance(evaluator.performance, TopK) else 1
    intended = {name: torch.from_numpy(w.copy()) for name, w in evaluator.intended.items()}
    assert evaluator.targets is not None
    labels = torch.from_numpy(np.asarray(evaluator.targets).astype(np.int64).reshape(-1))
    out = []
    for index, mix in points:
        order = permutation(evaluator.seed, index, _STREAM, len(labels), rows)
        leaves = {
            n: torch.from_numpy(z.copy()).requires_grad_() for n, z in evaluator.normals(index, None, mix).items()
        }
        try:
            weights = {n: evaluator.variation.of(n).weights(intended[n], z) for n, z in leaves.items()}
            total = sum(
                _smooth(_outputs(evaluator, head, weights, part), labels[torch.from_numpy(part)], rank).sum()
                for part in _parts(order, evaluator.batch_of_model)
            )
            slopes = torch.autograd.grad(total / rows, list(leaves.values()), allow_unused=True)
        except (RuntimeError, TypeError, AttributeError, ValueError) as problem:
            raise KppstatError(
                f"the gradient of the performance failed ({str(problem).splitlines()[0]})",
                where="--method",
                remedy=_REMEDY,
            ) from None
        flat = []
        for (name, z), slope in zip(leaves.items(), slopes, strict=True):
            found = np.zeros(len(z), np.float32) if slope is None else np.nan_to_num(slope.numpy(), posinf=0, neginf=0)
            if common := evaluator.variation.of(name).common:
                found[-common:] = 0  # normals that tensors share are no coordinates of their own
            flat.append(found)
        out.append(np.concatenate(flat))
    return np.array(out, np.float32)


def _parts(order: np.ndarray, batch: int | None) -> list[np.ndarray]:
    """Return inputs in batches, filled up where the model demands."""
    step = batch or _BATCH
    parts = [order[i : i + step] for i in range(0, len(order), step)]
    return [np.resize(p, batch) if batch else p for p in parts]


def _outputs(evaluator: Evaluator, head: Graph, weights: Mapping[str, Any], rows: np.ndarray) -> Any:
    import torch

    feed = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in evaluator.dataset.batch(rows).items()}
    out = forward(head, feed, weights)[head.outputs[0].name]
    return out.reshape(len(out), -1)


def _smooth(outputs: Any, labels: Any, rank: int) -> Any:
    """Return the smoothed score of each input."""
    import torch

    right = outputs.gather(1, labels[:, None])[:, 0]
    others = outputs.scatter(1, labels[:, None], -torch.inf).topk(rank, dim=1).values[:, -1]
    margin = right - others
    soft = _SOFT * margin.detach().abs().median().clamp_min(1e-12)
    return torch.sigmoid(margin / soft)
