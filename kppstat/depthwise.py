"""Convolution of each channel with a kernel of its own, over one or two spatial axes, and its transpose; compiled.

Both go line by line, so that what is read and written stays in the fastest memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit


def correlate(x: np.ndarray, w: np.ndarray, strides: Sequence[int], dilations: Sequence[int]) -> np.ndarray:
    """Cross-correlation of each channel with its own kernel.

    Parameters
    ----------
    x : ndarray of floats, shape (N, C, *spatial)
        Padded already.
    w : ndarray of floats, shape (C, 1, *kernel)
    strides, dilations : one number per spatial axis

    Returns
    -------
    ndarray, shape (N, C, *out)

    Examples
    --------
    >>> correlate(np.ones((1, 2, 4)), np.array([[[1.0, 1.0]], [[2.0, 3.0]]]), (1,), (1,)).tolist()
    [[[2.0, 2.0, 2.0], [5.0, 5.0, 5.0]]]
    """
    reach = [(k - 1) * d for k, d in zip(w.shape[2:], dilations, strict=True)]
    counts = [(n - r - 1) // s + 1 for n, r, s in zip(x.shape[2:], reach, strides, strict=True)]
    out = np.zeros((*x.shape[:2], *counts), np.result_type(x, w))
    _correlate(_planes(x), _planes(w)[:, 0], *_steps(strides), *_steps(dilations), _planes(out))
    return out


def scatter(x: np.ndarray, w: np.ndarray, strides: Sequence[int], dilations: Sequence[int], out: np.ndarray) -> None:
    """Add each element of `x`, times the kernel of its channel, into `out`: the transpose of `correlate`.

    Parameters
    ----------
    x : ndarray of floats, shape (N, C, *in)
    w : ndarray of floats, shape (C, 1, *kernel)
    strides, dilations : one number per spatial axis
    out : contiguous ndarray, shape (N, C, *out)
        With room for all.

    Examples
    --------
    >>> out = np.zeros((1, 1, 5))
    >>> scatter(np.array([[[1.0, 10.0]]]), np.array([[[1.0, 2.0]]]), (2,), (1,), out)
    >>> out.tolist()
    [[[1.0, 2.0, 10.0, 20.0, 0.0]]]
    """
    _scatter(_planes(x), _planes(w)[:, 0], *_steps(strides), *_steps(dilations), _planes(out))


def _planes(x: np.ndarray) -> np.ndarray:
    """Return the array with two spatial axes; of a contiguous one a view."""
    return np.ascontiguousarray(x[:, :, None] if x.ndim == 3 else x)


def _steps(each: Sequence[int]) -> tuple[int, int]:
    """Return the steps along two spatial axes."""
    return (1, each[0]) if len(each) == 1 else (each[0], each[1])


@njit(nogil=True, cache=True)
def _correlate(x: np.ndarray, w: np.ndarray, down: int, along: int, rows: int, columns: int, out: np.ndarray) -> None:
    width = out.shape[3]
    for n in range(out.shape[0]):
        for c in range(out.shape[1]):
            for i in range(out.shape[2]):
                line = out[n, c, i]
                for p in range(w.shape[1]):
                    row = x[n, c, i * down + p * rows]
                    for q in range(w.shape[2]):
                        factor = w[c, p, q]
                        if along == 1:  # contiguous, for vector instructions
                            part = row[q * columns : q * columns + width]
                            for j in range(width):
                                line[j] += factor * part[j]
                        else:
                            for j in range(width):
                                line[j] += factor * row[q * columns + j * along]


@njit(nogil=True, cache=True)
def _scatter(x: np.ndarray, w: np.ndarray, down: int, along: int, rows: int, columns: int, out: np.ndarray) -> None:
    width = x.shape[3]
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(x.shape[2]):
                line = x[n, c, i]
                for p in range(w.shape[1]):
                    row = out[n, c, i * down + p * rows]
                    for q in range(w.shape[2]):
                        factor = w[c, p, q]
                        if along == 1:
                            part = row[q * columns : q * columns + width]
                            for j in range(width):
                                part[j] += factor * line[j]
                        else:
                            for j in range(width):
                                row[q * columns + j * along] += factor * line[j]
