"""The array namespace: array-api-compat plus the few primitives that the array standard lacks.

Everything here works on NumPy arrays and, when the caller brings them, on torch tensors with autograd.
torch is never imported for the user: it is looked up among the modules that are already loaded.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import array_api_compat
import numpy as np
import scipy.special

Array = Any
"""A NumPy array or a torch tensor."""

_LARGEST_PATCHES = 1 << 24  # elements of one patch matrix; more is done in slices of the batch


def is_torch(x: object) -> bool:
    """Return whether `x` is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def namespace(*arrays: Array | None) -> Any:
    """Return the array-API namespace of the arrays, torch if any of them is a tensor.

    Examples
    --------
    >>> namespace(np.zeros(3)).__name__
    'array_api_compat.numpy'
    """
    for x in arrays:
        if is_torch(x):
            return array_api_compat.array_namespace(x)
    return array_api_compat.array_namespace(np.empty(0))


def to_numpy(x: Array) -> np.ndarray:
    """Return the values as a NumPy array, cut off from autograd."""
    return x.detach().cpu().numpy() if is_torch(x) else np.asarray(x)


def like(x: Array, reference: Array) -> Array:
    """Return `x` in the library and on the device of `reference`; its dtype is kept."""
    if is_torch(reference) and not is_torch(x):
        x = np.asarray(x)
        return sys.modules["torch"].from_numpy(x if x.flags.writeable else x.copy()).to(reference.device)
    return x


def is_floating(x: Array) -> bool:
    """Return whether the elements are real floating-point numbers."""
    return bool(x.dtype.is_floating_point) if is_torch(x) else np.issubdtype(x.dtype, np.floating)


def cast(x: Array, dtype: str) -> Array:
    """Return `x` with the dtype of this NumPy name."""
    if is_torch(x):
        return x.to(getattr(sys.modules["torch"], dtype))
    return np.asarray(x).astype(dtype, copy=False)


def without_half(values: Sequence[Array | None]) -> list[Array | None]:
    """Return values of which half-precision tensors beside wider ones are in single: torch refuses what NumPy promotes.

    Weights of float16 models vary in float32, so what they meet is computed in it, in either library.
    """
    kinds = {dtype_name(v) for v in values if is_torch(v)}
    if "float16" not in kinds or not kinds & {"float32", "float64"}:
        return list(values)
    return [cast(v, "float32") if is_torch(v) and dtype_name(v) == "float16" else v for v in values]


def dtype_name(x: Array) -> str:
    """Return the NumPy name of the dtype."""
    return str(x.dtype).removeprefix("torch.") if is_torch(x) else np.asarray(x).dtype.name


def erf(x: Array) -> Array:
    """Error function, elementwise."""
    return sys.modules["torch"].special.erf(x) if is_torch(x) else scipy.special.erf(x)


def normal_cdf(x: Array) -> Array:
    """Distribution function of the standard normal, elementwise."""
    return sys.modules["torch"].special.ndtr(x) if is_torch(x) else scipy.special.ndtr(x)


def normal_pdf(x: Array) -> Array:
    """Density of the standard normal, elementwise."""
    return namespace(x).exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def positive(x: Array) -> Array:
    """Negative values become zero, where the derivative counts as zero too."""
    return sys.modules["torch"].relu(x) if is_torch(x) else np.maximum(x, 0)


def limit(x: Array, low: Any, high: Any) -> Array:
    """Limit values to [low, high], both numbers or both arrays, one of them maybe None; choosing is far slower."""
    return sys.modules["torch"].clamp(x, low, high) if is_torch(x) else np.clip(x, low, high)


def pad(x: Array, pads: Sequence[tuple[int, int]], value: float = 0.0) -> Array:
    """Return `x` with ``pads[i] = (before, after)`` elements of `value` around axis i."""
    if not any(any(p) for p in pads):
        return x
    if is_torch(x):
        flat = [n for before_after in reversed(pads) for n in before_after]
        return sys.modules["torch"].nn.functional.pad(x, flat, value=value)
    out = np.full([n + sum(p) for n, p in zip(x.shape, pads, strict=True)], value, x.dtype)
    out[tuple(slice(b, b + n) for n, (b, _) in zip(x.shape, pads, strict=True))] = x
    return out


