import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from kppstat.errors import NoiseError
from kppstat.noise import philox

# Random123 (github.com/DEShawResearch/random123), tests/kat_vectors, lines "philox4x32 10": counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
WORD = st.integers(0, 2**32 - 1)


def reference(counter, key, *, bits, multipliers, weyl):
    """Philox 4xW-10 in Python integers, for either word size."""
    mask = 2**bits - 1
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = multipliers[0] * c[0], multipliers[1] * c[2]
        c = [b >> bits ^ c[1] ^ k[0], b & mask, a >> bits ^ c[3] ^ k[1], a & mask]
        k = [(k[0] + weyl[0]) & mask, (k[1] + weyl[1]) & mask]
    return c


def reference32(counter, key):
    return reference(counter, key, bits=32, multipliers=(0xD2511F53, 0xCD9E8D57), weyl=(0x9E3779B9, 0xBB67AE85))


def words_of(text):
    return [int(word, 16) for word in text.split()]


def block(counter, key):
    return [int(w) for w in philox._block(*(np.uint64(v) for v in (*counter, *key)))]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_published_known_answers(counter, key, result):
    assert block(words_of(counter), words_of(key)) == words_of(result)


@given(st.lists(WORD, min_size=4, max_size=4), st.lists(WORD, min_size=2, max_size=2))
def test_block_equals_reference(counter, key):
    assert block(counter, key) == reference32(counter, key)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 2))
def test_reference_is_numpys_philox_at_64_bits(key0, key1, count):
    generator = np.random.Philox(key=np.array([key0, key1], np.uint64), counter=np.array([count, 0, 0, 0], np.uint64))
    expected = reference(
        [count + 1, 0, 0, 0],
        [key0, key1],
        bits=64,
        multipliers=(0xD2E7470EE14C6C93, 0xCA5A826395121157),
        weyl=(0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B),
    )
    assert generator.random_raw(4).tolist() == expected


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**24 - 1))
def test_words_are_the_counters_named_in_the_documentation(seed, index, stream):
    got = philox.words(seed, index, stream, 7).tolist()
    key = [seed % 2**32, seed >> 32]
    counters = [[b, stream + 2 * 2**24, index % 2**32, index >> 32] for b in range(2)]
    assert got == [w for c in counters for w in reference32(c, key)][:7]


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.integers(0, 9), st.integers(0, 3000), st.integers(0, 3000))
def test_a_longer_draw_begins_with_the_shorter(seed, index, tensor, n, m):
    n, m = sorted((n, m))
    assert np.array_equal(philox.normals(seed, index, tensor, m)[:n], philox.normals(seed, index, tensor, n))


@given(st.integers(0, 4000))
def test_out_receives_the_same_bits(count):
    out = np.full(count, np.nan, np.float32)
    assert philox.normals(5, 6, 7, count, out=out) is out
    assert np.array_equal(out, philox.normals(5, 6, 7, count))


def test_bits_are_fixed_for_ever():
    # Recorded when the generator was written: a change of these bits would change every journal of every user.
    assert [v.hex() for v in philox.normals(1, 2, 3, 4).astype(float)] == [
        "0x1.fb80dc0000000p-3",
        "-0x1.57896a0000000p-2",
        "0x1.2cab360000000p+0",
        "0x1.cff1300000000p+0",
    ]


def digest(tmp_path, **environment):
    """Hash of many normals, drawn by a new process that compiles anew."""
    code = (
        "import hashlib; from kppstat.noise import normals; "
        "print(hashlib.sha256(normals(3, 2**40, 9, 1_000_001).tobytes()).hexdigest())"
    )
    root = str(Path(__file__).parents[2])
    settings = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": root, **environment}
    return subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=True).stdout


