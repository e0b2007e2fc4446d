import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kppstat.errors import DataError, SettingError
from kppstat.stats.interval import Interval, checked_count, checked_share, checked_values

numbers = st.floats(-1e6, 1e6)


@given(numbers, numbers, numbers, numbers, numbers)
def test_clipping_keeps_every_number_of_the_range_that_was_inside(a, b, c, d, x):
    (low, high), (least, most) = sorted((a, b)), sorted((c, d))
    whole = Interval(low, high, 0.95, "exact")
    clipped = whole.clipped(least, most)
    assert least <= clipped.low <= clipped.high <= most
    if least <= x <= most and x in whole:
        assert x in clipped


@given(numbers, numbers, numbers, numbers, numbers)
def test_overlap_holds_what_both_hold(a, b, c, d, x):
    first = Interval(*sorted((a, b)), 0.95, "exact")
    second = Interval(*sorted((c, d)), 0.95, "exact")
    shared = first.overlap(second)
    assert shared.low <= shared.high
    assert first.low <= shared.low
    assert shared.high <= first.high
    if x in first and x in second:
        assert x in shared
    if shared != first:
        assert second.low <= shared.low
        assert shared.high <= second.high


def test_a_missing_end_makes_the_width_infinite():
    for low, high in [(-math.inf, 0.5), (0.5, math.inf), (-math.inf, math.inf)]:
        assert Interval(low, high, 0.95, "exact").half_width == math.inf
    assert Interval(-math.inf, -math.inf, 0.95, "exact").half_width == math.inf


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], 3.0, ["a", "b"], [0.5, math.nan], [[1], [1, 2]], None])
def test_what_is_no_sample_is_refused_in_one_line(values):
    with pytest.raises(DataError) as error:
        checked_values(values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.1, math.nan, math.inf, "x", None])
def test_a_share_lies_strictly_between_0_and_1(value):
    with pytest.raises(SettingError, match="confidence"):
        checked_share(value, "confidence")


@pytest.mark.parametrize("value", [0, -3, 2.0, math.nan, "5", None, True])
def test_a_count_is_a_positive_whole_number(value):
    with pytest.raises(SettingError, match="n:"):
        checked_count(value, "n")
    assert checked_count(np.int32(7), "n") == 7
