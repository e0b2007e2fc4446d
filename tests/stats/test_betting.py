import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.errors import DataError, SettingError
from kppstat.stats.betting import Stakes, betting_interval, predictable_stakes
from kppstat.stats.weighted import weighted_quantile

shares = st.floats(0.02, 0.98)
pairs = st.lists(st.tuples(st.integers(-9, 9), st.floats(0, 4)), min_size=1, max_size=300)


def interval_of(values, weights, p, confidence=0.95, size=500, bound=4.0):
    stakes = predictable_stakes(values, weights, p, 1 - confidence, size=size)
    return betting_interval(values, weights, p, confidence, bound=bound, stakes=stakes)


@settings(max_examples=60)
@given(pairs, shares, st.floats(0.6, 0.99))
def test_equals_the_hull_of_what_neither_gambler_rejects(rows, p, confidence):
    # The same by definition: the capital at every candidate, without sorting, one product after the other.
    values, weights = map(np.array, zip(*rows, strict=True))
    stakes = predictable_stakes(values, weights, p, 1 - confidence, size=100)
    interval = betting_interval(values, weights, p, confidence, bound=4.0, stakes=stakes)

    def capital(inside, sign):
        staked = stakes.larger if sign > 0 else stakes.smaller
        limit = 0.9 / p if sign > 0 else 0.9 / (4.0 * (1 + 1e-9) - p)
        gamblers = [np.prod(1 + sign * np.minimum(f * staked, limit) * (weights * inside - p)) for f in (0.35, 1, 2.5)]
        return 0.2 * gamblers[0] + 0.6 * gamblers[1] + 0.2 * gamblers[2]

    goal = 2 / (1 - confidence)
    for x in np.arange(-10, 10.5, 0.5):
        too_small, too_large = capital(values <= x, -1), capital(values < x, 1)
        if min(abs(too_small / goal - 1), abs(too_large / goal - 1)) > 1e-9:
            kept = too_small < goal and too_large < goal
            assert kept <= (x in interval)
            # Where neither wins against everything, the hull adds nothing.
            if not kept and interval.low < x < interval.high:
                assert capital(values <= interval.low, -1) >= goal or capital(values < interval.high, 1) >= goal


@given(pairs, st.integers(1, 100), shares)
def test_stakes_know_no_later_value(rows, cut, p):
    values, weights = map(np.array, zip(*rows, strict=True))
    cut = min(cut, len(rows))
    whole = predictable_stakes(values, weights, p, 0.05, size=200).larger
    # A stake may not even depend on the value that it is placed on.
    changed = values.copy()
    changed[cut - 1 :] = -50
    assert (predictable_stakes(changed, weights, p, 0.05, size=200).larger[:cut] == whole[:cut]).all()


@given(pairs, shares, st.randoms(use_true_random=False))
def test_constant_stakes_make_order_and_scale_irrelevant(rows, p, random):
    values, weights = map(np.array, zip(*rows, strict=True))
    stakes = Stakes(np.full(len(rows), 0.1), np.full(len(rows), 0.1))
    first = betting_interval(values, weights, p, bound=4.0, stakes=stakes)
    order = random.sample(range(len(rows)), len(rows))
    again = betting_interval(2 * values[order] - 3, weights[order], p, bound=4.0, stakes=stakes)
    assert (again.low, again.high) == (2 * first.low - 3, 2 * first.high - 3)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.02, 0.5), st.floats(0.6, 0.95))
def test_more_confidence_is_wider_and_the_estimate_is_inside(seed, p, confidence):
    rng = np.random.default_rng(seed)
    values, weights = rng.normal(size=400), np.ones(400)
    stakes = predictable_stakes(values, weights, p, 0.05, size=400)
    inner = betting_interval(values, weights, p, confidence, bound=1.0, stakes=stakes)
    outer = betting_interval(values, weights, p, (1 + confidence) / 2, bound=1.0, stakes=stakes)
    assert outer.low <= inner.low
    assert inner.high <= outer.high
    assert weighted_quantile(values, weights, p) in inner


