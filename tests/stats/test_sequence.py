import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import betaln

from kppstat.errors import SettingError
from kppstat.stats.order import ranks
from kppstat.stats.sequence import QuantileSequence, confidence_sequence_interval

shares = st.floats(1e-3, 1 - 1e-3)


@pytest.mark.parametrize(
    ("p", "t", "t_opt", "count", "log_martingale"),
    [
        # computed with confseq 0.0.11 at alpha = 0.05
        (0.01, 5000, 5000, 70, 1.97186453),
        (0.001, 30000, 20000, 50, 3.63149558),
        (0.01, 1000, 5000, 3, 1.59633058),
    ],
)
def test_equals_the_authors_software(p, t, t_opt, count, log_martingale):
    assert QuantileSequence(p, 0.05, t_opt).log_martingale(count, t) == pytest.approx(log_martingale, abs=1e-8)


@given(shares, st.integers(1, 2000), st.integers(0, 300))
def test_martingale_keeps_its_mean(p, t_opt, t):
    # The mean of M_t under a binomial count is 1: the property that the whole promise rests on.
    sequence = QuantileSequence(p, 0.05, t_opt)
    counts = np.arange(t + 1)
    law = -math.log(t + 1) - betaln(counts + 1, t - counts + 1) + counts * math.log(p) + (t - counts) * math.log1p(-p)
    logs = np.array([sequence.log_martingale(int(c), t) for c in counts])
    assert np.exp(law + logs).sum() == pytest.approx(1, abs=1e-6)


@settings(max_examples=50)
@example(p=1 / 512, alpha=0.5, t_opt=1, sizes=[356])  # the mean count itself is outside
@given(shares, st.floats(1e-4, 0.5), st.integers(1, 3000), st.lists(st.integers(0, 800), min_size=1, max_size=8))
def test_ranks_enclose_exactly_the_counts_below_the_boundary_in_any_order_of_sizes(p, alpha, t_opt, sizes):
    sequence = QuantileSequence(p, alpha, t_opt)
    for t in sizes:
        inside = [c for c in range(t + 1) if sequence.log_martingale(c, t) < -math.log(alpha)]
        assert sequence.ranks(t) == (inside[0], inside[-1] + 1)
        assert QuantileSequence(p, alpha, t_opt).ranks(t) == sequence.ranks(t)


@given(shares, st.integers(1, 5000), st.integers(1, 5000), st.floats(1e-3, 0.5))
@example(0.9989999999999999, 2998, 10, 0.05)
def test_keeps_its_level_at_every_single_size(p, t, t_opt, alpha):
    # Both sides together, exactly. One side alone may take more than half of alpha: at the example, nearly all of it
    # goes to one side, and the end there is closer in than that of the equal-tailed interval for one size.
    low, high = QuantileSequence(p, alpha, t_opt).ranks(t)
    assert stats.binom.cdf(low - 1, t, p) + stats.binom.sf(high - 1, t, p) <= alpha * (1 + 1e-9)


def test_ever_missing_is_as_rare_as_promised():
    # Stop at the first miss: the hardest rule there is. 4,000 walks of 3,000 steps, once from each t_opt.
    rng = np.random.default_rng(20)
    for p, t_opt in [(0.05, 300), (0.5, 1000)]:
        sequence = QuantileSequence(p, 0.1, t_opt)
        sizes = range(1, 3001)
        low, high = np.array([sequence.ranks(t) for t in sizes]).T
        walks = np.cumsum(rng.random((4000, 3000)) < p, axis=1)
        ever_out = ((walks < low) | (walks >= high)).any(axis=1).mean()
        assert 0.01 < ever_out <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 4000)
        # Negative control: the interval for one fixed size, looked at all the time, must fail.
        low, high = np.array([ranks(t, p, 0.1) for t in sizes]).T
        assert ((walks < low) | (walks >= high)).any(axis=1).mean() > 0.3


def test_covers_with_ties_when_stopping_at_the_worst_moment():
    rng = np.random.default_rng(21)
    sequence = QuantileSequence(0.1, 0.1, 500)
    bounds = np.array([sequence.ranks(t) for t in range(1, 1001)])
    law = np.array([0.04, 0.03, 0.2, 0.73])  # the quantile is the value 2, met by jumps on both sides
    values = rng.choice(4, size=(3000, 1000), p=law)
    at_or_below, below = np.cumsum(values <= 2, axis=1), np.cumsum(values < 2, axis=1)
    ever_out = ((at_or_below < bounds[:, 0]) | (below >= bounds[:, 1])).any(axis=1).mean()
    assert ever_out <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 3000)


def test_interval_reads_the_ranks_off_the_sorted_values():
    values = np.random.default_rng(3).permutation(np.arange(1, 2001)).astype(float)
    low, high = QuantileSequence(0.05, 1 - 0.9, 1000).ranks(2000)
    interval = confidence_sequence_interval(values, 0.05, 0.9, 1000)
    assert (interval.low, interval.high) == (low, high)
    assert (interval.confidence, interval.guarantee) == (0.9, "anytime")
    assert confidence_sequence_interval([0.5], 0.05, 0.9, 1000).low == -math.inf


def test_settings_out_of_range_are_refused():
    for arguments in [(0.0, 0.05, 10), (0.1, 1.0, 10), (0.1, 0.05, 0)]:
        with pytest.raises(SettingError):
            QuantileSequence(*arguments)
    with pytest.raises(SettingError):
        QuantileSequence(0.1, 0.05, 10).ranks(-1)
