import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kppstat.errors import NoiseError
from kppstat.noise import (
    Asymmetric,
    Conductance,
    Encoded,
    Flip,
    Gaussian,
    Offset,
    Pair,
    Quantise,
    Slices,
    Steps,
    normals,
)
from kppstat.noise import model_from_dict as from_dict
from kppstat.noise.encoding import check_steps, encode, encodings
from kppstat.noise.presets import factor

VALUES = st.lists(st.floats(-1, 1), min_size=1, max_size=20).map(np.array)


def decoded(steps, x):
    cells, constant = encode(steps, x)
    return constant + sum(gain * value for gain, value in cells), [value for _, value in cells]


@given(VALUES, st.sampled_from([(), (Pair(),), (Pair("two-sided"),), (Offset(),), (Asymmetric(),)]))
def test_decoding_gives_back_the_weight(x, steps):
    back, cells = decoded(steps, x)
    np.testing.assert_allclose(back, x, atol=1e-12)
    assert len(cells) == int(np.prod([s.cells for s in steps]))
    if steps:
        assert all((c >= 0).all() and (c <= 1 + 1e-12).all() for c in cells)


@given(VALUES, st.sampled_from([(8, 1), (8, 2), (8, 4), (6, 3), (4, 4), (1, 1)]), st.sampled_from([Pair(), Offset()]))
def test_slices_hold_digits_and_decode_to_the_rounded_weight(x, bits, first):
    m, k = bits
    back, cells = decoded((first, Slices(m, k)), x)
    rounded, _ = decoded((first, Quantise(m)), x)
    np.testing.assert_allclose(back, rounded, atol=1e-12)
    for cell in cells:
        np.testing.assert_allclose(cell * (2**k - 1), np.round(cell * (2**k - 1)), atol=1e-9)
        assert ((cell >= 0) & (cell <= 1)).all()


@given(VALUES, st.integers(1, 12))
def test_quantisation_error_is_within_half_a_step(x, bits):
    back, _ = decoded((Quantise(bits),), x)
    assert np.abs(back - x).max() <= 0.5 / (2**bits - 1) + 1e-12
    floored, _ = decoded((Quantise(bits, "floor"),), x)
    assert ((x - floored) >= -1e-12).all()
    assert ((x - floored) <= 1 / (2**bits - 1) + 1e-12).all()


def test_levels_of_noisy_pairs_are_memses():
    # MemSE: floor(W c / D) D / c with c = Gmax / Wmax and D = Gmax / N, then noise of sigma on both devices.
    g_max, sigma, number = 4.0, 0.1, 100
    w = np.random.default_rng(0).standard_normal(300)
    w_max = np.abs(w).max()
    c, step = g_max / w_max, g_max / number
    mean, variance = Encoded((Steps(number, "floor"), Pair()), Gaussian(sigma / g_max)).moments(w)
    np.testing.assert_allclose(mean, np.floor(w * c / step) * step / c, atol=1e-12)
    np.testing.assert_allclose(variance, 2 * sigma**2 / c**2)
    assert sigma / g_max * w_max * factor("memse-1") == pytest.approx(np.sqrt(variance[0]))
    assert not (mean == w).all()


def test_slices_of_noisy_devices_are_nefts_unit():
    # sigma relative to the device's range: one weight on offset slices deviates by twice the factor of [0, 1].
    for m, k in ((8, 2), (8, 1), (8, 4), (4, 2)):
        sliced = Encoded((Offset(), Slices(m, k)), Gaussian(0.1))
        _, variance = sliced.moments(np.array([1.0, -0.3, 0.2]))
        np.testing.assert_allclose(np.sqrt(variance), 2 * 0.1 * factor(f"neft-{m}-{k}"), rtol=1e-12)


