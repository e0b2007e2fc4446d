"""Counter-based random numbers: each is a pure function of seed, instance, tensor and element.

Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 4.3)
turns a 128-bit counter and a 64-bit key into four 32-bit words. The key is the seed; the counter is (block of four
elements, purpose and tensor, instance index low, instance index high). So no draw depends on worker, batch or order.

Normals come from the words by Box and Muller's transform, with logarithm, sine and cosine written here from IEEE
additions, multiplications, divisions and square roots alone: a library's ``log`` differs between machines, these not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from kppstat.errors import NoiseError

#: What a stream of words is for; keeps streams apart that share seed, index and tensor.
_NORMALS, _REFINE, _WORDS, _ORDER = 0, 1, 2, 3
_PURPOSE_SHIFT = 24
_REFINE_TAG = np.uint64(_REFINE << _PURPOSE_SHIFT)
#: Four 32-bit words a block and 2**32 blocks a stream.
_MOST = 1 << 34

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MUL0, _MUL1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY0, _KEY1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)

#: A radius word below this (of 2**32) takes more random bits, so that the tail is not a staircase and has no end.
_COARSE = np.uint64(1 << 16)  # as compared with the 32-bit word, whose lowest bit is not used
#: Blocks worked on between two looks for such words; bounds the cost of going back.
_RUN = 512

_ONE, _TWO, _MINUS_TWO = np.float32(1), np.float32(2), np.float32(-2)
_LOG2, _SQRT_HALF = math.log(2), math.sqrt(0.5)
_TWO_TO_MINUS_31, _TWO_TO_MINUS_64 = 2.0**-31, 2.0**-64
_LN2 = np.float32(_LOG2)
_HALVE = np.float32(0.5)
_ODD3, _ODD5, _ODD7, _ODD9 = (np.float32(1 / n) for n in (3, 5, 7, 9))
_SIN3, _SIN5, _SIN7, _SIN9 = (np.float32((-1) ** (n // 2) / math.factorial(n)) for n in (3, 5, 7, 9))
_COS2, _COS4, _COS6, _COS8 = (np.float32((-1) ** (n // 2) / math.factorial(n)) for n in (2, 4, 6, 8))
#: Turns a signed 32-bit word with its two lowest bits cleared into an angle in [-pi/4, pi/4).
_ANGLE = np.float32(math.pi / 4 / 2**31)
#: The bits of float32(sqrt(1/2)), where mantissas are split into halves around one.
_SPLIT = np.int32(0x3F3504F3)


def _compiled(function: Any) -> Any:
    """Compile on first use, without the GIL, and keep the machine code on disk where some folder can be written."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)