def test_nothing_is_known_from_one_value():
    interval = interval_of([0.5], [1.0], 0.01)
    assert (interval.low, interval.high, interval.guarantee) == (-math.inf, math.inf, "anytime")


def test_equal_values_give_a_point():
    interval = interval_of(np.full(3000, 0.5), np.ones(3000), 0.05, bound=1.0, size=3000)
    assert (interval.low, interval.high) == (0.5, 0.5)


def ever_misses(rng, p, runs, n, law):
    """Return how often either gambler ever wins at the truth: stopping then is the worst rule there is."""
    missed = 0
    for _ in range(runs):
        values, weights, truth, bound = law(rng, n)
        stakes = predictable_stakes(values, weights, p, 0.1, size=n)
        interval = betting_interval(values, weights, p, 0.9, bound=bound, stakes=stakes)
        missed += truth not in interval
        for t in np.unique(np.geomspace(20, n, 25).astype(int))[:-1]:
            part = Stakes(stakes.larger[:t], stakes.smaller[:t])
            early = betting_interval(values[:t], weights[:t], p, 0.9, bound=bound, stakes=part)
            if truth not in early:
                missed += truth in interval
                break
    return missed / runs


def plain(rng, n):
    return rng.normal(size=n), np.ones(n), -1.6448536, 1.0


def tied(rng, n):
    return rng.choice(3, size=n, p=[0.03, 0.02, 0.95]).astype(float), np.ones(n), 1.0, 1.0


def tilted(rng, n):
    z = rng.normal(size=n) + np.where(rng.random(n) < 0.4, 0.0, -1.5)
    weights = 1 / (0.4 + 0.6 * np.exp(-1.5 * z - 1.125))
    return 0.8 * z + 0.6 * rng.normal(size=n), weights, -1.6448536, 2.5


def hidden(rng, n):
    # A way to fail that no tilt knows of, of mass 0.05: the truth is the edge of that mass.
    values, weights, _, bound = tilted(rng, n)
    fails = rng.random(n) < 0.05
    return np.where(fails, -5.0, np.maximum(values, -4.0)), weights, -5.0, bound


@pytest.mark.parametrize("law", [plain, tied, tilted, hidden])
def test_holds_at_every_time(law):
    runs = 300
    slack = 3 * math.sqrt(0.09 / runs)
    assert ever_misses(np.random.default_rng(41), 0.05, runs, 1200, law) <= 0.1 + slack


def test_a_gambler_who_sees_the_future_breaks_the_promise():
    # Negative control: stakes that know the value they are placed on win against the truth, and far below it.
    rng, missed = np.random.default_rng(42), 0
    for _ in range(100):
        values = rng.normal(size=500)
        event = values <= -1.6448536
        stakes = Stakes(np.where(event, 2.0, 0.0), np.zeros(500))
        missed += -1.6448536 not in betting_interval(values, np.ones(500), 0.05, bound=1.0, stakes=stakes)
    assert missed > 90


def test_a_weight_above_its_bound_is_refused():
    with pytest.raises(DataError, match="weights"):
        interval_of([0.1, 0.2], [1.0, 4.1], 0.1)


def test_settings_out_of_range_are_refused():
    fine = Stakes(np.ones(2), np.ones(2))
    for bound in (0.9, math.inf, math.nan):
        with pytest.raises(SettingError, match="bound"):
            betting_interval([0.1, 0.2], [0.5, 0.5], 0.1, bound=bound, stakes=fine)
    for stakes in (
        Stakes(np.ones(3), np.ones(3)),
        Stakes(-np.ones(2), np.ones(2)),
        Stakes(np.ones(2), np.full(2, np.nan)),
    ):
        with pytest.raises(SettingError, match="stakes"):
            betting_interval([0.1, 0.2], [0.5, 0.5], 0.1, bound=2.0, stakes=stakes)
    with pytest.raises(SettingError, match="variance"):
        predictable_stakes([0.1], [1.0], 0.1, 0.05, size=10, variance=0.0)
