import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kppstat.errors import NoiseError
from kppstat.noise import convert, normals
from kppstat.noise.presets import UNITS, factor


@pytest.mark.parametrize(
    ("unit", "published"),
    [
        ("plain", 1),
        ("cim-cw-8-1", 0.57735),
        ("swim-8-1", 0.57735),
        ("cim-cw-8-2", 0.2582),
        ("cim-cw-6-2", 0.2582),
        ("cim-cw-4-2", 0.2577),
        ("cim-cw-4-1", 0.5762),
        ("cim-cw-1-1", 0.5),
        ("neft-8-2", 0.7776),
        ("neft-8-1", 0.5796),
        ("neft-8-4", 0.943),
        ("neft-6-2", 0.7868),
        ("neft-4-1", 0.6146),
        ("neft-4-2", 0.8246),
        ("neft-1-1", 1),
        ("memse-1", math.sqrt(2)),
        ("memse-25.5", math.sqrt(2) / 25.5),
        ("pair", math.sqrt(2)),
    ],
)
def test_factors_are_the_published(unit, published):
    assert factor(unit) == pytest.approx(published, abs=6e-5)


def test_units_convert_between_codes():
    # NeFT (K = 2) at 0.3, CIM_CW (m = 1) at 0.404 and plain 0.233 are the same chip.
    assert convert(0.3, "neft-8-2") == pytest.approx(convert(0.404, "cim-cw-8-1"), abs=5e-4)
    assert convert(0.3, "neft-8-2") == pytest.approx(0.233, abs=5e-4)


@given(st.sampled_from([(8, 1), (8, 2), (8, 4), (6, 2), (4, 4)]))
def test_neft_unit_is_the_sd_of_summed_slices(bits):
    # Each device of K bits deviates by its full range; the weight is the weighted sum over full scale.
    m, k = bits
    n = 20_000
    z = normals(0, 0, 0, n * (m // k)).reshape(m // k, n)
    weight = sum(2.0 ** (i * k) * (2**k - 1) * z[i] for i in range(m // k)) / (2**m - 1)
    assert weight.std() == pytest.approx(factor(f"neft-{m}-{k}"), rel=0.03)


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ("neft-82", "Did you mean 'neft-8-2'"),
        ("NeFT-8-2", "Did you mean"),
        ("furlong", "Known: "),
        (3, "unit 3 is not known"),
        ("neft-8-3", "do not fill"),
        ("cim-cw-0-0", "do not fill"),
        ("memse-0", "Gmax is 0"),
    ],
)
def test_unknown_units_name_the_nearest(unit, message):
    with pytest.raises(NoiseError, match=message):
        convert(0.1, unit)


@pytest.mark.parametrize("value", [None, "0.1", True])
def test_only_numbers_convert(value):
    with pytest.raises(NoiseError, match="sigma is"):
        convert(value, "plain")


def test_every_unit_says_where_it_comes_from():
    assert all(u.source and u.formula and u.pattern for u in UNITS)
