"""Compiled depthwise convolution and its transpose, as `kppstat.array` takes them, against torch's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat import array

FEW = settings(max_examples=40, deadline=None, derandomize=True)


def near(ours: np.ndarray, exact: Any) -> None:
    """Assert that a sum of a few products in the precision of `ours` is right."""
    scale = float(exact.abs().max())
    np.testing.assert_allclose(ours, exact.numpy(), rtol=0, atol=8 * np.finfo(ours.dtype).eps * scale)


@FEW
@given(st.data())
def test_depthwise_convolution_takes_any_precision_and_layout(data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    rng, rank = np.random.default_rng(3), data.draw(st.integers(1, 2))
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64]))
    where = {
        "strides": [data.draw(st.integers(1, 3)) for _ in range(rank)],
        "pads": [data.draw(st.sampled_from([(0, 0), (1, 0)]))] * rank,
        "dilations": [data.draw(st.integers(1, 2)) for _ in range(rank)],
        "group": 4,
    }
    x = np.moveaxis(rng.standard_normal((2, *[9] * rank, 4)), -1, 1).astype(dtype, order="K")  # not contiguous
    w = rng.standard_normal((4, 1, *[data.draw(st.integers(1, 4)) for _ in range(rank)])).astype(dtype)
    ours = array.conv(x, w, **where)
    theirs = array.conv(torch.from_numpy(x).double(), torch.from_numpy(w).double(), **where)
    assert ours.dtype == dtype
    near(ours, theirs)
    elsewhere = np.moveaxis(np.moveaxis(ours, 1, -1).copy(), -1, 1)
    back = array.conv_transpose(elsewhere, w, spatial=x.shape[2:], **where)
    expected = array.conv_transpose(theirs, torch.from_numpy(w).double(), spatial=x.shape[2:], **where)
    near(back, expected)


def test_a_depthwise_kernel_of_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        array.conv(
            np.ones((1, 3, 4, 4)), np.ones((2, 1, 2, 2)), strides=[1, 1], pads=[(0, 0)] * 2, dilations=[1, 1], group=2
        )
