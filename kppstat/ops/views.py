"""Operators that only move elements: each output element is one input element or a constant."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kppstat.array import Array, is_floating, like, namespace, pad, scatter_add
from kppstat.ops.family import Family
from kppstat.ops.moments import Moments, Step, mean_of
from kppstat.ops.registry import op


def _by_places(forward: Callable[..., Any], values: Sequence[Any], attributes: Mapping[str, Any]) -> Step:
    """Move means and variances; the adjoint goes back to the places that the elements came from."""

    def moved(pieces: Sequence[Any]) -> tuple[Array, ...]:
        y = forward(*pieces, **attributes)
        return y if isinstance(y, tuple) else (y,)

    # What a view fills in is exact: it has no variance and comes from no place.
    quiet: list[Any] = [v if i not in _filling(forward) else None for i, v in enumerate(values)]
    random = {i: v for i, v in enumerate(values) if isinstance(v, Moments)}
    means = moved([mean_of(v) for v in values])
    first = next(iter(random.values()))
    nothing = namespace(first.mean).zeros_like

    def variances() -> tuple[Array, ...]:
        return moved([v.var if i in random else nothing(v) if _floating(v) else v for i, v in enumerate(quiet)])

    def places() -> tuple[np.ndarray, ...]:
        """Return the place that each output element comes from, from one on, over all random inputs in order."""
        begin, pieces = 1, list(quiet)
        for i, v in enumerate(quiet):
            if i in random:
                count = math.prod(v.mean.shape)
                pieces[i] = np.arange(begin, begin + count).reshape(tuple(v.mean.shape))
                begin += count
            elif _floating(v):
                pieces[i] = np.zeros(tuple(v.shape), np.int64)
        return moved(pieces)

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        out: list[Array | None] = [None] * len(values)
        xp = namespace(*[a for a in adjoints if a is not None])
        if len(random) == 1 and len(adjoints) == 1 and adjoints[0] is not None:
            ((i, v),) = random.items()
            index = places()[0].reshape(-1)
            if index.size == math.prod(v.mean.shape) and (np.diff(index) == 1).all():
                out[i] = xp.reshape(adjoints[0], tuple(v.mean.shape))
                return out
        total = sum(math.prod(v.mean.shape) for v in random.values())
        gathered: Array = 0
        for place, adjoint in zip(places(), adjoints, strict=True):
            if adjoint is not None:
                gathered = gathered + scatter_add(total, place.reshape(-1) - 1, xp.reshape(adjoint, (-1,)))
        begin = 0
        for i, v in random.items():
            count = math.prod(v.mean.shape)
            out[i] = xp.reshape(gathered[begin : begin + count], tuple(v.mean.shape))
            begin += count
        return out

    shared = all(v.shared for v in random.values())
    outputs = tuple(Moments(m, v, shared) for m, v in zip(means, variances(), strict=True))
    return Step(outputs, pull, places=places)


def _filling(forward: Callable[..., Any]) -> tuple[int, ...]:
    return (2,) if forward.__name__ == "pad_" else ()


def _floating(v: Any) -> bool:
    return v is not None and not isinstance(v, Moments) and is_floating(v)


view = Family("view", rule=_by_places)


def _ints(x: Array) -> list[int]:
    return [int(i) for i in np.asarray(x).reshape(-1)]


@op("Reshape", view, static=("shape",))
def reshape(x: Array, shape: Array, *, allowzero: int = 0) -> Array:
    """Keep the elements in order, in another shape; 0 copies a size, -1 is worked out."""
    sizes = _ints(shape)
    if not allowzero:
        sizes = [x.shape[i] if s == 0 else s for i, s in enumerate(sizes)]
    return namespace(x).reshape(x, tuple(sizes))


@op("Flatten", view)
def flatten(x: Array, *, axis: int = 1) -> Array:
    """Two axes: those before `axis`, and the rest."""
    axis = axis + x.ndim if axis < 0 else axis
    return namespace(x).reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@op("Transpose", view)
def transpose(x: Array, *, perm: Sequence[int] | None = None) -> Array:
    """Axes in another order, reversed by default."""
    return namespace(x).permute_dims(x, tuple(range(x.ndim))[::-1] if perm is None else tuple(perm))


@op("Squeeze", view, static=("axes",))
def squeeze(x: Array, axes: Array | None = None) -> Array:
    """Axes of size one removed."""
    gone = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else [a % x.ndim for a in _ints(axes)]
    return namespace(x).reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in gone))


@op("Unsqueeze", view, static=("axes",))
def unsqueeze(x: Array, axes: Array) -> Array:
    """Axes of size one inserted."""
    rank = x.ndim + len(_ints(axes))
    new = {a % rank for a in _ints(axes)}
    sizes = iter(x.shape)
    return namespace(x).reshape(x, tuple(1 if i in new else next(sizes) for i in range(rank)))


@op("Slice", view, static=("starts", "ends", "axes", "steps"))
def slice_(x: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None) -> Array:
    """Part of some axes."""
    first, last = _ints(starts), _ints(ends)
    where = range(len(first)) if axes is None else [a % x.ndim for a in _ints(axes)]
    stride = [1] * len(first) if steps is None else _ints(steps)
    xp = namespace(x)
    for axis, begin, end, step in zip(where, first, last, stride, strict=True):
        picked = range(x.shape[axis])[slice(begin, max(end, -(1 << 62)), step)]
        if step < 0 and end < -x.shape[axis]:
            picked = range(x.shape[axis])[begin::step]
        if step > 0:
            x = x[(slice(None),) * axis + (slice(picked.start, picked.stop, step),)]
        else:  # torch has no negative strides
            x = xp.take(x, like(np.asarray(picked, np.int64), x), axis=axis)
    return x


@op("Split", view, static=("split",))
def split(
    x: Array, split: Array | None = None, *, axis: int = 0, num_outputs: int | None = None, outputs: int = 1
) -> tuple[Array, ...]:
    """Pieces along one axis."""
    axis %= x.ndim
    total = x.shape[axis]
    if split is None:
        size = -(-total // (num_outputs or outputs))
        edges = [min(i * size, total) for i in range((num_outputs or outputs) + 1)]
    else:
        edges = [0, *np.cumsum(_ints(split)).tolist()]
    return tuple(x[(slice(None),) * axis + (slice(a, b),)] for a, b in itertools.pairwise(edges))


@op("Concat", view)
def concat(*xs: Array, axis: int) -> Array:
    """Several one after the other along one axis."""
    return namespace(*xs).concat(list(xs), axis=axis % xs[0].ndim)


@op("Expand", view, static=("shape",))
def expand(x: Array, shape: Array) -> Array:
    """Repeated along axes of size one, by the rules of broadcasting."""
    return namespace(x).broadcast_to(x, np.broadcast_shapes(tuple(x.shape), tuple(_ints(shape))))


@op("Tile", view, static=("repeats",))
def tile(x: Array, repeats: Array) -> Array:
    """Repeated whole along each axis."""
    return namespace(x).tile(x, tuple(_ints(repeats)))


@op("Gather", view, static=("indices",))
def gather(x: Array, indices: Array, *, axis: int = 0) -> Array:
    """Entries of one axis by number."""
    axis %= x.ndim
    indices = np.asarray(indices)
    flat = indices.reshape(-1) % max(x.shape[axis], 1)
    y = namespace(x).take(x, like(flat.astype(np.int64), x), axis=axis)
    return namespace(x).reshape(y, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@op("GatherElements", view, static=("indices",))
def gather_elements(x: Array, indices: Array, *, axis: int = 0) -> Array:
    """One entry along an axis for each element of `indices`."""
    axis %= x.ndim
    place = list(np.indices(indices.shape))
    place[axis] = np.asarray(indices) % x.shape[axis]
    return x[tuple(like(p, x) for p in place)]


@op("GatherND", view, static=("indices",))
def gather_nd(x: Array, indices: Array, *, batch_dims: int = 0) -> Array:
    """Slices of `x` at coordinates given along the last axis of `indices`."""
    indices = np.asarray(indices)
    batch = np.indices(indices.shape[:-1])[:batch_dims]
    depth = indices.shape[-1]
    coordinates = [indices[..., i] % x.shape[batch_dims + i] for i in range(depth)]
    return x[tuple(like(np.ascontiguousarray(p), x) for p in [*batch, *coordinates])]


@op("Pad", view, static=("pads", "constant_value", "axes"))
def pad_(
    x: Array,
    pads: Array,
    constant_value: Array | None = None,
    axes: Array | None = None,
    *,
    mode: str = "constant",
) -> Array:
    """Elements added around (or, where negative, cut away)."""
    amounts = _ints(pads)
    where = list(range(x.ndim)) if axes is None else [a % x.ndim for a in _ints(axes)]
    begins, ends = amounts[: len(where)], amounts[len(where) :]
    if mode == "constant":
        filling = np.zeros(1) if constant_value is None else np.asarray(constant_value).reshape(-1)
        value = filling[0].item() if filling.size else 0
        around = [(0, 0)] * x.ndim
        cut = [slice(None)] * x.ndim
        for axis, b, e in zip(where, begins, ends, strict=True):
            around[axis] = (max(b, 0), max(e, 0))
            cut[axis] = slice(max(-b, 0), x.shape[axis] - max(-e, 0))
        return pad(x[tuple(cut)], around, value)
    kind = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode]
    for axis, b, e in zip(where, begins, ends, strict=True):
        numbers = np.arange(x.shape[axis])[max(-b, 0) : x.shape[axis] - max(-e, 0)]
        numbers = np.pad(numbers, (max(b, 0), max(e, 0)), mode=kind)  # type: ignore[call-overload]
        x = namespace(x).take(x, like(numbers, x), axis=axis)
    return x


@op("DepthToSpace", view)
def depth_to_space(x: Array, *, blocksize: int, mode: str = "DCR") -> Array:
    """Channels spread over blocks of positions."""
    n, c, h, w = x.shape
    b = blocksize
    xp = namespace(x)
    if mode == "DCR":
        y = xp.permute_dims(xp.reshape(x, (n, b, b, c // b**2, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        y = xp.permute_dims(xp.reshape(x, (n, c // b**2, b, b, h, w)), (0, 1, 4, 2, 5, 3))
    return xp.reshape(y, (n, c // b**2, h * b, w * b))


@op("SpaceToDepth", view)
def space_to_depth(x: Array, *, blocksize: int, mode: str = "DCR") -> Array:
    """Blocks of positions gathered into channels."""
    n, c, h, w = x.shape
    b = blocksize
    xp = namespace(x)
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    y = xp.permute_dims(xp.reshape(x, (n, c, h // b, b, w // b, b)), order)
    return xp.reshape(y, (n, c * b * b, h // b, w // b))


@op("Trilu", view, static=("k",))
def trilu(x: Array, k: Array | None = None, *, upper: int = 1) -> Array:
    """Upper or lower triangle; the rest is zero."""
    shift = 0 if k is None else int(np.asarray(k).reshape(()))
    rows, columns = x.shape[-2], x.shape[-1]
    apart = np.arange(columns)[None, :] - np.arange(rows)[:, None] - shift
    keep = like(apart >= 0 if upper else apart <= 0, x)
    return namespace(x).where(keep, x, x * 0)


@op("ReverseSequence", view, static=("lengths",))
def reverse_sequence(x: Array, lengths: Array, *, batch_axis: int = 1, time_axis: int = 0) -> Array:
    """Turn the first steps of each sequence round."""
    place = list(np.indices(tuple(x.shape), sparse=True))
    shape = [1] * x.ndim
    shape[batch_axis] = -1
    count = np.asarray(lengths).reshape(shape)
    time = place[time_axis]
    place[time_axis] = np.where(time < count, count - 1 - time, time)
    return x[tuple(like(np.ascontiguousarray(np.broadcast_to(p, tuple(x.shape))), x) for p in place)]


@op("Compress", view, static=("condition",))
def compress(x: Array, condition: Array, *, axis: int | None = None) -> Array:
    """Entries where the condition holds."""
    if axis is None:
        x, axis = namespace(x).reshape(x, (-1,)), 0
    return namespace(x).take(x, like(np.flatnonzero(condition), x), axis=axis)
