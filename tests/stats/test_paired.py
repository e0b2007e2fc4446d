import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from kppstat.errors import DataError
from kppstat.stats.order import quantile, quantile_interval
from kppstat.stats.paired import paired_difference

SHIFT = 0.5


def pairs(n: int, correlation: float, step: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two normal samples of this correlation, the first better by `SHIFT`, rounded to multiples of `step`."""
    shared, own, other = rng.standard_normal((3, n))
    a = correlation**0.5 * shared + (1 - correlation) ** 0.5 * own + SHIFT
    b = correlation**0.5 * shared + (1 - correlation) ** 0.5 * other
    return tuple(np.floor(x / step) * step if step else x for x in (a, b))


def separate(a: np.ndarray, b: np.ndarray, p: float) -> float:
    """Width that two separate intervals give."""
    one, two = (quantile_interval(x, p, 0.975) for x in (a, b))
    return one.high - two.low - (one.low - two.high)


@pytest.mark.parametrize("step", [0.0, 0.25])
@pytest.mark.parametrize("correlation", [0.0, 0.8])
@pytest.mark.parametrize(("n", "p"), [(300, 0.05), (700, 0.01)])
def test_coverage_with_ties_and_without(n: int, p: float, correlation: float, step: float) -> None:
    rng = np.random.default_rng(1)
    truth = SHIFT
    if step:  # the quantile of the rounded law is the multiple below that of the law
        q = norm.ppf(p)
        truth = np.floor((q + SHIFT) / step) * step - np.floor(q / step) * step
    runs = 150
    held = sum(truth in paired_difference(*pairs(n, correlation, step, rng), p) for _ in range(runs))
    assert binomtest(held, runs, 0.95, "less").pvalue > 1e-3


def test_coverage_where_one_value_holds_the_percentile() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(150):
        tie = rng.random(300) < 0.5
        a, b = (np.where(tie, 0.0, rng.random(300) - c) for c in (0.02, 0.04))
        held += 0.0 in paired_difference(a, b, 0.3)
    assert binomtest(held, 150, 0.95, "less").pvalue > 1e-3


def test_pairing_pays() -> None:
    rng = np.random.default_rng(3)
    ratios = {c: [] for c in (0.0, 0.9)}
    for correlation, found in ratios.items():
        for _ in range(7):
            a, b = pairs(600, correlation, 0, rng)
            interval = paired_difference(a, b, 0.05)
            found.append((interval.high - interval.low) / separate(a, b, 0.05))
    assert np.median(ratios[0.0]) < 1
    assert np.median(ratios[0.9]) < 0.6


samples = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=80, max_size=200)


@settings(max_examples=30, deadline=None)
@given(samples, st.sampled_from([0.1, 0.5]))
def test_it_holds_the_difference_of_the_empirical_quantiles_and_turns_round(drawn, p):
    a, b = np.array(drawn, float).T
    one, two = paired_difference(a, b, p), paired_difference(b, a, p)
    assert (one.low, one.high) == (-two.high, -two.low)
    assert quantile(a, p) - quantile(b, p) in one
    shifted = paired_difference(a + 7, b, p)
    assert (shifted.low, shifted.high) == (one.low + 7, one.high + 7)


def test_too_few_values_bound_nothing() -> None:
    x = np.arange(596) / 1000
    assert paired_difference(x, x, 0.01).low == -np.inf
    assert np.isfinite(paired_difference(np.arange(597) / 1000, np.arange(597) / 1000, 0.01).low)


def test_samples_of_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="no pairs"):
        paired_difference([1, 2], [1], 0.5)
