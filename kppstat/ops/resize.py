"""Resizing: nearest, linear and cubic interpolation, one axis at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kppstat.array import Array, dtype_name, like, namespace
from kppstat.errors import ModelError
from kppstat.ops.family import Family
from kppstat.ops.moments import Moments, Step
from kppstat.ops.registry import op

resizing = Family("resizing")


def _source(length: int, new: int, scale: float, transform: str, roi: tuple[float, float] | None) -> np.ndarray:
    """Coordinates in the input of the points of the output, by ONNX's coordinate_transformation_mode."""
    at = np.arange(new, dtype=np.float64)
    if transform == "align_corners":
        return np.zeros(new) if new == 1 else at * (length - 1) / (new - 1)
    if transform == "asymmetric":
        return at / scale
    if transform == "tf_crop_and_resize":
        first, last = roi or (0.0, 1.0)
        if new == 1:
            return np.array([0.5 * (first + last) * (length - 1)])
        return first * (length - 1) + at * (last - first) * (length - 1) / (new - 1)
    if transform == "pytorch_half_pixel" and new == 1:
        return np.array([0.0])
    if transform == "half_pixel_symmetric":
        adjustment = new / (scale * length)
        centre = length / 2
        return centre * (1 - adjustment) + (at + 0.5) / scale - 0.5
    return (at + 0.5) / scale - 0.5


