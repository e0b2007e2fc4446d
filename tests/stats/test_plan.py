import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.errors import DataError, SettingError
from kppstat.stats.order import quantile_interval, smallest_size
from kppstat.stats.plan import local_spread, planned_size


@pytest.mark.parametrize("p", [0.5, 0.05, 0.01])
def test_the_planned_size_has_the_wanted_median_width(p):
    rng = np.random.default_rng(11)
    size = planned_size(p, 0.95, half_width=0.12, spread=1.0)
    widths = [quantile_interval(rng.normal(size=size), p).half_width for _ in range(400)]
    assert 0.9 < np.median(widths) / 0.12 < 1.1


def test_approaches_the_normal_formula():
    p, h, z = 0.1, 0.002, 1.959964
    density = math.exp(-(1.281552**2) / 2) / math.sqrt(2 * math.pi)
    assert planned_size(p, 0.95, h, 1.0) == pytest.approx(z**2 * p * (1 - p) / (density * h) ** 2, rel=0.01)


@pytest.mark.parametrize(("p", "law"), [(0.5, "normal"), (0.05, "normal"), (0.01, "normal"), (0.05, "skewed")])
def test_local_spread_is_the_slope_of_the_quantile_function(p, law):
    rng = np.random.default_rng(12)

    def draw(n):
        z = rng.normal(size=n)
        return z if law == "normal" else -np.logaddexp(0, 1.5 * z)

    big = np.sort(draw(1_000_000))
    a, b = int(1e6 * p * 0.9), int(1e6 * p * 1.1)
    normal = np.sort(rng.normal(size=1_000_000))
    truth = (big[b] - big[a]) / (normal[b] - normal[a])
    ratios = [local_spread(draw(300), p) / truth for _ in range(300)]
    assert 0.85 < np.median(ratios) < 1.15
    assert np.log(ratios).std() < 0.35


@given(st.lists(st.floats(0, 1), min_size=2, max_size=200), st.floats(0.001, 0.999), st.floats(0.1, 10))
def test_local_spread_scales_and_is_never_negative(values, p, scale):
    spread = local_spread(values, p)
    assert spread >= 0
    assert local_spread(scale * np.array(values) + 3, p) == pytest.approx(scale * spread, rel=1e-6, abs=1e-9)


def test_equal_values_need_only_a_finite_interval():
    spread = local_spread([0.5] * 100, 0.01)
    assert spread == pytest.approx(0, abs=1e-12)
    assert planned_size(0.01, 0.95, 0.005, spread) == smallest_size(0.01, 1 - 0.95)


@settings(max_examples=25)
@given(st.floats(0.005, 0.995), st.floats(0.6, 0.99), st.floats(0.01, 0.2), st.floats(0.5, 2))
def test_a_narrower_wish_or_a_wider_law_takes_more(p, confidence, half_width, spread):
    base = planned_size(p, confidence, half_width, spread)
    assert planned_size(p, confidence, half_width / 2, spread) >= base
    assert planned_size(p, confidence, half_width, 2 * spread) >= base


def test_out_of_range_is_refused():
    for arguments in [(0.1, 0.9, 0, 1), (0.1, 0.9, math.nan, 1), (0.1, 0.9, 1, -1), (0.1, 1, 1, 1)]:
        with pytest.raises(SettingError):
            planned_size(*arguments)
    with pytest.raises(SettingError, match="one value"):
        local_spread([1.0], 0.1)
    with pytest.raises(DataError):
        local_spread([math.nan, 1.0], 0.1)
