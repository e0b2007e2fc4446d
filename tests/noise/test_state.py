import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kppstat.errors import NoiseError
from kppstat.noise import Encoded, FourLevel, Offset, Slices, Table, convert, model_from_dict, normals


@pytest.mark.parametrize(
    ("device", "edge", "middle"),
    # NeFT and CIM_CW: 1 / sqrt(0.4 f^2 + 0.6) and f times that, rounded as published.
    [("RRAM1", 1, 1), ("FeFET2", 0.67, 1.35), ("FeFET3", 0.49, 1.46), ("RRAM4", 0.38, 1.51), ("FeFET6", 0.26, 1.55)],
)
def test_levels_deviate_as_published(device, edge, middle):
    w = np.array([1.0, 0.75, 0.7, -0.5, 0.25, 0.1, 0.0])
    _, variance = FourLevel(1.0, device).moments(w)
    np.testing.assert_allclose(np.sqrt(variance), [edge, edge, middle, middle, edge, edge, edge], atol=6e-3)


@given(st.integers(0, 2**32), st.sampled_from(["RRAM1", "FeFET2", "RRAM4", "FeFET6"]))
def test_weights_are_the_published_code(seed, device):
    w, z = normals(seed, 0, 0, 64).astype(float), normals(seed, 1, 0, 64).astype(float)
    ratio = {"RRAM1": 1, "FeFET2": 2, "RRAM4": 4, "FeFET6": 6}[device]
    scale = np.abs(w).max()
    base = (
        0.1
        / np.sqrt(0.4 * ratio**2 + 0.6)
        * np.sqrt(sum(4.0 ** (2 * i) for i in range(4)))
        / sum(4.0**i for i in range(4))
    )
    mask = np.where((np.abs(w) / scale > 0.25) & (np.abs(w) / scale < 0.75), ratio, 1)
    model = model_from_dict({"model": "four-level", "sigma": 0.1, "device": device, "unit": "neft-8-2"})
    np.testing.assert_allclose(model.weights(w, z), w + z * base * scale * mask, rtol=1e-9, atol=1e-12)
    trice = model_from_dict({"model": "four-level", "sigma": 0.1, "device": device, "unit": "cim-cw-8-1"})
    assert model.sigma / trice.sigma == pytest.approx(0.7776 / 0.57735, rel=1e-4)
    assert trice == FourLevel(convert(0.1, "cim-cw-8-1"), device)


def test_on_slices_the_level_is_that_of_each_device():
    # 0b01111111: digits 1, 3, 3, 3 of a device with four levels; only the first is a middle level.
    x = 127 / 255
    model = Encoded((Offset(), Slices(8, 2)), FourLevel(0.1, "FeFET2"))
    w = np.array([1.0, 2 * x - 1])
    _, variance = model.moments(w)
    low, high = 0.1 / np.sqrt(2.2), 0.2 / np.sqrt(2.2)
    gains = 2 * 3 * 4.0 ** np.arange(3, -1, -1) / 255
    assert variance[1] == pytest.approx(np.sum(gains**2 * np.array([high, low, low, low]) ** 2))


def test_a_table_gives_back_its_own_rows():
    table = Table((0.5, 5, 12, 25.5), (0.6, 5.2, 11.8, 24.5), (0.001, 0.9, 1.1, 0.8))
    x = (np.array(table.levels) - 0.5) / 25
    mean, sd = table.level(x, x)
    np.testing.assert_allclose(mean * 25 + 0.5, table.means)
    np.testing.assert_allclose(sd * 25, table.sds)
    assert not table.signed
    assert table.limits[0] * 25 + 0.5 == pytest.approx(0)


def test_a_table_of_weights_has_a_sign():
    table = Table((-2, 0, 1), (-1.8, 0, 1), (0.2, 0.1, 0.2))
    assert table.signed
    assert table.draws((3,)) == 3
    mean, variance = table.moments(np.array([-4.0, 0.0, 2.0]))
    np.testing.assert_allclose(mean, [-3.6, 0, 2])
    np.testing.assert_allclose(np.sqrt(variance), [0.4, 0.2, 0.4])


def test_between_levels_a_table_is_linear():
    table = Table((0, 1), (0.1, 0.9), (0.0, 0.2))
    mean, sd = table.level(np.array([0.25]), np.array([0.25]))
    assert (mean[0], sd[0]) == (pytest.approx(0.3), pytest.approx(0.05))


@pytest.mark.parametrize(
    ("levels", "means", "sds", "message"),
    [
        ((0,), (0,), (0,), "1 levels"),
        ((0, 1), (0, 1), (0,), "2 levels, 2 means, 1 sds"),
        ((0, 0), (0, 1), (0, 0), "levels do not rise"),
        ((0, 1), (0, 1), (0, -1), "an sd is -1"),
        ((0, "a"), (0, 1), (0, 1), "levels is"),
        ((0, 1), (0, float("nan")), (0, 1), "means holds"),
        (3, (0, 1), (0, 1), "levels is 3"),
    ],
)
def test_bad_tables_are_refused(levels, means, sds, message):
    with pytest.raises(NoiseError, match=message):
        Table(levels, means, sds)
