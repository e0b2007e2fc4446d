from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kppstat.data import fit, from_arrays
from kppstat.errors import DataError
from tests.data.networks import one_input, two_inputs, with_a_setting


def refusal(arrays: dict[str, np.ndarray], targets: np.ndarray | None, model: object) -> str:
    with pytest.raises(DataError) as caught:
        from_arrays(arrays, targets, model)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_layouts_mixed_up_are_named(tmp_path: Path) -> None:
    first = one_input(tmp_path, "N, 3, 8, 9")
    assert "x.transpose(0, 3, 1, 2)" in refusal({"x": np.zeros((2, 8, 9, 3))}, None, first)
    last = one_input(tmp_path, "N, 8, 9, 3")
    assert "x.transpose(0, 2, 3, 1)" in refusal({"x": np.zeros((2, 3, 8, 9))}, None, last)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 3, 8, 8), "takes (n, 3, 8, 9)"),
        ((3, 8, 9), "x[None]"),
        ((5,), "takes"),
        ((), "one axis"),
        ((2, 216), "takes"),
    ],
)
def test_shapes_that_do_not_fit_are_named(tmp_path: Path, shape: tuple[int, ...], words: str) -> None:
    assert words in refusal({"x": np.zeros(shape)}, None, one_input(tmp_path, "N, 3, 8, 9"))


def test_free_sizes_take_any(tmp_path: Path) -> None:
    data = from_arrays({"x": np.zeros((2, 3, 5, 7))}, None, one_input(tmp_path, "N, 3, H, W"))
    assert data.inputs["pixels"].shape == (2, 3, 5, 7)


@given(
    inner=st.lists(st.sampled_from([1, 1, 2, 3]), min_size=1, max_size=4),
    kept=st.lists(st.booleans(), min_size=4, max_size=4),
    free=st.booleans(),
)
def test_axes_of_length_1_may_be_missing_and_nothing_moves(inner: list[int], kept: list[bool], free: bool) -> None:
    given_shape = [n for n, keep in zip(inner, kept, strict=False) if n != 1 or keep]
    wanted = tuple(None if free and n != 1 else n for n in inner)
    assert fit._with_unit_axes(tuple(given_shape), wanted) == tuple(inner)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 4])
def test_values_that_are_not_finite_are_named(tmp_path: Path, value: float, place: int) -> None:
    x = np.zeros((5, 2, 4, 4))
    x[place, 1, 2, 3] = value
    words = f"'pixels' holds {'NaN' if np.isnan(value) else 'infinity'} at input {place}"
    assert words in refusal({"x": x}, None, one_input(tmp_path))
    y = np.zeros(5)
    y[place] = value
    assert f"at input {place}" in refusal({"x": np.zeros((5, 2, 4, 4))}, y, one_input(tmp_path))


def test_large_values_are_not_taken_for_infinite_unless_they_overflow(tmp_path: Path) -> None:
    model = one_input(tmp_path)
    from_arrays({"x": np.full((4, 2, 4, 4), 3e38, np.float32)}, None, model)
    assert "infinity" in refusal({"x": np.full((4, 2, 4, 4), 1e39)}, None, model)


def test_integers_are_cast_without_scaling_and_that_is_said(tmp_path: Path) -> None:
    x = np.arange(64, dtype=np.uint8).reshape(2, 2, 4, 4)
    data = from_arrays({"x": x}, None, one_input(tmp_path))
    assert data.inputs["pixels"].dtype == np.float32
    np.testing.assert_array_equal(data.inputs["pixels"], x)
    assert any("uint8 to float32 without scaling (values 0 to 63)" in note for note in data.notes)


def test_large_integers_are_cast_batch_by_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "_CAST_AT_ONCE", 10)
    x = np.arange(96, dtype=np.uint8).reshape(3, 2, 4, 4)
    data = from_arrays({"x": x}, None, one_input(tmp_path))
    assert data.inputs["pixels"].dtype == np.uint8
    batch = data.batch(np.array([2, 0]))["pixels"]
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, x[[2, 0]])


def test_floats_for_an_integer_model_are_refused_and_integers_must_fit(tmp_path: Path) -> None:
    model = one_input(tmp_path, "N, 4", "int32")
    assert "the model takes int32" in refusal({"x": np.zeros((3, 4), np.float32)}, None, model)
    data = from_arrays({"x": np.full((3, 4), 7, np.int64)}, None, model)
    assert data.inputs["pixels"].dtype == np.int32
    assert "cannot hold" in refusal({"x": np.full((3, 4), 2**40)}, None, model)


@pytest.mark.parametrize("array", [np.array(["a", "b"]), np.array([1, None]), np.array([1j, 2])])
def test_what_is_no_number_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    model = one_input(tmp_path)
    assert "not numbers" in refusal({"x": array}, None, model)
    assert "not numbers" in refusal({"x": np.zeros((2, 2, 4, 4))}, array, model)


def test_lengths(tmp_path: Path) -> None:
    model = one_input(tmp_path)
    assert "empty" in refusal({"x": np.zeros((0, 2, 4, 4))}, None, model)
    assert "'pixels' 3, 'targets' 2" in refusal({"x": np.zeros((3, 2, 4, 4))}, np.zeros(2, int), model)
    assert "targets have no axis" in refusal({"x": np.zeros((3, 2, 4, 4))}, np.array(1), model)


def test_a_model_with_two_inputs_names_them(tmp_path: Path) -> None:
    assert "'a', 'b'" in refusal({"x": np.zeros((3, 2))}, None, two_inputs(tmp_path))


def test_an_input_that_is_the_same_for_all_is_fed_whole(tmp_path: Path) -> None:
    model = with_a_setting(tmp_path)
    data = from_arrays({"x": np.ones((3, 4)), "gain": np.array(2.0)}, None, model)
    assert len(data) == 3
    assert data.batch(np.array([1, 2]))["gain"].tolist() == 2.0
    assert "same for all inputs" in refusal({"x": np.ones((3, 4)), "gain": np.ones(3)}, None, model)
