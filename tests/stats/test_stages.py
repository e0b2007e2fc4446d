import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kppstat.errors import DataError, SettingError
from kppstat.stats.order import ranks
from kppstat.stats.stages import growing_sizes, looks


def chance_of_a_miss(sizes, low_ranks, p):
    """Return the probability that some count is below its rank, over the whole support and with nothing cut off."""
    alive, size, missed = np.ones(1), 0, []
    for following, rank in zip(sizes, low_ranks, strict=True):
        step = following - size
        alive, size = np.convolve(alive, stats.binom(step, p).pmf(range(step + 1))), following
        missed.append(alive[:rank].sum())
        alive[:rank] = 0
    return missed


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 150), min_size=1, max_size=5),
    st.floats(0.01, 0.99),
    st.floats(1e-4, 0.5),
    st.floats(0.1, 0.9),
)
def test_spends_all_it_may_and_no_more(steps, p, alpha, share):
    sizes = list(itertools.accumulate(steps))
    plan = list(looks(sizes, p, alpha, first_share=share))
    allowed = [alpha / 2 * (1 - (1 - share) * (sizes[0] / n) ** 2) for n in sizes[:-1]] + [alpha / 2]
    for low_ranks, side in [([k.low for k in plan], p), ([k.size + 1 - k.high for k in plan], 1 - p)]:
        spent = np.cumsum(chance_of_a_miss(sizes, low_ranks, side))
        assert (spent <= np.array(allowed) * (1 + 1e-9)).all()
        # One rank more at any look would overspend there.
        for j in range(len(sizes)):
            eager = [*low_ranks[:j], low_ranks[j] + 1]
            if eager[-1] <= sizes[j]:
                assert sum(chance_of_a_miss(sizes[: j + 1], eager, side)) > allowed[j] * (1 - 1e-5)


def test_a_single_look_is_the_interval_at_fixed_size():
    for n, p, alpha in [(1000, 0.01, 0.05), (20_000, 0.001, 0.01), (77, 0.5, 0.1), (50, 0.01, 0.05)]:
        (look,) = looks([n], p, alpha)
        assert (look.low, look.high) == ranks(n, p, alpha)


@settings(max_examples=30, deadline=None)
@given(st.integers(50, 3000), st.floats(0.005, 0.995), st.floats(0.01, 0.3))
def test_intervals_contain_the_ones_at_fixed_size(first, p, alpha):
    for look in itertools.islice(looks(growing_sizes(first), p, alpha), 6):
        low, high = ranks(look.size, p, alpha)
        assert look.low <= low
        assert high <= look.high


@pytest.mark.parametrize("p", [0.5, 0.05, 0.01])
def test_all_looks_hold_at_once_and_naive_ones_do_not(p):
    rng, runs, alpha = np.random.default_rng(5), 5000, 0.1
    plan = list(itertools.islice(looks(growing_sizes(400), p, alpha), 12))
    sizes = np.array([k.size for k in plan])
    counts = np.cumsum(rng.binomial(np.diff(sizes, prepend=0), p, size=(runs, len(plan))), axis=1)
    slack = 3 * math.sqrt(alpha * (1 - alpha) / runs)
    ever_out = ((counts < [k.low for k in plan]) | (counts >= [k.high for k in plan])).any(axis=1).mean()
    assert 0.02 < ever_out <= alpha + slack
    low, high = np.array([ranks(int(n), p, alpha) for n in sizes]).T
    assert ((counts < low) | (counts >= high)).any(axis=1).mean() > alpha + slack


def test_holds_where_width_tells_on_which_side_the_truth_lies():
    # Values are 0 with probability p, else 1, so the quantile is 0. The interval becomes a point once the count of
    # zeros leaves the ranks, to either side: stopping then is the worst rule on width that there is.
    rng, runs, p, alpha = np.random.default_rng(6), 5000, 0.1, 0.1
    plan = list(itertools.islice(looks(growing_sizes(300, 1.1), p, alpha), 15))
    sizes = [k.size for k in plan]
    zeros = np.cumsum(rng.binomial(np.diff(sizes, prepend=0), p, size=(runs, len(plan))), axis=1)

    def wrong(low, high):
        """Return the share of runs whose first point is 1."""
        left = (zeros < low) | (zeros >= high)
        first = left.argmax(axis=1)
        return (left.any(axis=1) & (zeros < low)[np.arange(runs), first]).mean()

    slack = 3 * math.sqrt(alpha / 2 * (1 - alpha / 2) / runs)
    assert wrong([k.low for k in plan], [k.high for k in plan]) <= alpha / 2 + slack
    low, high = np.array([ranks(n, p, alpha) for n in sizes]).T
    assert wrong(low, high) > alpha / 2 + slack


def test_a_look_reads_its_first_values_only():
    (first, second) = looks([300, 400], 0.05, 0.1)
    values = np.arange(400.0)[::-1]
    interval = first.interval(values)
    assert (interval.low, interval.high) == (100.0 + first.low - 1, 100.0 + first.high - 1)
    assert (interval.confidence, interval.guarantee) == (0.9, "exact")
    assert second.interval(values).low == second.low - 1
    with pytest.raises(SettingError, match="400"):
        second.interval(values[:399])
    with pytest.raises(DataError):
        first.interval([math.nan] * 300)


def test_too_few_values_leave_the_end_open():
    assert next(looks(growing_sizes(50), 0.01, 0.05)).interval(range(50)).low == -math.inf


@pytest.mark.parametrize("sizes", [[100, 100], [200, 100], [0], [10.5]])
def test_sizes_must_grow(sizes):
    with pytest.raises(SettingError, match="sizes"):
        list(looks(sizes, 0.1, 0.05))


@given(st.integers(1, 10**6), st.floats(1.001, 4))
def test_growing_sizes_grow_by_the_factor(first, growth):
    sizes = list(itertools.islice(growing_sizes(first, growth), 20))
    assert sizes[0] == first
    assert all(a < b for a, b in itertools.pairwise(sizes))
    assert sizes[-1] >= first * growth**19 * (1 - 1e-9)


@pytest.mark.parametrize("arguments", [(0,), (10, 1.0), (10, math.inf), (10, math.nan)])
def test_growth_out_of_range_is_refused(arguments):
    with pytest.raises(SettingError):
        next(growing_sizes(*arguments))