def einsum(equation: str, *operands: Array) -> Array:
    """Einstein summation in either library."""
    if is_torch(operands[0]):
        return sys.modules["torch"].einsum(equation, *operands)
    return np.einsum(equation, *operands, optimize=True)


def scatter_add(size: int, index: np.ndarray, values: Array) -> Array:
    """Return a vector of this size with ``out[index[i]] += values[i]``; a negative index is dropped.

    Examples
    --------
    >>> scatter_add(3, np.array([0, 2, 0, -1]), np.array([1.0, 2.0, 3.0, 9.0])).tolist()
    [4.0, 0.0, 2.0]
    """
    index = np.where(index < 0, size, index)
    if is_torch(values):
        where = like(index, values)
        return values.new_zeros(size + 1).index_add(0, where, values)[:size]
    return np.bincount(index, values, size + 1)[:size].astype(values.dtype, copy=False)


def windows(shape: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """Return how many windows of a kernel fit along each spatial axis."""
    return [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(shape, kernel, strides, dilations, strict=True)]


def offsets(
    shape: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Iterator[tuple[slice, ...]]:
    """Yield, for each element of a kernel, the slices of the spatial axes that it meets.

    `shape` counts the spatial axes of the padded input. Windows that would stick out at the end are left away.
    """
    counts = windows(shape, kernel, strides, dilations)
    for place in itertools.product(*(range(k) for k in kernel)):
        yield tuple(
            slice(p * d, p * d + (c - 1) * s + 1, s)
            for p, d, s, c in zip(place, dilations, strides, counts, strict=True)
        )


def in_windows(x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> list[Array]:
    """Return, for each element of a kernel, what it meets in all windows; `x` is already padded, shape (N, C, ...)."""
    return [x[(slice(None), slice(None), *where)] for where in offsets(x.shape[2:], kernel, strides, dilations)]


def max_of_windows(x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Array:
    """Return the largest element of each window; `x` is already padded, shape (N, C, *spatial)."""
    if is_torch(x) and is_floating(x) and len(kernel) <= 3:  # with quicker derivatives than a chain of maxima
        functional = sys.modules["torch"].nn.functional
        run = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(kernel) - 1]
        return run(x, tuple(kernel), tuple(strides), 0, tuple(dilations))
    return functools.reduce(namespace(x).maximum, in_windows(x, kernel, strides, dilations))


def _patches(x: np.ndarray, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> np.ndarray:
    """Windows of the spatial axes as a view, shape (N, C, *out, *kernel)."""
    rank = len(kernel)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, 2 + rank)))
    steps = tuple(slice(None, None, s) for s in strides) + tuple(slice(None, None, d) for d in dilations)
    return view[(slice(None), slice(None), *steps)]


def unfold(x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], group: int = 1) -> Array:
    """Return the patches that a convolution meets, shape (N, group, C/group * K, P).

    `x` is already padded, shape (N, C, *spatial); K is the number of kernel elements and P of output positions.
    """
    n, channels = x.shape[:2]
    rank = len(kernel)
    positions = math.prod(windows(x.shape[2:], kernel, strides, dilations))
    shape = (n, group, channels // group * math.prod(kernel), positions)
    if is_torch(x):
        return sys.modules["torch"].stack(in_windows(x, kernel, strides, dilations), 2).reshape(shape)
    view = np.moveaxis(_patches(x, kernel, strides, dilations), range(2 + rank, 2 + 2 * rank), range(2, 2 + rank))
    return view.reshape(shape)


def _depthwise(x: Array, w: Array, group: int) -> bool:
    """Whether each channel has one kernel of its own, in a precision and number of axes that compiled loops take."""
    kinds = (np.float32, np.float64)
    own = x.shape[1] == w.shape[0] == group and w.shape[1] == 1
    return own and w.ndim <= 4 and not is_torch(x) and x.dtype in kinds and w.dtype in kinds


def conv(
    x: Array,
    w: Array,
    *,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    group: int = 1,
) -> Array:
    """Cross-correlation as in ONNX Conv, without bias, in any number of spatial dimensions.

    Parameters
    ----------
    x : array, shape (N, C, *spatial)
    w : array, shape (M, C/group, *kernel)
    strides, dilations : one number per spatial axis
    pads : (begin, end) per spatial axis
    group : int

    Returns
    -------
    array, shape (N, M, *out)
    """
    x = pad(x, [(0, 0), (0, 0), *pads])
    rank = w.ndim - 2
    if is_torch(x):
        functional = sys.modules["torch"].nn.functional
        if 1 <= rank <= 3:
            run = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
            return run(x, w, stride=tuple(strides), dilation=tuple(dilations), groups=group)
    kernel = w.shape[2:]
    if _depthwise(x, w, group):  # needs no patch matrix
        from kppstat.depthwise import correlate  # loads numba

        return correlate(x, w, strides, dilations)
    out = windows(x.shape[2:], kernel, strides, dilations)
    m = w.shape[0]
    matrix = w.reshape(group, m // group, -1)
    size = max(1, _LARGEST_PATCHES // max(1, x.shape[1] * math.prod(kernel) * math.prod(out)))
    parts = [
        (matrix @ unfold(x[i : i + size], kernel, strides, dilations, group)).reshape(len(x[i : i + size]), m, *out)
        for i in range(0, max(x.shape[0], 1), size)
    ]
    return parts[0] if len(parts) == 1 else namespace(x).concat(parts, axis=0)


def _scatter(x: Array, w: Array, strides: Sequence[int], dilations: Sequence[int], group: int, out: Array) -> None:
    """Add each element of `x`, times the kernel, into `out`."""
    if _depthwise(x, w, group):
        from kppstat.depthwise import scatter  # loads numba

        scatter(x, w, strides, dilations, out)
        return
    n, channels = x.shape[:2]
    kernel, m = w.shape[2:], w.shape[1] * group
    matrix = w.reshape(group, channels // group, -1).swapaxes(1, 2)  # (group, M/group*K, C/group)
    columns = (matrix @ x.reshape(n, group, channels // group, -1)).reshape(n, m, math.prod(kernel), *x.shape[2:])
    for i, place in enumerate(itertools.product(*(range(k) for k in kernel))):
        where = tuple(
            slice(p * d, p * d + (c - 1) * s + 1, s)
            for p, d, s, c in zip(place, dilations, strides, x.shape[2:], strict=True)
        )
        out[(slice(None), slice(None), *where)] += columns[:, :, i]


def conv_transpose(
    x: Array,
    w: Array,
    *,
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilations: Sequence[int],
    group: int,
    spatial: Sequence[int],
) -> Array:
    """Transpose of `conv` in its input, without bias: scatter each input element, times the kernel, into the output.

    Parameters
    ----------
    x : array, shape (N, C, *in)
    w : array, shape (C, M/group, *kernel)
    spatial : sizes of the spatial axes of the result, after the pads are cut away

    Returns
    -------
    array, shape (N, M, *spatial)
    """
    n, kernel, m = x.shape[0], w.shape[2:], w.shape[1] * group
    full = [b + s + e for s, (b, e) in zip(spatial, pads, strict=True)]
    # A kernel that reaches beyond the cut result still needs room to be written to.
    room = [
        max(f, (i - 1) * s + (k - 1) * d + 1)
        for f, i, s, k, d in zip(full, x.shape[2:], strides, kernel, dilations, strict=True)
    ]
    if is_torch(x) and len(kernel) <= 3:
        functional = sys.modules["torch"].nn.functional
        run = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[len(kernel) - 1]
        out = run(x, w, stride=tuple(strides), dilation=tuple(dilations), groups=group)
        out = pad(out, [(0, 0), (0, 0), *((0, r - o) for r, o in zip(room, out.shape[2:], strict=True))])
    else:
        out = namespace(x).zeros((n, m, *room), dtype=x.dtype, **({"device": x.device} if is_torch(x) else {}))
        _scatter(x, w, strides, dilations, group, out)
    cut = tuple(slice(b, b + s) for s, (b, _) in zip(spatial, pads, strict=True))
    return out[(slice(None), slice(None), *cut)]
