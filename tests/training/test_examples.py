import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.training.examples import augmented


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 5), height=st.integers(1, 9), width=st.integers(1, 20))
def test_a_crop_is_a_shift_with_zeros_around(seed: int, n: int, height: int, width: int) -> None:
    x = torch.randn(n, 2, height, width, generator=torch.Generator().manual_seed(seed)) + 10
    moved = augmented({"x": x}, ("crop",), torch.Generator().manual_seed(seed))["x"]
    reach = max(width // 8, 1)
    padded = torch.nn.functional.pad(x, (reach,) * 4)
    for image, original in zip(moved, padded, strict=True):
        places = [
            torch.equal(image, original[:, i : i + height, j : j + width])
            for i in range(2 * reach + 1)
            for j in range(2 * reach + 1)
        ]
        assert any(places)


def test_a_flip_mirrors_about_half() -> None:
    x = torch.arange(4000.0).reshape(1000, 1, 1, 4)
    moved = augmented({"x": x}, ("flip",), torch.Generator().manual_seed(0))["x"]
    mirrored = (moved == x.flip(-1)).flatten(1).all(1)
    assert ((moved == x).flatten(1).all(1) | mirrored).all()
    assert 430 < int(mirrored.sum()) < 570


def test_what_is_no_image_stays() -> None:
    x = torch.randn(5, 7)
    assert augmented({"x": x}, ("crop", "flip"), torch.Generator())["x"] is x