def _kernel(distance: np.ndarray, mode: str, cubic_a: float) -> np.ndarray:
    """Weight of an input point at this distance from the sampled coordinate."""
    d = np.abs(distance)
    if mode == "linear":
        return np.maximum(1 - d, 0)
    a = cubic_a
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def axis_matrix(
    length: int,
    new: int,
    scale: float,
    *,
    mode: str,
    transform: str,
    nearest_mode: str,
    cubic_a: float,
    antialias: int,
    exclude_outside: int,
    roi: tuple[float, float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix (new, length) that resizes one axis, and which output points lie outside the input."""
    x = _source(length, new, scale, transform, roi)
    outside = (x < 0) | (x > length - 1) if transform == "tf_crop_and_resize" else np.zeros(new, bool)
    matrix = np.zeros((new, length))
    if mode == "nearest":
        rules: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "round_prefer_floor": lambda v: np.ceil(v - 0.5),
            "round_prefer_ceil": lambda v: np.floor(v + 0.5),
            "floor": np.floor,
            "ceil": np.ceil,
        }
        matrix[np.arange(new), np.clip(rules[nearest_mode](x), 0, length - 1).astype(int)] = 1
        return matrix, outside
    stretch = 1 / scale if antialias and scale < 1 else 1.0
    reach = math.ceil((1 if mode == "linear" else 2) * stretch)
    points = np.floor(x)[:, None] + np.arange(-reach + 1, reach + 1)[None, :]
    weights = _kernel((points - x[:, None]) / stretch, mode, cubic_a)
    if exclude_outside or (antialias and scale < 1 and mode == "linear"):
        weights = np.where((points < 0) | (points > length - 1), 0, weights) if exclude_outside else weights
    weights = weights / weights.sum(1, keepdims=True)
    rows = np.repeat(np.arange(new), points.shape[1])
    np.add.at(matrix, (rows, np.clip(points, 0, length - 1).astype(int).reshape(-1)), weights.reshape(-1))
    return matrix, outside


@op("Resize", resizing, static=("roi", "scales", "sizes"))
def resize(
    x: Array,
    roi: Array | None = None,
    scales: Array | None = None,
    sizes: Array | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Array:
    """Interpolate to another size along each axis."""
    plan = _plan(
        tuple(x.shape),
        roi,
        scales,
        sizes,
        axes=axes,
        cropping=coordinate_transformation_mode == "tf_crop_and_resize",
        policy=keep_aspect_ratio_policy,
        mode=mode,
        transform=coordinate_transformation_mode,
        nearest_mode=nearest_mode,
        cubic_a=cubic_coeff_a,
        antialias=antialias,
        exclude_outside=exclude_outside,
    )
    xp = namespace(x)
    for axis, matrix, outside in plan:
        x = xp.take(x, like(matrix.argmax(1), x), axis=axis) if mode == "nearest" else _along(x, axis, matrix)
        if outside.any():
            mask = like(outside.reshape([-1 if a == axis else 1 for a in range(x.ndim)]), x)
            x = xp.where(mask, xp.full_like(x, extrapolation_value), x)
    return x


def _along(x: Array, axis: int, matrix: np.ndarray) -> Array:
    """Apply a matrix (new, old) along one axis."""
    xp = namespace(x)
    last = xp.permute_dims(x, [a for a in range(x.ndim) if a != axis] + [axis])
    y = xp.matmul(last, like(np.ascontiguousarray(matrix.T).astype(dtype_name(x)), x))
    return xp.permute_dims(y, [*range(axis), x.ndim - 1, *range(axis, x.ndim - 1)])


def _plan(
    shape: tuple[int, ...],
    roi: Array | None,
    scales: Array | None,
    sizes: Array | None,
    *,
    axes: Sequence[int] | None,
    cropping: bool,
    policy: str,
    **how: Any,
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Return the axes that change, the matrix of each, and which output points lie outside the input."""
    where = [a % len(shape) for a in axes] if axes is not None else list(range(len(shape)))
    lengths = [shape[a] for a in where]
    if scales is not None and np.asarray(scales).size:
        factors = [float(s) for s in np.asarray(scales).reshape(-1)]
        new = [math.floor(n * f) for n, f in zip(lengths, factors, strict=True)]
    elif sizes is not None:
        new = [int(s) for s in np.asarray(sizes).reshape(-1)]
        factors = [s / n for s, n in zip(new, lengths, strict=True)]
        if policy != "stretch":
            one = min(factors) if policy == "not_larger" else max(factors)
            new = [math.floor(n * one + 0.5) for n in lengths]
            factors = [one] * len(new)
    else:
        raise ModelError("Resize has neither scales nor sizes", remedy="Give one of them")
    box = None if roi is None else np.asarray(roi, np.float64).reshape(2, -1)
    plan = []
    for i, axis in enumerate(where):
        if new[i] != lengths[i] or factors[i] != 1 or cropping:
            part = None if box is None else (float(box[0, i]), float(box[1, i]))
            plan.append((axis, *axis_matrix(lengths[i], new[i], factors[i], roi=part, **how)))
    return plan


@resize.moments
def _(
    x: Moments,
    roi: Array | None = None,
    scales: Array | None = None,
    sizes: Array | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Step:
    if coordinate_transformation_mode == "tf_crop_and_resize":
        raise NotImplementedError("tf_crop_and_resize")
    plan = _plan(
        tuple(x.mean.shape),
        roi,
        scales,
        sizes,
        axes=axes,
        cropping=False,
        policy=keep_aspect_ratio_policy,
        mode=mode,
        transform=coordinate_transformation_mode,
        nearest_mode=nearest_mode,
        cubic_a=cubic_coeff_a,
        antialias=antialias,
        exclude_outside=exclude_outside,
    )
    mean, var = x.mean, x.var
    for axis, matrix, _ in plan:
        mean, var = _along(mean, axis, matrix), _along(var, axis, matrix**2)

    def pull(adjoints: Sequence[Array | None]) -> list[Array | None]:
        dy = adjoints[0]
        if dy is not None:
            for axis, matrix, _ in reversed(plan):
                dy = _along(dy, axis, matrix.T)
        return [dy]

    return Step((Moments(mean, var),), pull, couples_rows=any(axis == 0 for axis, _, _ in plan))


@op("Upsample", resizing, static=("scales",))
def upsample(x: Array, scales: Array, *, mode: str = "nearest") -> Array:
    """Resize as before opset 10."""
    return resize(x, None, scales, coordinate_transformation_mode="asymmetric", mode=mode, nearest_mode="floor")
