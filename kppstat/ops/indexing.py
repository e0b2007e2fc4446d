"""Operators that write, order or accumulate along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from kppstat.array import Array, is_torch, like, namespace, to_numpy
from kppstat.ops.family import Family
from kppstat.ops.registry import op

indexing = Family("indexing")

_REDUCTIONS: dict[str, Any] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _write(x: Array, place: tuple[np.ndarray, ...], updates: Array, reduction: str) -> Array:
    if is_torch(x) or is_torch(updates):
        reference = x if is_torch(x) else updates
        if reduction not in {"none", "add"}:
            raise NotImplementedError(f"reduction {reduction} of Scatter in torch")
        where = tuple(like(np.ascontiguousarray(p), reference) for p in place)
        return like(x, reference).index_put(where, like(updates, reference), accumulate=reduction == "add")
    out = np.array(x)
    if reduction == "none":
        out[place] = updates
    else:
        _REDUCTIONS[reduction].at(out, place, updates)
    return out


@op("ScatterElements", indexing, static=("indices",))
def scatter_elements(x: Array, indices: Array, updates: Array, *, axis: int = 0, reduction: str = "none") -> Array:
    """`x` with one element along an axis replaced for each element of `updates`."""
    place = list(np.indices(indices.shape))
    place[axis] = np.asarray(indices) % x.shape[axis]
    return _write(x, tuple(place), updates, reduction)


@op("ScatterND", indexing, static=("indices",))
def scatter_nd(x: Array, indices: Array, updates: Array, *, reduction: str = "none") -> Array:
    """`x` with slices at the coordinates of `indices` replaced."""
    depth = indices.shape[-1]
    place = tuple(np.asarray(indices)[..., i] % x.shape[i] for i in range(depth))
    return _write(x, place, updates, reduction)


@op("CumSum", indexing, static=("axis",))
def cum_sum(x: Array, axis: Array, *, exclusive: int = 0, reverse: int = 0) -> Array:
    """Sum up to each place along an axis."""
    a = int(np.asarray(axis).reshape(())) % x.ndim
    xp = namespace(x)
    y = xp.flip(x, axis=a) if reverse else x
    total = xp.astype(xp.cumulative_sum(y, axis=a), x.dtype)
    total = total - y if exclusive else total
    return xp.flip(total, axis=a) if reverse else total


@op("TopK", indexing, static=("k",))
def top_k(x: Array, k: Array, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Array, Array]:
    """Largest (or smallest) entries along an axis and their numbers; of equals the first."""
    count = int(np.asarray(k).reshape(-1)[0])
    values = to_numpy(x)
    key = values if not largest else (-values if values.dtype.kind in "fi" else np.max(values, initial=0) - values)
    order = np.argsort(key, axis=axis, kind="stable")
    number = np.take(order, np.arange(count), axis=axis)
    place: list[Any] = list(np.indices(number.shape))
    place[axis] = number
    return x[tuple(like(p, x) for p in place)], like(number.astype(np.int64), x)


def _arg(x: Array, axis: int, keepdims: int, last: int, largest: bool) -> Array:
    xp = namespace(x)
    y = xp.flip(x, axis=axis) if last else x
    at = (xp.argmax if largest else xp.argmin)(y, axis=axis, keepdims=bool(keepdims))
    return xp.astype(x.shape[axis] - 1 - at if last else at, xp.int64)


@op("ArgMax", indexing)
def arg_max(x: Array, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Array:
    """Return the number of the largest entry along an axis."""
    return _arg(x, axis % x.ndim, keepdims, select_last_index, largest=True)


@op("ArgMin", indexing)
def arg_min(x: Array, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Array:
    """Return the number of the smallest entry along an axis."""
    return _arg(x, axis % x.ndim, keepdims, select_last_index, largest=False)


@op("Hardmax", indexing)
def hard_max(x: Array, *, axis: int = -1) -> Array:
    """One at the largest entry along an axis, zero elsewhere."""
    xp = namespace(x)
    at = _arg(x, axis % x.ndim, 1, 0, largest=True)
    places = np.arange(x.shape[axis]).reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    return xp.astype(at == like(places, x), x.dtype)
