import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from kppstat.errors import NoiseError
from kppstat.noise import (
    Correlated,
    Gaussian,
    Mask,
    Selective,
    StuckAt,
    Table,
    Variation,
    Verified,
    WriteVerify,
    from_dict,
    instance_normals,
    read,
    write,
)

W = np.linspace(-1, 1, 24).reshape(4, 6)
MASK = np.random.default_rng(0).random(W.shape) < 0.4


@given(arrays(bool, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)))
def test_a_mask_survives_its_text(array):
    mask = Mask.from_text(Mask.of(array).to_text())
    assert mask == Mask.of(array)
    np.testing.assert_array_equal(mask.array, array)


@pytest.mark.parametrize(
    "text", ["", "3", "3:", "3:!", "-1:eJwDAAAAAAE=", "3x3:eJwDAAAAAAE=", 7, None, "a:eJwDAAAAAAE="]
)
def test_other_texts_are_refused(text):
    with pytest.raises(NoiseError, match="this is no mask"):
        Mask.from_text(text)


@pytest.mark.parametrize("noise", [Gaussian(0.1), StuckAt(0.2), Correlated(Gaussian(0.1), chip=0.3, row=0.4)])
def test_each_weight_has_the_law_of_its_side(noise):
    law = Selective(noise, WriteVerify(0.1, 0.02), Mask.of(MASK))
    n = 3000
    drawn = np.stack([law.weights(W, instance_normals(law, 1, i, 0, W.shape)) for i in range(n)])
    mean, variance = law.moments(W)
    for side, alone in ((~MASK, noise), (MASK, WriteVerify(0.1, 0.02))):
        for mine, its in zip((mean, variance), alone.moments(W), strict=True):
            np.testing.assert_array_equal(mine[side], its[side])
    assert (abs(drawn.mean(0) - mean) <= 5.5 * np.sqrt(variance / n) + 1e-9).all()
    np.testing.assert_allclose(drawn.var(0), variance, rtol=0.35)
    assert (abs(drawn[:, MASK] - W[MASK]) <= 0.5).all()


def test_verified_weights_leave_the_noise_of_the_others_as_it_was():
    whole, part = Gaussian(0.1), Selective(Gaussian(0.1), Gaussian(0.01), Mask.of(MASK))
    one = whole.weights(W, instance_normals(whole, 0, 5, 2, W.shape))
    other = part.weights(W, instance_normals(part, 0, 5, 2, W.shape))
    np.testing.assert_array_equal(one[~MASK], other[~MASK])
    assert not np.isclose(one[MASK], other[MASK]).any()


def test_a_mask_of_another_shape_is_refused():
    law = Selective(Gaussian(0.1), Gaussian(0.0), Mask.of(MASK))
    with pytest.raises(NoiseError, match=r"shape \(4, 6\) and the tensor \(6, 4\)"):
        law.weights(W.T, instance_normals(law, 0, 0, 0, (6, 4)))


def test_a_variation_with_verified_weights_is_written_and_read(tmp_path):
    verified = Verified(WriteVerify(0.3, 0.06), {"conv.weight": Mask.of(MASK), 'odd "name"': Mask.of(W > 0)})
    variation = Variation(Correlated(Gaussian(0.1), row=0.5), {"a*": StuckAt(0.1), "b [c]": Gaussian(0.2)}, verified)
    assert from_dict(variation.to_dict()) == variation
    write(variation, tmp_path / "noise.toml")
    assert read(tmp_path / "noise.toml") == variation
    assert variation.of("conv.weight") == Selective(variation.default, verified.noise, Mask.of(MASK))
    assert variation.of("dense.weight") == variation.default
    assert variation.unmatched(["a1", "b [c]", "conv.weight"]) == ('odd "name"',)


@pytest.mark.parametrize("verified", [[], {"model": "gaussian", "sigma": 0.1}, {"masks": {}}, {"masks": {"a": "x"}}])
def test_mistakes_in_the_section_are_named(verified):
    with pytest.raises(NoiseError, match="verified"):
        from_dict({"model": "gaussian", "sigma": 0.1, "verified": verified})


@given(st.text(max_size=8), st.floats(0, 1e6), st.lists(st.floats(0, 9), min_size=2, max_size=3))
def test_any_name_and_number_is_written_and_read(tmp_path_factory, name, sigma, sds):
    table = Table(tuple(range(len(sds))), tuple(sds), tuple(sds))
    variation = Variation(Gaussian(sigma), {name: table})
    path = tmp_path_factory.mktemp("noise") / "noise.toml"
    write(variation, path)
    assert read(path) == variation


def test_torch_gives_the_same_numbers_and_gradients():
    torch = pytest.importorskip("torch")
    law = Selective(Correlated(Gaussian(0.1), chip=0.2), WriteVerify(0.3, 0.06), Mask.of(MASK))
    z = instance_normals(law, 0, 1, 0, W.shape)
    w = torch.tensor(W, requires_grad=True)
    out = law.weights(w, torch.from_numpy(z))
    np.testing.assert_allclose(out.detach().numpy(), law.weights(W, z), rtol=1e-6, atol=1e-7)
    assert torch.isfinite(torch.autograd.grad(out.sum(), w)[0]).all()
    assert [tuple(m.shape) for m in law.moments(w)] == [W.shape, W.shape]
