import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from kppstat.errors import SettingError
from kppstat.stats.order import (
    lower_rank,
    quantile,
    quantile_interval,
    quantile_rank,
    ranks,
    smallest_size,
    upper_rank,
)

shares = st.floats(1e-4, 1 - 1e-4)
alphas = st.floats(1e-6, 0.5)
samples = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=300)


@given(samples, st.integers(1, 999))
def test_quantile_is_the_least_value_with_enough_values_at_or_below(values, thousandths):
    p = thousandths / 1000
    wanted = min(a for a in values if Fraction(sum(v <= a for v in values), len(values)) >= Fraction(thousandths, 1000))
    assert quantile(values, p) == wanted


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_rank_has_no_rounding_error(n, m):
    if m < n:
        assert quantile_rank(n, m / n) == m


@given(st.one_of(st.integers(0, 100_000), st.integers(2**31 - 2, 10**12)), shares, alphas)
def test_ranks_are_the_tightest_of_their_level(n, p, alpha):
    low, high = lower_rank(n, p, alpha), upper_rank(n, p, alpha)
    law = stats.binom(n, p)
    slack = 1e-9 if n <= 100_000 else 1e-6
    assert law.cdf(low - 1) <= alpha * (1 + slack)
    assert low == n or law.cdf(low) > alpha * (1 - slack)
    assert law.sf(high - 1) <= alpha * (1 + slack)
    assert high == 1 or law.sf(high - 2) > alpha * (1 - slack)


@given(st.integers(1, 5000), shares, alphas)
def test_mirroring_the_values_mirrors_the_ranks(n, p, alpha):
    # X_(l) of the values is X_(n + 1 - l) of their negatives.
    low, mirrored = lower_rank(n, p, alpha), n + 1 - upper_rank(n, 1 - p, alpha)
    # Where a tail is alpha to the last bit, rounding decides on either side.
    tie = np.abs(stats.binom(n, p).cdf([low - 1, low]) - alpha).min() < 1e-12
    assert abs(low - mirrored) <= (0 if p == 1 - (1 - p) and not tie else 1)


@given(st.integers(1, 3000), shares, st.floats(1e-4, 0.4), st.floats(1e-4, 0.4))
def test_more_confidence_is_never_narrower(n, p, a, b):
    (low, high), (inner_low, inner_high) = ranks(n, p, min(a, b)), ranks(n, p, max(a, b))
    assert 0 <= low <= inner_low <= quantile_rank(n, p)
    assert quantile_rank(n, p) <= inner_high <= high <= n + 1


@given(samples, shares, st.floats(0.5, 0.999))
def test_equals_scipy(values, p, confidence):
    half, law = (1 - confidence) / 2, stats.binom(len(values), p)
    # Where a tail is exactly half of alpha the two differ: SciPy then takes one rank more than it needs.
    tails = np.concatenate([law.cdf(range(len(values))), law.sf(range(len(values)))])
    assume(np.abs(tails - half).min() > 1e-12)
    ours = quantile_interval(values, p, confidence)
    theirs = stats.quantile_test(values, p=p).confidence_interval(confidence)
    low = -math.inf if math.isnan(theirs.low) else theirs.low
    high = math.inf if math.isnan(theirs.high) else theirs.high
    assert (ours.low, ours.high) == (low, high)


@settings(max_examples=50)
@given(st.integers(20, 5000), st.floats(0.01, 0.99), st.sampled_from([0.01, 0.05, 0.2]))
def test_inverts_the_clopper_pearson_interval(n, p, alpha):
    # A rank is inside exactly when Clopper-Pearson at that count does not exclude p.
    first, beyond = ranks(n, p, alpha)
    for count in {max(first - 1, 0), first, beyond - 1, min(beyond, n)}:
        low, high = proportion_confint(count, n, alpha, method="beta")
        low, high = np.nan_to_num(low, nan=0.0), np.nan_to_num(high, nan=1.0)
        if min(abs(low - p), abs(high - p)) > 1e-9:
            assert (low < p < high) == (first <= count < beyond)


@given(samples, shares, st.randoms(use_true_random=False), st.floats(0.1, 10), st.floats(-5, 5))
def test_order_of_the_values_and_their_scale_do_not_matter(values, p, random, scale, shift):
    first = quantile_interval(values, p)
    shuffled = values.copy()
    random.shuffle(shuffled)
    assert quantile_interval(shuffled, p) == first
    moved = quantile_interval([scale * v + shift for v in values], p)
    assert (moved.low, moved.high) == (scale * first.low + shift, scale * first.high + shift)


def test_equal_values_give_a_point_once_there_are_enough():
    interval = quantile_interval([0.5] * 400, 0.01)
    assert (interval.low, interval.high, interval.guarantee) == (0.5, 0.5, "exact")


@given(st.floats(1e-3, 1 - 1e-3), st.floats(1e-4, 0.5))
def test_smallest_size_is_where_the_interval_becomes_finite(p, alpha):
    n = smallest_size(p, alpha)
    low, high = ranks(n, p, alpha)
    assert 1 <= low <= high <= n
    low, high = ranks(n - 1, p, alpha) if n > 1 else (0, 1)
    assert low == 0 or high == n


@pytest.mark.parametrize("p", [0.01, 0.5, 0.999])
def test_ranks_of_more_values_than_32_bits_count_are_those_of_the_normal_law(p):
    for n in (2**31, 2**33, 10**12):
        reach = stats.norm.isf(0.025) * math.sqrt(n * p * (1 - p))
        assert np.array(ranks(n, p, 0.05)) - n * p == pytest.approx([-reach, reach], abs=4)


@pytest.mark.parametrize("p", [1e-11, 1e-15, 1e-100])
def test_the_smallest_size_of_a_tiny_share_is_that_of_the_logarithm(p):
    assert smallest_size(p, 0.05) == pytest.approx(-math.log(0.025) / p, rel=1e-6)
    with pytest.raises(SettingError, match="no size"):
        smallest_size(5e-324, 0.05)


@pytest.mark.parametrize("call", [lambda: ranks(-1, 0.1, 0.1), lambda: ranks(10, 1.0, 0.1), lambda: ranks(10, 0.1, 0)])
def test_settings_out_of_range_are_refused(call):
    with pytest.raises(SettingError):
        call()


@given(k=st.floats(-12, -0.31), upper=st.booleans(), alpha=st.sampled_from([0.01, 0.05, 0.5]))
def test_the_smallest_size_is_the_smallest_at_once(k: float, upper: bool, alpha: float) -> None:
    p = 1 - 10**k if upper else 10**k
    n = smallest_size(p, alpha)
    low, high = ranks(n, p, alpha)
    assert low > 0
    assert high <= n
    if n > 1:
        low, high = ranks(n - 1, p, alpha)
        assert low == 0 or high > n - 1
