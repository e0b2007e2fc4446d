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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_of_many_values_are_interpolated(dtype):
    w = np.concatenate([[1.0, -1.0], np.random.default_rng(0).normal(0, 0.3, 20_000).clip(-1, 1)]).astype(dtype)
    many = PCM.moments(w)
    few = PCM.moments(np.concatenate([w[:2], w[-500:]]).astype(np.float64))
    for got, expected in zip(many, few, strict=True):
        assert got.dtype == dtype
        # Read noise of PCM is steep below a hundredth of the range.
        np.testing.assert_allclose(got[-500:], expected[2:], rtol=2e-3, atol=1e-6)


def test_interpolated_moments_have_gradients():
    torch = pytest.importorskip("torch")
    w = torch.linspace(-1, 1, 10_001, dtype=torch.float64, requires_grad=True)
    for i, moment in enumerate(PCM.moments(w)):
        (gradient,) = torch.autograd.grad(moment[5000:9999].sum(), w, retain_graph=True)
        values = PCM.moments(w.detach().numpy())[i]
        slope = np.gradient(values, 2 / 10_000)
        close = np.isclose(gradient[6000:9000].numpy(), slope[6000:9000], rtol=0.05, atol=1e-4)
        assert np.mean(close) > 0.995  # all but where the published fits have kinks


def test_equal_weights_have_moments():
    mean, variance = PCM.moments(np.full(10_000, 0.3))
    assert np.isfinite(mean).all()
    assert (variance > 0).all()
