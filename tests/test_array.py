"""The primitives that the array standard lacks, in NumPy against torch's own."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat import array

FEW = settings(max_examples=40, deadline=None, derandomize=True)


def test_torch_is_never_loaded_for_the_user() -> None:
    code = "import sys, kppstat.propagate; sys.exit(any(m in sys.modules for m in ('torch', 'onnx', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@FEW
@given(st.data())
def test_convolution_is_that_of_torch(data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    rank = data.draw(st.integers(1, 3))
    group = data.draw(st.sampled_from([1, 2, 4]))
    per_group, out = data.draw(st.integers(1, 2)), group * data.draw(st.integers(1, 2))
    where = {
        "strides": [data.draw(st.integers(1, 3)) for _ in range(rank)],
        "pads": [(data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))) for _ in range(rank)],
        "dilations": [data.draw(st.integers(1, 2)) for _ in range(rank)],
        "group": group,
    }
    x = rng.standard_normal((data.draw(st.integers(0, 3)), group * per_group, *[7] * rank))
    w = rng.standard_normal((out, per_group, *[data.draw(st.integers(1, 3)) for _ in range(rank)]))
    ours = array.conv(x, w, **where)
    theirs = array.conv(torch.from_numpy(x), torch.from_numpy(w), **where)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-12)


@FEW
@given(st.data())
def test_the_transpose_of_a_convolution_is_its_adjoint(data: st.DataObject) -> None:
    rng = np.random.default_rng(1)
    rank = data.draw(st.integers(1, 2))
    group = data.draw(st.sampled_from([1, 2]))
    where = {
        "strides": [data.draw(st.integers(1, 3)) for _ in range(rank)],
        "pads": [(data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))) for _ in range(rank)],
        "dilations": [data.draw(st.integers(1, 2)) for _ in range(rank)],
        "group": group,
    }
    channels, per_group = group * data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))
    x = rng.standard_normal((2, per_group * group, *[data.draw(st.integers(5, 8)) for _ in range(rank)]))
    w = rng.standard_normal((channels, per_group, *[data.draw(st.integers(1, 3)) for _ in range(rank)]))
    y = array.conv(x, w, **where)
    dy = rng.standard_normal(y.shape)
    dx = array.conv_transpose(dy, w, spatial=x.shape[2:], **where)
    assert np.vdot(dx, x) == pytest.approx(np.vdot(dy, y), rel=1e-9, abs=1e-9)


def test_large_batches_are_taken_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((5, 2, 6)), rng.standard_normal((3, 2, 3))
    where = {"strides": [1], "pads": [(1, 1)], "dilations": [1]}
    whole = array.conv(x, w, **where)
    monkeypatch.setattr(array, "_LARGEST_PATCHES", 80)
    np.testing.assert_allclose(array.conv(x, w, **where), whole)


def test_patches_times_kernel_is_the_convolution() -> None:
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((2, 4, 5, 5)), rng.standard_normal((6, 2, 3, 2))
    patches = array.unfold(x, (3, 2), (2, 1), (1, 1), group=2)
    y = (w.reshape(2, 3, -1) @ patches).reshape(2, 6, 2, 4)
    expected = array.conv(x, w, strides=(2, 1), pads=[(0, 0)] * 2, dilations=(1, 1), group=2)
    np.testing.assert_allclose(y, expected)


def test_special_functions() -> None:
    x = np.linspace(-9, 9, 41)
    np.testing.assert_allclose(array.normal_cdf(x), scipy.stats.norm.cdf(x), rtol=1e-12)
    np.testing.assert_allclose(array.normal_pdf(x), scipy.stats.norm.pdf(x), rtol=1e-12)
    np.testing.assert_allclose(array.erf(x), 2 * scipy.stats.norm.cdf(x * np.sqrt(2)) - 1, atol=1e-12)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_helpers_in_both_libraries(library: str) -> None:
    x = np.arange(6.0).reshape(2, 3)
    made = pytest.importorskip("torch").from_numpy(x) if library == "torch" else x
    padded = array.to_numpy(array.pad(made, [(0, 1), (2, 0)], 9.0))
    np.testing.assert_array_equal(padded, np.pad(x, [(0, 1), (2, 0)], constant_values=9.0))
    scattered = array.scatter_add(4, np.array([3, 0, 3, -1, 1, 0]), made.reshape(-1))
    np.testing.assert_array_equal(array.to_numpy(scattered), [6.0, 4.0, 0.0, 2.0])
    assert array.dtype_name(array.cast(made, "float32")) == "float32"
    assert array.is_floating(made)
    assert array.is_torch(made) == (library == "torch")
    np.testing.assert_array_equal(array.to_numpy(array.like(np.ones(2), made)), np.ones(2))
    np.testing.assert_allclose(array.to_numpy(array.einsum("ij,kj->ik", made, made)), x @ x.T)