def test_a_pair_of_clipped_devices_has_the_published_variance():
    # Far from zero one device is free and the other sits at the clip: variance sigma^2 (1 + 1/2 - 1/(2 pi)).
    model = Encoded((Pair(),), Conductance(0.01))
    _, variance = model.moments(np.array([1.0, 0.5, -0.7]))
    np.testing.assert_allclose(variance / 1e-4, 1.5 - 0.5 / np.pi, rtol=1e-9)
    free = Encoded((Pair(),), Gaussian(0.01)).moments(np.array([1.0, 0.5]))[1]
    np.testing.assert_allclose(free / 1e-4, 2, rtol=1e-12)


@given(st.integers(0, 2**32), st.floats(0.001, 0.3))
def test_randbet_is_bit_flips_of_integers(seed, probability):
    w = normals(seed, 0, 0, 50).astype(np.float64)
    model = Encoded((Asymmetric(), Slices(8, 1)), Flip(probability))
    z = normals(seed, 1, 0, model.draws(w.shape)).astype(np.float64)
    codes = np.rint((w - w.min()) / (w.max() - w.min()) * 255).astype(np.int64)
    from scipy.special import ndtri

    flips = (z.reshape(8, 50) < ndtri(probability)).astype(np.int64)
    for bit in range(8):
        codes ^= flips[bit] << (7 - bit)
    np.testing.assert_allclose(model.weights(w, z), w.min() + codes / 255 * (w.max() - w.min()), atol=1e-9)


def test_gradients_pass_straight_through_rounding():
    torch = pytest.importorskip("torch")
    for steps in ((Quantise(3),), (Pair(), Slices(8, 2)), (Offset(), Quantise(4, "floor"), Slices(4, 1))):
        w = torch.tensor([0.9, -0.31, 0.53, 1.0], dtype=torch.float64, requires_grad=True)
        model = Encoded(steps, Gaussian(0.0))
        out = model.weights(w, torch.zeros(model.draws((4,)), dtype=torch.float64))
        (gradient,) = torch.autograd.grad(out[:3].sum(), w)
        np.testing.assert_allclose(gradient[:3].numpy(), 1, atol=1e-9)


def test_storage_is_exact_without_noise():
    w = normals(0, 0, 0, 100)
    model = Encoded((Pair(), Slices(16, 4)), Gaussian(0))
    np.testing.assert_allclose(model.weights(w, np.zeros(model.draws(w.shape), np.float32)), w, atol=1e-4)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        (["slices"], "slices has no bits"),
        ([{"step": "slices", "bits": 8, "per_device": 2}], "slices meets signed weights. Put"),
        (["pair", {"step": "slices", "bits": 8, "per_device": 3}], "8 bits do not fill devices of 3"),
        (["piar"], "encoding step 'piar' is not known. Did you mean 'pair'"),
        ([{"step": "pair", "stlye": "one-sided"}], "parameter of pair 'stlye' is not known"),
        ([{"step": "pair", "style": "onesided"}], "Did you mean 'one-sided'"),
        ([{"step": "quantise", "bits": 0}], "bits is 0"),
        ([{"step": "quantise", "bits": 2.5}], "bits is 2.5"),
        ([3], "3 is not an encoding step"),
        (["quantise"], "quantise has no bits"),
    ],
)
def test_unfit_encodings_are_refused(encoding, message):
    with pytest.raises(NoiseError, match=message):
        from_dict({"model": "encoded", "encoding": encoding, "device": {"model": "gaussian", "sigma": 0.1}})


def test_laws_of_devices_need_an_unsigned_encoding():
    with pytest.raises(NoiseError, match="conductance is a law of conductances"):
        Encoded((), Conductance(0.1))
    with pytest.raises(NoiseError, match="law of conductances"):
        Encoded((Quantise(4),), Conductance(0.1))
    assert not check_steps((Pair(), Quantise(4), Slices(4, 2)))


def test_a_law_of_devices_alone_is_on_pairs():
    w, z = normals(0, 0, 0, 10), normals(0, 1, 0, 20)
    assert np.array_equal(Conductance(0.1).weights(w, z), Encoded((Pair(),), Conductance(0.1)).weights(w, z))


def test_every_step_is_documented():
    assert sorted(encodings()) == ["asymmetric", "offset", "pair", "quantise", "slices", "steps"]
    assert all(cls.__doc__ for cls in encodings().values())
