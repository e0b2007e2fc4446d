"""What every noise model of the registry must satisfy."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.noise import Correlated, NoiseModel, Variation, from_dict, model_from_dict, models, normals, page
from kppstat.noise.programming import DEVICES
from tests.noise.sampling import assert_moments

NAMES = sorted(models())
SIGMA = st.floats(0.001, 0.5)
# Rare faults need more draws than a test has to show their variance, so probabilities stay away from 0.
PROBABILITY = st.floats(0.02, 0.4)
TIME = st.floats(1, 1e8)

PARAMETERS = {
    "gaussian": st.fixed_dictionaries({"sigma": SIGMA}),
    "right-censored": st.fixed_dictionaries({"sigma": SIGMA, "threshold": st.floats(-1, 4)}),
    "conductance": st.fixed_dictionaries({"sigma": SIGMA, "low": st.floats(-1, 0), "high": st.floats(1, 2)}),
    "proportional": st.fixed_dictionaries({"sigma": SIGMA}),
    "log-normal": st.fixed_dictionaries({"sigma": st.floats(0.01, 0.8)}),
    "four-level": st.fixed_dictionaries(
        {"sigma": SIGMA, "device": st.sampled_from(["RRAM1", "FeFET2", "FeFET3", "RRAM4", "FeFET6"])}
    ),
    "stuck-at": st.fixed_dictionaries({"off": PROBABILITY, "on": PROBABILITY}),
    "flip": st.fixed_dictionaries({"probability": PROBABILITY}),
    "write-verify": st.fixed_dictionaries(
        {"sigma": SIGMA, "tolerance": st.floats(0.01, 0.5), "attempts": st.integers(1, 20)}
    ),
    "programming": st.fixed_dictionaries({"device": st.sampled_from(sorted(DEVICES)), "scale": st.floats(0.2, 3)}),
    "drift": st.fixed_dictionaries(
        {"time": TIME, "nu": st.floats(0, 0.2), "nu_sd": st.floats(0.001, 0.1), "read": st.floats(0, 0.05)}
    ),
    "pcm-retention": st.fixed_dictionaries(
        {"time": TIME, "device": st.sampled_from(["pcm-nandakumar-2019", "hermes-1", "hermes-2"])}
    ),
    "cmo-relaxation": st.fixed_dictionaries({"time": TIME}),
    "cmo-read": st.fixed_dictionaries({"time": TIME}),
    "table": st.integers(2, 6).flatmap(
        lambda n: st.fixed_dictionaries(
            {
                "levels": st.lists(st.floats(-20, 40), min_size=n, max_size=n, unique_by=lambda v: round(v, 1)).map(
                    sorted
                ),
                "means": st.lists(st.floats(0, 40), min_size=n, max_size=n),
                "sds": st.lists(st.floats(0.01, 9), min_size=n, max_size=n),
            }
        )
    ),
}
STEPS = st.sampled_from(
    [
        ["pair"],
        [{"step": "pair", "style": "two-sided"}],
        ["offset"],
        ["asymmetric"],
        [{"step": "quantise", "bits": 4}, "pair"],
        ["pair", {"step": "slices", "bits": 6, "per_device": 2}],
        ["offset", {"step": "slices", "bits": 4, "per_device": 1}],
        ["asymmetric", {"step": "quantise", "bits": 3, "rounding": "floor"}],
    ]
)
LAW = st.sampled_from(sorted(PARAMETERS)).flatmap(
    lambda name: PARAMETERS[name].map(lambda parameters: {"model": name, **parameters})
)
CHAIN = st.lists(LAW.filter(lambda law: law["model"] != "log-normal"), min_size=1, max_size=2)
PARAMETERS["encoded"] = st.fixed_dictionaries({"encoding": STEPS, "device": LAW})
PARAMETERS["chain"] = st.fixed_dictionaries({"laws": CHAIN})
PARAMETERS["correlated"] = st.fixed_dictionaries(
    {"noise": LAW, "tensor": st.floats(0, 0.2), "column": st.floats(0, 0.3), "row": st.floats(0, 0.5)}
)

WEIGHTS = np.array([-1, -0.7, -0.2, 0, 0.1, 0.5, 0.9]) * 1.7


def example(name):
    return model_from_dict({"model": name, **models()[name].example})


def test_every_model_is_tested():
    assert sorted(PARAMETERS) == NAMES


@pytest.mark.parametrize("name", [n for n in NAMES if n != "correlated"])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_moments_agree_with_sampling(name, data):
    model = model_from_dict({"model": name, **data.draw(PARAMETERS[name])})
    assert_moments(model, WEIGHTS, n=10_000, seed=data.draw(st.integers(0, 2**32)))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_description_round_trip(name, data):
    model = model_from_dict({"model": name, **data.draw(PARAMETERS[name])})
    again = model_from_dict(json.loads(json.dumps(model.to_dict())))
    assert again == model
    assert from_dict(Variation(model, {"a": model}).to_dict()) == Variation(model, {"a": model})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (2, 3), (2, 3, 2, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shape_and_dtype_are_those_of_the_weights(name, shape, dtype):
    model = example(name)
    w = np.asarray(normals(1, 0, 0, int(np.prod(shape))).reshape(shape), dtype)
    out = np.asarray(model.weights(w, normals(1, 1, 0, model.draws(shape))))
    assert out.shape == shape
    assert out.dtype == dtype
    assert np.isfinite(out).all()
    for moment in model.moments(w):
        assert np.shape(moment) == shape
        assert np.isfinite(moment).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_of_zeros_stays_zero(name):
    model = example(name)
    w = np.zeros((4, 4), np.float32)
    assert not model.weights(w, normals(0, 0, 0, model.draws(w.shape))).any()
    assert not any(np.any(m) for m in model.moments(w))


@pytest.mark.parametrize("name", NAMES)
def test_far_normals_give_finite_numbers(name):
    model = example(name)
    w = np.linspace(-1, 1, 9).astype(np.float32)
    for z in (11.5, -11.5, 8.0, 0.0):
        assert np.isfinite(model.weights(w, np.full(model.draws(w.shape), z, np.float32))).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_of_the_tensor_scales_everything(name):
    model = example(name)
    w = normals(2, 0, 0, 20).reshape(4, 5).astype(np.float64)
    z = normals(2, 1, 0, model.draws(w.shape))
    np.testing.assert_allclose(model.weights(4 * w, z), 4 * model.weights(w, z), rtol=1e-9, atol=1e-12)
    for power, a, b in zip((1, 2), model.moments(4 * w), model.moments(w), strict=True):
        np.testing.assert_allclose(a, 4**power * b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_torch_gives_the_same_numbers_and_gradients(name):
    torch = pytest.importorskip("torch")
    model = example(name)
    w = normals(2, 0, 0, 24).reshape(4, 3, 2).astype(np.float64)
    z = normals(2, 1, 0, model.draws(w.shape))
    wt = torch.tensor(w, requires_grad=True)
    zt = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    out = model.weights(wt, zt)
    np.testing.assert_allclose(out.detach().numpy(), model.weights(w, z), rtol=1e-6, atol=1e-7)
    for got, expected in zip(model.moments(wt), model.moments(w), strict=True):
        np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-6, atol=1e-9)
    gradients = torch.autograd.grad(out.sum(), (wt, zt), allow_unused=True, retain_graph=True)
    assert gradients[0] is not None
    assert torch.isfinite(gradients[0]).all()
    assert gradients[1] is None or torch.isfinite(gradients[1]).all()
    moments = sum(m.sum() for m in model.moments(wt))
    assert torch.isfinite(torch.autograd.grad(moments, wt)[0]).all()


@pytest.mark.parametrize("name", NAMES)
def test_instances_can_be_batched_with_vmap(name):
    torch = pytest.importorskip("torch")
    model = example(name)
    w = torch.tensor(normals(2, 0, 0, 12).reshape(4, 3))
    z = torch.stack([torch.tensor(normals(2, i, 0, model.draws((4, 3)))) for i in range(3)])
    batched = torch.func.vmap(lambda one: model.weights(w, one))(z)
    for i in range(3):
        assert torch.allclose(batched[i], model.weights(w, z[i]), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_tensors_stay_on_their_device(name):
    # The meta device holds no numbers and, like a GPU, does not mix with the CPU.
    torch = pytest.importorskip("torch")
    model = example(name)
    w = torch.empty((4, 3), device="meta")
    for out in (model.weights(w, torch.empty(model.draws((4, 3)), device="meta")), *model.moments(w)):
        assert out.device.type == "meta"
        assert out.dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_every_model_has_a_page(name):
    shown = page(name, levels=5, draws=200)
    assert shown.name == name
    assert all((shown.summary, shown.formula, shown.unit, shown.source))
    assert shown.quantiles.shape == (9, 5)
    assert np.all(np.diff(shown.quantiles, axis=0) >= 0)
    assert shown.shown["model"] == name
    assert len(shown.parameters) == len(dataclasses.fields(models()[name]))


@pytest.mark.parametrize("name", NAMES)
def test_models_are_values(name):
    model = example(name)
    assert isinstance(model, NoiseModel)
    assert model == example(name)
    assert hash(model) == hash(example(name))
    assert model.independent is not isinstance(model, Correlated)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_correlation_leaves_the_law_of_each_weight(data):
    # Cells of one call are dependent, so independent instances of a small tensor are drawn one by one.
    model = model_from_dict({"model": "correlated", **data.draw(PARAMETERS["correlated"])})
    w = np.array([[1.0, -0.3], [0.2, -0.8]])
    n = 1500
    drawn = np.stack([model.weights(w, normals(5, i, 0, model.draws(w.shape))) for i in range(n)])
    mean, variance = model.moments(w)
    spread = drawn.var(axis=0)
    fourth = ((drawn - drawn.mean(axis=0)) ** 4).mean(axis=0)
    assert (np.abs(drawn.mean(axis=0) - mean) <= 5.5 * np.sqrt(spread / n) + 2e-3 * np.sqrt(variance) + 1e-9).all()
    error = 5.5 * np.sqrt(np.maximum(fourth - spread**2, 0) / n) + 4e-3 * variance + 1e-12
    assert (np.abs(spread - variance) <= error).all()


@pytest.mark.parametrize("name", [n for n in NAMES if getattr(models()[n], "linear", False) is True])
@settings(deadline=None)
@given(data=st.data())
def test_linear_laws_are_linear(name, data):
    law = model_from_dict({"model": name, **data.draw(PARAMETERS[name])})
    x = np.full(5, 0.4)
    y = np.linspace(-2, 2, 5)
    mean, variance = (np.broadcast_to(m, y.shape) for m in law.response(x, y))
    scale = np.abs(mean).max() + variance.max() + 1
    np.testing.assert_allclose(np.diff(mean, 2), 0, atol=1e-9 * scale)
    np.testing.assert_allclose(np.diff(variance, 3), 0, atol=1e-9 * scale)
