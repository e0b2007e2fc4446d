from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kppstat.graph import ExactTensor, Weight
from kppstat.noise import Gaussian, RightCensored, Variation
from kppstat.report import Tensors
from kppstat.report.tensors import law


def model(**values):
    """Return what the table of tensors needs of a model."""
    weights = tuple(
        Weight(name, i, w.shape, float(np.abs(w).max(initial=0)), (f"Conv '{name}'",))
        for i, (name, w) in enumerate(values.items())
    )
    exact = tuple(ExactTensor(f"b{i}", (i,), "a bias" if i % 2 else "a shape") for i in range(5))
    return SimpleNamespace(weights=weights, exact=exact, values=lambda: values)


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 2), st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=9))
def test_the_standard_deviation_is_sigma_times_the_largest_weight(sigma, w):
    values = np.array(w, dtype=np.float32)
    assume(values.any())
    (tensor,) = Tensors.of(model(w=values), Variation(Gaussian(sigma))).noisy
    assert tensor.sd == pytest.approx(sigma * np.abs(values).max(), rel=1e-5, abs=1e-12)
    assert (tensor.count, tensor.shape) == (len(w), (len(w),))


def test_the_standard_deviation_is_that_of_the_programmed_weights_for_any_noise_model():
    noise = RightCensored(0.1, 1.0)
    w = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32)
    (tensor,) = Tensors.of(model(w=w), Variation(noise)).noisy
    z = np.random.default_rng(1).standard_normal((400, noise.draws(w.shape))).astype(np.float32)
    programmed = np.array([noise.weights(w, one) for one in z])
    assert tensor.sd == pytest.approx(np.sqrt(programmed.var(0).mean()), rel=0.02)


def test_each_tensor_has_the_noise_model_that_acts_on_it():
    one = np.ones((2, 2), dtype=np.float32)
    tensors = Tensors.of(model(a=one, b=one, c=one), Variation(Gaussian(0.1), {"b*": Gaussian(0.3)}))
    assert [t.law for t in tensors.noisy] == ["gaussian, sigma 0.1", "gaussian, sigma 0.3", "gaussian, sigma 0.1"]
    assert tensors.laws == ("gaussian, sigma 0.1", "gaussian, sigma 0.3")
    assert [t.formula for t in tensors.noisy] == [Gaussian.formula] * 3
    assert tensors.count == 12


def test_exact_tensors_are_gathered_by_reason():
    tensors = Tensors.of(model(), Variation(Gaussian(0.1)))
    groups = {reason: [t.name for t in group] for reason, group in tensors.exact_by_reason.items()}
    assert groups == {"a shape": ["b0", "b2", "b4"], "a bias": ["b1", "b3"]}


def test_the_node_at_which_a_reason_was_found_makes_no_group_of_its_own():
    reasons = ["a bias (Conv 'a')", "a bias (Conv 'b (Gemm '')')", "a table (embedding), kept (Gather 'x\n')", "a bias"]
    tensors = Tensors((), tuple(ExactTensor(str(i), (1,), reason) for i, reason in enumerate(reasons)))
    assert {reason: len(group) for reason, group in tensors.exact_by_reason.items()} == {
        "a bias": 3,
        "a table (embedding), kept": 1,
    }


def test_nested_parameters_of_a_noise_model_are_written_out():
    noise = SimpleNamespace(
        to_dict=lambda: {"model": "chain", "parts": [{"model": "a", "x": 0.5}, {"model": "b"}], "by_kind": {"Conv": 2}}
    )
    assert law(noise) == "chain, parts [(a, x 0.5), (b)], by kind Conv 2"