def test_bits_do_not_depend_on_the_processor(tmp_path):
    # A processor without vector instructions or fused multiply-add, against this one.
    plain = digest(tmp_path / "plain", NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")
    slow = digest(tmp_path / "slow", NUMBA_OPT="0")
    here = hashlib.sha256(philox.normals(3, 2**40, 9, 1_000_001).tobytes()).hexdigest()
    assert plain.strip() == slow.strip() == here


def test_works_where_no_compiled_code_can_be_kept(monkeypatch):
    caching = pytest.importorskip("numba.core.caching")
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    double = philox._compiled(lambda x: 2 * x)
    assert double(2) == 4


def radius(word, fraction):
    """Radius that the map gives for a 31-bit word followed by 64 bits."""
    shifted = np.uint64(word << 1)
    if shifted < philox._COARSE:
        return philox._refined_radius(shifted, np.uint64(fraction >> 32), np.uint64(fraction % 2**32))
    return philox._radius(shifted)


def tail_probability(t):
    """Exact probability that the radius exceeds t, by bisection on the word and on the 64 bits behind it."""
    words = bisect(2**31, lambda w: radius(w, 2**63) > t)
    parts = [
        bisect(2**64, lambda f, w=w: radius(w, f) > t)
        for w in range(max(words - 2, 0), words + 2)
        if w << 1 < philox._COARSE
    ]
    whole = max(words - 2, 0) if parts else words
    return (whole + sum(parts) / 2**64) / 2**31


def bisect(n, true_below):
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if true_below(middle) else (low, middle)
    return low


@pytest.mark.parametrize("t", [0.05, 0.5, 1, 2, 3, 4, 4.6, 4.7, 4.8, 5, 5.5, 6, 6.5, 6.7, 7, 8, 9, 10, 11])
def test_radius_has_the_exact_tail(t):
    # Rayleigh: P(R > t) = exp(-t^2 / 2). Float32 keeps r to 1e-7, so the tail to about t^2 1e-7.
    assert tail_probability(np.float32(t)) == pytest.approx(math.exp(-(np.float64(np.float32(t)) ** 2) / 2), rel=5e-5)


@given(WORD, WORD)
def test_pair_equals_float64_formula(radius_word, angle_word):
    got = np.array(philox._pair(np.uint64(radius_word), np.uint64(angle_word)), float)
    r = math.sqrt(-2 * math.log(((radius_word >> 1) + 0.5) / 2**31))
    signed = angle_word & 0xFFFFFFFC
    angle = (signed - 2**32 if signed >= 2**31 else signed) / 2**31 * math.pi / 4
    c, s = math.cos(angle) * (1 if angle_word & 1 else -1), math.sin(angle)
    # Words that round to u = 1 in float32 lose the last part in 2**-25 of u.
    expected = np.array([r * c, r * s] if angle_word & 2 else [r * s, r * c])
    assert np.abs(got - expected).max() < (4e-4 if radius_word > 2**32 - 2**13 else 3e-6)


@pytest.mark.parametrize("word", [0, 1, 2, 2**31, 2**32 - 1])
@pytest.mark.parametrize("fraction", [0, 1, 2**64 - 1])
def test_extreme_words_give_finite_numbers(word, fraction):
    high, low = np.uint64(fraction >> 32), np.uint64(fraction % 2**32)
    for angle in (0, 1, 2, 3, 2**31, 2**32 - 1):
        assert np.isfinite(philox._pair(np.uint64(word), np.uint64(angle))).all()
        assert np.isfinite(philox._refined_pair(np.uint64(word), np.uint64(angle), high, low)).all()
    assert 11 < radius(0, 0) < 12


def test_small_radius_words_take_more_bits():
    # Draw the raw words of the normals' own counters, find small ones and compare what normals() makes of them.
    seed, index, tensor, blocks = 11, 12, 13, 1 << 20
    names = philox._counter(seed, index, tensor, philox._NORMALS)
    raw = philox._filled(philox._fill_words, names, 4 * blocks, np.uint32, None).reshape(blocks, 4)
    z = philox.normals(seed, index, tensor, 4 * blocks).reshape(blocks, 4)
    found = np.argwhere(raw[:, [0, 2]] < philox._COARSE)
    assert 10 < len(found) < 70  # 2**21 pairs, one in 2**16
    changed = 0
    for b, half in found:
        key = [seed, 0]
        extra = reference32([int(b), tensor + (1 << 24), index, 0], key)[2 * half : 2 * half + 2]
        pair = [np.uint64(v) for v in raw[b, 2 * half : 2 * half + 2]]
        expected = philox._refined_pair(*pair, *(np.uint64(v) for v in extra))
        assert z[b, 2 * half : 2 * half + 2].tolist() == list(expected)
        changed += expected != philox._pair(*pair)
    assert changed > 0.9 * len(found)


def test_law_is_standard_normal():
    z = philox.normals(2026, 0, 0, 1 << 24)
    n = z.size
    moments = [float(np.mean(z.astype(np.float64) ** k)) for k in (1, 2, 3, 4)]
    # Standard deviations of the sample moments of a normal: 1, 2, 15 and 96 over n, under the root.
    for got, wanted, variance in zip(moments, (0, 1, 0, 3), (1, 2, 15, 96), strict=True):
        assert abs(got - wanted) < 4.5 * math.sqrt(variance / n)
    edges = np.array([-np.inf, -5, -4.5, -4, -3.5, -3, -2, -1, 0, 1, 2, 3, 3.5, 4, 4.5, 5, np.inf])
    seen = np.diff(np.searchsorted(np.sort(z), edges))
    expected = n * np.diff(scipy.stats.norm.cdf(edges))
    assert scipy.stats.chisquare(seen, expected).pvalue > 1e-4
    assert scipy.stats.kstest(z[: 1 << 20], "norm").pvalue > 1e-4


@pytest.mark.parametrize("other", [(8, 0, 0), (7, 1, 0), (7, 2**32, 0), (7, 0, 1), (7 + 2**32, 0, 0)])
def test_streams_are_independent(other):
    n = 1 << 20
    a, b = philox.normals(7, 0, 0, n), philox.normals(*other, n)
    for f in (lambda v: v, np.square, np.abs):
        assert abs(np.corrcoef(f(a), f(b))[0, 1]) < 5 / math.sqrt(n)


def test_neighbours_within_a_stream_are_uncorrelated():
    z = philox.normals(3, 1, 4, 1 << 20)
    for lag in (1, 2, 3, 4, 5, 1024):
        for f in (lambda v: v, np.square):
            assert abs(np.corrcoef(f(z[:-lag]), f(z[lag:]))[0, 1]) < 5 / math.sqrt(z.size)


def test_words_are_uniform_in_every_bit():
    words = philox.words(1, 2, 3, 1 << 18)
    ones = np.unpackbits(words.view(np.uint8).reshape(-1, 4), axis=1).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / math.sqrt(words.size)


@given(st.integers(0, 300), st.data())
def test_permutation_head_is_stable_and_whole(n, data):
    m = data.draw(st.integers(0, n))
    order = philox.permutation(9, 1, 0, n)
    assert sorted(order.tolist()) == list(range(n))
    assert np.array_equal(philox.permutation(9, 1, 0, n, m), order[:m])


def test_permutations_are_equally_likely():
    orders = [tuple(philox.permutation(1, i, 0, 4).tolist()) for i in range(24_000)]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize(
    ("seed", "index", "tensor", "count", "message"),
    [
        (-1, 0, 0, 1, "seed is -1"),
        (2**64, 0, 0, 1, "2\\^64"),
        (0, -1, 0, 1, "instance index is -1"),
        (0, 0, 2**24, 1, "tensor number"),
        (0, 0, 0, -1, "count is -1"),
        (0, 0, 0, 2**34 + 1, "count"),
    ],
)
def test_numbers_out_of_range_are_refused(seed, index, tensor, count, message):
    with pytest.raises(NoiseError, match=message):
        philox.normals(seed, index, tensor, count)


@pytest.mark.parametrize("out", [np.empty(3, np.float32), np.empty(4), np.empty(8, np.float32)[::2]])
def test_unfit_out_is_refused(out):
    with pytest.raises(NoiseError, match="out is"):
        philox.normals(0, 0, 0, 4, out=out)


def test_permutation_of_too_many_places_is_refused():
    with pytest.raises(NoiseError, match="5 places of 4"):
        philox.permutation(0, 0, 0, 4, 5)


def test_without_more_bits_the_tail_would_end():
    # The tail test can fail: a 31-bit word alone has no radius beyond 6.67.
    assert philox._radius(np.uint64(0)) < 6.7 < 11 < radius(0, 0)
