import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr

from kppstat.errors import DataError, SettingError
from kppstat.stats.tilt import Tilt, mixture_weights, root_tilt, shift_tilt

means, sds = st.floats(-5, 5), st.floats(0.3, 1.5)


@given(means, sds, st.floats(-7, 7))
def test_a_shift_has_the_ratio_of_two_normal_densities(mean, sd, t):
    exact = stats.norm.pdf(t, mean, sd) / stats.norm.pdf(t)
    # The ratio of a cell is an average over it; over half a cell's width its logarithm changes by this.
    change = 0.01 * (abs(t) + (abs(t - mean) + 0.01) / sd**2 + 0.01)
    if exact > 1e-12 and abs(t - mean) < 6 * sd:
        assert abs(math.log(float(shift_tilt(mean, sd).ratio(t)) / exact)) <= change + 1e-3


@pytest.mark.parametrize("tilt", [shift_tilt(-2.5), shift_tilt(2.5, 0.5), root_tilt(lambda t: ndtr(-3 - 2 * t))])
def test_draws_follow_the_density_that_ratio_names(tilt):
    t = tilt.draw(np.random.default_rng(51).random(40_000))
    nominal = np.linspace(-8.5, 8.5, 170_001)
    weight = tilt.ratio(nominal) * stats.norm.pdf(nominal)
    law = np.cumsum(weight) / weight.sum()
    assert stats.kstest(t, lambda x: np.interp(x, nominal, law)).pvalue > 1e-3
    # Nominal probabilities come back from tilted draws with weights.
    w = 1 / (0.3 + 0.7 * tilt.ratio(t))
    z = np.random.default_rng(52).normal(size=40_000)
    both, weights = np.concatenate([z[:12_000], t[:28_000]]), None
    weights = mixture_weights(both[:, None], [tilt], [0.7])
    assert np.allclose(weights[12_000:], w[:28_000])
    for x in (-3.0, -2.0, 0.0, 2.0, 3.0):
        events = weights * (both <= x)
        assert abs(events.mean() - ndtr(x)) < 4 * events.std() / math.sqrt(both.size) + 1e-12


@given(st.lists(st.floats(1e-12, 1 - 1e-12), min_size=2, max_size=50), means, sds)
def test_draws_rise_with_the_uniform_number(uniforms, mean, sd):
    t = shift_tilt(mean, sd).draw(np.sort(uniforms))
    assert np.isfinite(t).all()
    assert (np.diff(t) >= 0).all()


@given(
    st.lists(st.tuples(means, st.floats(0.01, 1)), min_size=1, max_size=3),
    st.floats(0.05, 0.95),
    st.integers(0, 10**6),
)
def test_weights_never_exceed_one_over_the_nominal_share(parts, nominal, seed):
    tilts = [shift_tilt(mean) for mean, _ in parts]
    shares = np.array([share for _, share in parts])
    shares *= (1 - nominal) / shares.sum()
    scalars = np.random.default_rng(seed).normal(0, 4, size=(200, len(parts)))
    w = mixture_weights(scalars, tilts, shares)
    assert (w > 0).all()
    assert (w <= 1 / (1 - shares.sum())).all()


def test_weights_are_unbiased_in_two_slanted_directions():
    # The whole recipe of a sampler: choose a component, draw its scalar, keep the rest of z.
    rng, n, dimension = np.random.default_rng(53), 60_000, 5
    directions = rng.normal(size=(2, dimension))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    tilts, shares = [shift_tilt(-2.0), root_tilt(lambda t: ndtr(-2 - t))], np.array([0.3, 0.4])
    z = rng.normal(size=(n, dimension))
    which = rng.choice(3, size=n, p=[0.3, 0.4, 0.3])
    for j, tilt in enumerate(tilts):
        rows = which == j
        move = tilt.draw(rng.random(rows.sum())) - z[rows] @ directions[j]
        z[rows] += move[:, None] * directions[j]
    w = mixture_weights(z @ directions.T, tilts, shares)
    assert abs(w.mean() - 1) < 4 * w.std() / math.sqrt(n)
    for axis in np.eye(dimension)[:3]:
        for moment, truth in ((z @ axis, 0.0), ((z @ axis) ** 2, 1.0)):
            assert abs((w * moment).mean() - truth) < 4.5 * (w * moment).std() / math.sqrt(n)


def test_the_root_tilt_beats_every_shift():
    def chance(t):
        return ndtr((-2.3263 - 0.9 * t) / math.sqrt(0.19))

    grid = np.linspace(-8, 8, 20_001)
    step = (grid[1] - grid[0]) * stats.norm.pdf(grid)

    def second_moment(tilt):
        return float((step * chance(grid) / np.maximum(tilt.ratio(grid), 1e-300)).sum())

    best = second_moment(root_tilt(chance))
    assert best < min(second_moment(shift_tilt(m)) for m in (-1.0, -1.5, -2.0, -2.5, -3.0))
    assert best == pytest.approx(float((step * np.sqrt(chance(grid))).sum()) ** 2, rel=0.01)


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=30))
def test_cells_without_mass_are_never_drawn(masses):
    total = sum(masses)
    if total <= 1e-3:
        return
    tilt = Tilt(np.linspace(-3, 3, len(masses) - 1), np.array(masses) / total)
    t = tilt.draw(np.linspace(1e-9, 1 - 1e-9, 999))
    assert (tilt.ratio(t) > 0).all()


def test_what_is_no_law_is_refused():
    edges = np.array([-1.0, 1.0])
    for masses in ([0.5, 0.5], [0.5, 0.6, 0.1], [-0.1, 0.6, 0.5], [0.5, math.nan, 0.5]):
        with pytest.raises(SettingError):
            Tilt(edges, np.array(masses))
    for arguments in [(7.0,), (math.nan,), (0.0, 0.0), (0.0, 3.0)]:
        with pytest.raises(SettingError):
            shift_tilt(*arguments)
    for conditional in (np.zeros_like, lambda t: t, lambda t: 0.5, lambda t: np.full(t.shape, math.nan)):
        with pytest.raises(SettingError, match="conditional"):
            root_tilt(conditional)
    for uniform in (0.0, 1.0, math.nan):
        with pytest.raises(DataError):
            shift_tilt(0.0).draw(uniform)
    for shares in ([1.0], [0.5, 0.2], [-0.1], [math.nan]):
        with pytest.raises(SettingError, match="shares"):
            mixture_weights([[0.0]], [shift_tilt(0.0)], shares)
    for scalars in ([0.0], [[0.0, 1.0]], [[math.nan]]):
        with pytest.raises(DataError, match="scalars"):
            mixture_weights(scalars, [shift_tilt(0.0)], [0.5])
