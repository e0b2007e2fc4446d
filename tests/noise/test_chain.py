import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from kppstat.errors import NoiseError
from kppstat.noise import (
    Chain,
    CmoRead,
    CmoRelaxation,
    Conductance,
    Encoded,
    Gaussian,
    Offset,
    Pair,
    PcmRetention,
    Programming,
    Slices,
    StuckAt,
    model_from_dict,
)
from tests.noise.sampling import assert_moments

PCM = Chain((Programming("pcm-nandakumar-2019"), PcmRetention(86400.0)))
CMO = Chain((Programming("reram-cmo-2"), CmoRelaxation(86400.0), CmoRead(86400.0), StuckAt(0.01, 0.01)))


@pytest.mark.parametrize(
    "model",
    [
        PCM,
        Encoded((Offset(),), CMO),
        Encoded((Pair(), Slices(8, 2)), PCM),
        Encoded((Pair("two-sided"), Slices(4, 4)), Chain((Conductance(0.2, 0, 1), StuckAt(0.05, 0.02)))),
    ],
)
def test_moments_of_long_expressions_agree_with_sampling(model):
    # Slicing of pairs of drifting devices is an expression.
    assert_moments(model, [-1, -0.6, 0, 0.05, 0.3, 1], n=60_000, rule=1e-3)


def test_two_laws_agree_with_nested_integration():
    first, second = Conductance(0.3, 0, 1), PcmRetention(1e4)
    x = np.array([0.4])

    def integral(k):
        def at(value):
            mean, variance = second.response(x, np.array([value]))
            return mean[0] if k == 1 else variance[0] + mean[0] ** 2

        inside = scipy.integrate.quad(lambda v: at(v) * scipy.stats.norm.pdf(v, 0.4, 0.3), 0, 1, limit=200)[0]
        return inside + at(0.0) * scipy.stats.norm.cdf(-0.4 / 0.3) + at(1.0) * scipy.stats.norm.sf(0.6 / 0.3)

    mean, variance = Chain((first, second)).response(x, x)
    assert mean[0] == pytest.approx(integral(1), rel=1e-4)
    assert variance[0] == pytest.approx(integral(2) - integral(1) ** 2, rel=1e-3)


def test_order_matters():
    x = np.array([1.0])
    z = np.array([[-9.0], [1.0]])  # stuck off, and one sigma up
    assert Chain((StuckAt(off=0.1), Gaussian(0.1))).apply(x, x, z)[0] == pytest.approx(0.1)
    assert Chain((Gaussian(0.1), StuckAt(off=0.1))).apply(x, x, z[::-1])[0] == 0


def test_descriptions_may_be_lists():
    model = model_from_dict(
        {
            "model": "encoded",
            "encoding": "pair",
            "device": [{"model": "conductance", "sigma": 0.1}, {"model": "stuck-at", "off": 0.01}],
        }
    )
    assert model == Encoded((Pair(),), Chain((Conductance(0.1), StuckAt(0.01))))


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"model": "chain", "laws": []}, "a chain has no laws"),
        ({"model": "chain", "laws": "gaussian"}, "laws is not a list"),
        ({"model": "chain", "laws": [{"model": "gausian"}]}, "Did you mean 'gaussian'"),
        (
            {
                "model": "chain",
                "laws": [{"model": "encoded", "encoding": [], "device": {"model": "gaussian", "sigma": 1}}],
            },
            "encoded is not a law of one cell",
        ),
        ({"model": "encoded", "encoding": ["pair"], "device": []}, "a chain has no laws"),
    ],
)
def test_mistakes_are_named(description, message):
    with pytest.raises(NoiseError, match=message):
        model_from_dict(description)
