import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.noise import Conductance, Correlated, Gaussian, LogNormal, RightCensored, Variation
from kppstat.training.variation import equal_sigma, programmed


def drawn(values, variation, seed=0, **options):
    return programmed(values, list(values), variation, torch.Generator().manual_seed(seed), **options)


@settings(max_examples=25, deadline=None)
@given(sigma=st.floats(0.01, 0.5), scale=st.floats(0, 3), largest=st.floats(0.1, 10))
def test_deviations_have_the_size_that_is_asked_for(sigma: float, scale: float, largest: float) -> None:
    w = torch.linspace(-largest, largest, 20_000)
    deviation = drawn({"w": w}, Variation(Gaussian(sigma)), scale=scale)["w"] - w
    assert float(deviation.std()) == pytest.approx(scale * sigma * largest, rel=0.03, abs=1e-5 * largest)


def test_what_is_digital_stays_exact() -> None:
    values = {"w": torch.ones(5), "b": torch.ones(5)}
    found = programmed(values, ["w"], Variation(Gaussian(0.1)), torch.Generator().manual_seed(0))
    assert found["b"] is values["b"]
    assert not torch.equal(found["w"], values["w"])


@pytest.mark.parametrize("through", [False, True])
def test_gradients_see_the_scale_of_deviations_only_when_asked(through: bool) -> None:
    w = torch.tensor([0.5, -2.0, 1.0], requires_grad=True)
    moved = drawn({"w": w}, Variation(Gaussian(0.1)), through=through)["w"]
    moved.sum().backward()
    z = torch.randn(3, generator=torch.Generator().manual_seed(0))
    wanted = torch.ones(3)
    if through:
        wanted[1] -= 0.1 * z.sum()  # max|W| is at -2
    torch.testing.assert_close(w.grad, wanted)


def test_through_and_not_give_the_same_weights() -> None:
    w = torch.randn(50, generator=torch.Generator().manual_seed(4))
    for law in (Gaussian(0.1), RightCensored(0.2, 0.5), Conductance(0.1), LogNormal(0.2)):
        a, b = (drawn({"w": w}, Variation(law), through=t)["w"] for t in (False, True))
        torch.testing.assert_close(a, b)


@settings(max_examples=25, deadline=None)
@given(sigma=st.floats(0, 0.5))
def test_the_equal_sigma_of_gaussian_variation_is_its_own(sigma: float) -> None:
    values = {"a": torch.randn(30), "b": 5 * torch.randn(20), "zero": torch.zeros(3)}
    assert equal_sigma(values, list(values), Variation(Gaussian(sigma))) == pytest.approx(sigma, rel=1e-5, abs=1e-9)


def test_the_equal_sigma_counts_bias_too() -> None:
    t = 1.0
    w = {"w": torch.linspace(-1, 1, 11)}
    z = np.minimum(np.random.default_rng(0).standard_normal(400_000), t)
    wanted = 0.1 * np.sqrt((z**2).mean())
    assert equal_sigma(w, ["w"], Variation(RightCensored(0.1, t))) == pytest.approx(wanted, rel=0.01)


def test_layers_may_differ() -> None:
    values = {"a": torch.ones(2000), "b": torch.ones(2000)}
    found = drawn(values, Variation(Gaussian(0.1), {"b": Gaussian(0.0)}))
    assert torch.equal(found["b"], values["b"])
    assert float((found["a"] - 1).std()) == pytest.approx(0.1, rel=0.1)


def test_tensors_of_a_chip_share_its_normals_in_training_too() -> None:
    values = {"a": torch.ones(2, 3), "b": torch.ones(4)}
    variation = Variation(Correlated(Gaussian(0.1), chip=1.0))
    found = drawn(values, variation)
    moved = torch.cat([(found[n] - values[n]).reshape(-1) for n in values])
    assert moved.abs().max() > 1e-3
    torch.testing.assert_close(moved, moved[:1].expand(10))