@_compiled
def _block(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Ten Philox rounds on a counter and a key, all 32-bit words held in uint64."""
    for _ in range(10):
        p0, p1 = _MUL0 * c0, _MUL1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _KEY0) & _LOW, (k1 + _KEY1) & _LOW
    return c0, c1, c2, c3


@_compiled
def _radius(word: Any) -> Any:
    """sqrt(-2 log u) of u = (31-bit word + 1/2) / 2**31, in float32."""
    x = np.float32(np.float32(np.int32(word >> np.uint64(1))) + _HALVE)
    bits = np.float32(x).view(np.int32)
    # x = m 2**e with m in [sqrt(1/2), sqrt(2)), so that log m keeps its relative accuracy where u nears one.
    shifted = bits - _SPLIT
    e = np.int32(shifted >> np.int32(23))
    m = np.int32((shifted & np.int32(0x7FFFFF)) + _SPLIT).view(np.float32)
    s = (m - _ONE) / (m + _ONE)
    q = s * s
    atanh = s * (_ONE + q * (_ODD3 + q * (_ODD5 + q * (_ODD7 + q * _ODD9))))
    return np.sqrt(_MINUS_TWO * (np.float32(np.int32(e - np.int32(31))) * _LN2 + _TWO * atanh))


@_compiled
def _direction(word: Any) -> Any:
    """Cosine and sine of a uniform angle: 30 bits for up to pi/4 each way, one bit to swap them, one for a sign."""
    x = np.float32(np.int32(np.uint32(word & np.uint64(0xFFFFFFFC)))) * _ANGLE
    q = x * x
    s = x * (_ONE + q * (_SIN3 + q * (_SIN5 + q * (_SIN7 + q * _SIN9))))
    c = _ONE + q * (_COS2 + q * (_COS4 + q * (_COS6 + q * _COS8)))
    c = c if word & np.uint64(1) else -c
    return (c, s) if word & np.uint64(2) else (s, c)


@_compiled
def _refined_radius(word: Any, high: Any, low: Any) -> Any:
    """Radius with 64 more bits behind the 31 of `word`, in float64: reaches beyond 11."""
    fraction = (np.float64((high << _HALF) | low) + 0.5) * _TWO_TO_MINUS_64
    u = (np.float64(word >> np.uint64(1)) + fraction) * _TWO_TO_MINUS_31
    m, e = u, 0
    while m < _SQRT_HALF:
        m *= 2.0
        e -= 1
    s = (m - 1.0) / (m + 1.0)
    q, power, atanh = s * s, s, 0.0
    for n in range(1, 26, 2):
        atanh += power / n
        power *= q
    return np.float32(math.sqrt(-2.0 * (e * _LOG2 + 2.0 * atanh)))


@_compiled
def _pair(radius_word: Any, angle_word: Any) -> Any:
    """Two independent normals from two words."""
    r = _radius(radius_word)
    c, s = _direction(angle_word)
    return r * c, r * s


@_compiled
def _refined_pair(radius_word: Any, angle_word: Any, high: Any, low: Any) -> Any:
    """Two independent normals from two words and 64 more bits of the radius."""
    r = _refined_radius(radius_word, high, low)
    c, s = _direction(angle_word)
    return r * c, r * s


@_compiled
def _refine(block: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any, out: Any, at: Any) -> None:
    """Write the four normals of one block again where their radius lies in the far tail."""
    w0, w1, w2, w3 = _block(block, c1, c2, c3, k0, k1)
    if w0 < _COARSE or w2 < _COARSE:
        x0, x1, x2, x3 = _block(block, c1 | _REFINE_TAG, c2, c3, k0, k1)
        if w0 < _COARSE:
            out[at], out[at + 1] = _refined_pair(w0, w1, x0, x1)
        if w2 < _COARSE:
            out[at + 2], out[at + 3] = _refined_pair(w2, w3, x2, x3)


@_compiled
def _fill_normals(c1: Any, c2: Any, c3: Any, k0: Any, k1: Any, first: int, out: Any) -> None:
    """Fill `out`, whole blocks of four, with the normals of the blocks from `first` on."""
    blocks = out.size // 4
    for start in range(0, blocks, _RUN):
        stop = min(start + _RUN, blocks)
        least = _LOW
        for b in range(start, stop):
            w0, w1, w2, w3 = _block(np.uint64(first + b), c1, c2, c3, k0, k1)
            least = min(least, min(w0, w2))
            out[4 * b], out[4 * b + 1] = _pair(w0, w1)
            out[4 * b + 2], out[4 * b + 3] = _pair(w2, w3)
        if least < _COARSE:
            for b in range(start, stop):
                _refine(np.uint64(first + b), c1, c2, c3, k0, k1, out, 4 * b)


@_compiled
def _fill_words(c1: Any, c2: Any, c3: Any, k0: Any, k1: Any, first: int, out: Any) -> None:
    """Fill `out`, whole blocks of four, with the words of the blocks from `first` on."""
    for b in range(out.size // 4):
        out[4 * b], out[4 * b + 1], out[4 * b + 2], out[4 * b + 3] = _block(np.uint64(first + b), c1, c2, c3, k0, k1)


@_compiled
def _shuffle_head(draws: Any, order: Any) -> None:
    """Fisher and Yates's shuffle, forwards, of as many places as there are draws."""
    n = np.uint64(order.size)
    for i in range(draws.size):
        # The high half of a 64 by 64 bit product maps 64 bits to 0 .. span - 1 with bias below span / 2**64.
        span = n - np.uint64(i)
        d = draws[i]
        carry = ((d & _LOW) * span) >> _HALF
        j = np.uint64(i) + (((d >> _HALF) * span + carry) >> _HALF)
        order[i], order[j] = order[j], order[i]


def _counter(seed: int, index: int, tensor: int, purpose: int) -> tuple[np.uint64, ...]:
    """Check the names of a stream and return counter words 1 to 3 and the key words."""
    for name, value, bits in (("seed", seed, 64), ("instance index", index, 64), ("tensor number", tensor, 24)):
        if not 0 <= value < 1 << bits:
            raise NoiseError(f"{name} is {value}", where="random numbers", remedy=f"Give one from 0 to 2^{bits} - 1")
    mask = 0xFFFFFFFF
    words = (tensor | purpose << _PURPOSE_SHIFT, index & mask, index >> 32, seed & mask, seed >> 32)
    return tuple(np.uint64(w) for w in words)


def _filled(kernel: Any, names: tuple[np.uint64, ...], count: int, dtype: type, out: Any) -> Any:
    """Run a kernel over whole blocks and return the first `count` numbers, in `out` if given."""
    if not 0 <= count <= _MOST:
        raise NoiseError(f"count is {count}", where="random numbers", remedy="Ask for 0 to 2^34 numbers of a tensor")
    if out is None:
        whole: np.ndarray = np.empty(-(-count // 4) * 4, dtype)
        kernel(*names, 0, whole)
        return whole[:count]
    if out.shape != (count,) or out.dtype != dtype or not out.flags.c_contiguous:
        kind = np.dtype(dtype).name
        raise NoiseError(f"out is {out.dtype} of shape {out.shape}", remedy=f"Give a contiguous {kind} ({count},)")
    body = count // 4 * 4
    kernel(*names, 0, out[:body])
    if body < count:
        last: np.ndarray = np.empty(4, dtype)
        kernel(*names, count // 4, last)
        out[body:] = last[: count - body]
    return out


def normals(seed: int, index: int, tensor: int, count: int, *, out: np.ndarray | None = None) -> np.ndarray:
    """Return the standard normals of one tensor of one instance.

    The first n of any larger count are the same, and no draw depends on another: any worker, batch or order of
    work gives the same bits, on every machine. The law is that of a standard normal to beyond ``|z| = 11``: radii in
    the far tail (once in 65,536 pairs) take 64 more random bits.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1.
    index : int
        Number of the instance, from 0 to 2**64 - 1.
    tensor : int
        Number of the stream within the instance, ``Weight.position``, from 0 to 2**24 - 1.
    count : int
        How many, up to 2**34.
    out : ndarray, float32, shape (count,), optional
        Contiguous array to write into and return.

    Returns
    -------
    ndarray, float32, shape (count,)

    Raises
    ------
    NoiseError
        If a number is out of range or `out` does not fit.

    Examples
    --------
    >>> z = normals(seed=7, index=3, tensor=0, count=1000)
    >>> bool((normals(7, 3, 0, 10) == z[:10]).all())
    True
    """
    return _filled(_fill_normals, _counter(seed, index, tensor, _NORMALS), count, np.float32, out)


def words(seed: int, index: int, stream: int, count: int) -> np.ndarray:
    """Return uniform random words of a stream of their own, independent of all `normals`.

    Parameters
    ----------
    seed, index : int
        As in `normals`.
    stream : int
        Number of the stream, from 0 to 2**24 - 1.
    count : int
        How many, up to 2**34.

    Returns
    -------
    ndarray, uint32, shape (count,)

    Examples
    --------
    >>> words(seed=0, index=0, stream=0, count=3).dtype
    dtype('uint32')
    """
    return _filled(_fill_words, _counter(seed, index, stream, _WORDS), count, np.uint32, None)


def permutation(seed: int, index: int, stream: int, n: int, count: int | None = None) -> np.ndarray:
    """Return the first `count` places of a uniformly random order of 0 .. n - 1.

    A larger count goes on with the same order, so that an audit can look at further inputs later.

    Parameters
    ----------
    seed, index : int
        As in `normals`.
    stream : int
        Number of the stream, from 0 to 2**24 - 1.
    n : int
        How many things are put in order.
    count : int, optional
        How many places are wanted; all by default.

    Returns
    -------
    ndarray, int64, shape (count,)

    Notes
    -----
    No order has a probability that differs from 1 / n! by more than a factor of 1 + n^2 / 2^64.

    Examples
    --------
    >>> order = permutation(seed=1, index=0, stream=0, n=5)
    >>> sorted(order.tolist())
    [0, 1, 2, 3, 4]
    """
    count = n if count is None else count
    if not 0 <= count <= n:
        raise NoiseError(f"{count} places of {n} wanted", where="permutation", remedy=f"Ask for 0 to {n}")
    draws = _filled(_fill_words, _counter(seed, index, stream, _ORDER), 2 * count, np.uint32, None)
    order = np.arange(n)
    _shuffle_head(draws[0::2].astype(np.uint64) << _HALF | draws[1::2], order)
    return order[:count]
