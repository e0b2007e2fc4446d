"""Operators whose result is no function of random values: shapes, ranges and constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kppstat.array import Array
from kppstat.ops.elementwise import ONNX_DTYPES
from kppstat.ops.family import Family
from kppstat.ops.registry import op

exact = Family("exact")


@op("Shape", exact)
def shape(x: Array, *, start: int = 0, end: int | None = None) -> np.ndarray:
    """Sizes of the axes from `start` to `end`."""
    return np.asarray(tuple(x.shape)[start:end], np.int64)


@op("Size", exact)
def size(x: Array) -> np.ndarray:
    """Count the elements."""
    return np.asarray(np.prod(tuple(x.shape), dtype=np.int64))


@op("Constant", exact)
def constant(
    *,
    value: np.ndarray | None = None,
    value_float: float | None = None,
    value_floats: Sequence[float] | None = None,
    value_int: int | None = None,
    value_ints: Sequence[int] | None = None,
    value_string: str | None = None,
    value_strings: Sequence[str] | None = None,
) -> np.ndarray:
    """Return a constant from whichever attribute is given."""
    if value is not None:
        return np.asarray(value)
    if value_float is not None or value_floats is not None:
        return np.asarray(value_floats if value_float is None else value_float, np.float32)
    if value_int is not None or value_ints is not None:
        return np.asarray(value_ints if value_int is None else value_int, np.int64)
    return np.asarray(value_strings if value_string is None else value_string)


@op("ConstantOfShape", exact, static=("sizes",))
def constant_of_shape(sizes: Array, *, value: np.ndarray | None = None) -> np.ndarray:
    """One value everywhere, float32 zero by default."""
    filling = np.zeros(1, np.float32) if value is None else np.asarray(value).reshape(-1)
    return np.full([int(n) for n in np.asarray(sizes).reshape(-1)], filling[0], filling.dtype)


@op("Range", exact, static=("start", "limit", "delta"))
def range_(start: Array, limit: Array, delta: Array) -> np.ndarray:
    """Numbers from `start` to before `limit`."""
    first, last, step = (np.asarray(v).reshape(-1)[0] for v in (start, limit, delta))
    return np.arange(first, last, step, dtype=first.dtype)


@op("EyeLike", exact)
def eye_like(x: Array, *, dtype: int | None = None, k: int = 0) -> np.ndarray:
    """Ones on a diagonal."""
    kind: Any = ONNX_DTYPES[dtype] if dtype is not None else str(x.dtype).removeprefix("torch.")
    return np.eye(x.shape[0], x.shape[1], k, kind)


@op("NonZero", exact, static=("x",))
def non_zero(x: Array) -> np.ndarray:
    """Coordinates of the elements that are not zero."""
    return np.asarray(np.nonzero(np.atleast_1d(x)), np.int64)


@op("OneHot", exact, static=("indices", "depth", "values"))
def one_hot(indices: Array, depth: Array, values: Array, *, axis: int = -1) -> np.ndarray:
    """Write the second of `values` at the place that each index names, else the first."""
    count = int(np.asarray(depth).reshape(-1)[0])
    axis = axis if axis >= 0 else axis + indices.ndim + 1
    index = np.expand_dims(np.asarray(indices), axis)
    places = np.arange(count).reshape([-1 if i == axis else 1 for i in range(index.ndim)])
    # An index outside [-depth, depth) is on nowhere.
    hit = (index == places) | (index + count == places)
    return np.where(hit, values[1], values[0]).astype(values.dtype)
