import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kppstat.sampling.tilted_wave import Plan, decisive_points
from kppstat.stats.staged import chance
from tests.sampling.test_tilted import World, steep, tilted

kinds = st.lists(st.tuples(st.floats(0.3, 0.9), st.floats(0.005, 0.1)), min_size=1, max_size=6)


def plan(percentile: float, p: float, low: float = -math.inf, high: float = math.inf) -> Plan:
    return Plan(0, 25.0, 40.0, percentile, p, (low, high), np.ones(3))


def a_law(made: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    location, scale = np.array(made).T
    return np.stack([np.ones_like(location), location, scale])[:, None], np.full(len(made), 1 / len(made))


@given(made=kinds, p=st.floats(0.001, 0.9))
def test_without_an_interval_the_law_has_half_and_twice_the_odds_there(made, p):
    law, shares = a_law(made)
    grid = np.linspace(0, 1, 100_001)
    share = chance(grid, law) @ shares
    assume(share[1000] < p < share[-1000])
    quantile = float(grid[np.searchsorted(share, p)])
    at = np.array(decisive_points(plan(quantile, p), law, shares))
    assert at[1] == pytest.approx(quantile, abs=2e-5)
    assert (np.diff(at) > 0).all()
    inside = (at > 0.01) & (at < 0.99)
    share = chance(at, law) @ shares
    np.testing.assert_allclose((share / (1 - share) / (p / (1 - p)))[inside], np.array([0.5, 1, 2])[inside], rtol=0.05)


@given(made=kinds, low=st.floats(0.0, 0.39), high=st.floats(0.41, 1.0))
def test_points_lie_no_farther_than_half_way_to_the_ends(made, low, high):
    law, shares = a_law(made)
    alone = decisive_points(plan(0.4, 0.01), law, shares)
    first, middle, last = decisive_points(plan(0.4, 0.01, low, high), law, shares)
    assert middle == pytest.approx(0.4)
    assert first == pytest.approx(max((0.4 + low) / 2, alone[0]))
    assert last == pytest.approx(min((0.4 + high) / 2, alone[2]))


def test_what_few_inputs_say_is_surely_below_goes_on_more_often_than_what_many_say():
    estimator = tilted(World(steep), max_evaluations=80)
    list(estimator.states(estimator._space.reveal))
    wave = estimator._waves[0]
    surely = np.array([[[1.0]], [[wave.plan.percentile - 0.5]], [[0.01]]])
    few, many, half = (
        float(wave._rate(law, np.array([1e-4]), 0.5, seen)[0])
        for law, seen in ((surely, 64), (surely, 4096), (surely + np.array([0, 0.5, 0])[:, None, None], 64))
    )
    assert 5 * many < few < half
