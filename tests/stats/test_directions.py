import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.errors import DataError
from kppstat.stats.directions import Directions


def some(seed: int, count: int, sizes: tuple[int, ...] = (40, 7)) -> tuple[Directions, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    vectors = {f"w{i}": rng.normal(size=(n, count)) for i, n in enumerate(sizes)}
    return Directions(vectors), {f"w{i}": rng.normal(size=n).astype(np.float32) for i, n in enumerate(sizes)}


@given(st.integers(0, 10**6), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_moves_along_the_directions_only(seed: int, count: int) -> None:
    directions, z = some(seed, count)
    basis = np.concatenate(list(directions.vectors.values())).astype(np.float64)
    np.testing.assert_allclose(basis.T @ basis, np.eye(count), atol=1e-5)
    place = np.random.default_rng(seed).normal(size=count).astype(np.float32)
    moved = directions.moved(z, place)
    np.testing.assert_allclose(directions.coordinates(moved), place, atol=1e-4)
    step = np.concatenate(list(moved.values())) - np.concatenate(list(z.values()))
    np.testing.assert_allclose(step - basis @ (basis.T @ step), 0, atol=1e-5)
    again = directions.moved(moved, directions.coordinates(z))
    np.testing.assert_allclose(np.concatenate(list(again.values())), np.concatenate(list(z.values())), atol=1e-4)


def test_a_nominal_place_gives_a_nominal_point() -> None:
    directions, _ = some(1, 3, (5,))
    rng = np.random.default_rng(2)
    points = np.array([directions.moved({"w0": rng.normal(size=5)}, rng.normal(size=3))["w0"] for _ in range(6000)])
    np.testing.assert_allclose(np.cov(points.T), np.eye(5), atol=0.08)
    np.testing.assert_allclose(points.mean(0), 0, atol=0.06)


def test_drops_what_depends_on_earlier_ones() -> None:
    column = np.arange(1.0, 6.0)[:, None]
    assert Directions({"w": np.hstack([column, 2 * column, np.ones((5, 1))])}).count == 2
    with pytest.raises(DataError, match="no direction"):
        Directions({"w": np.zeros((5, 2))})


def test_its_name_tells_directions_apart() -> None:
    assert some(1, 2)[0].digest == some(1, 2)[0].digest != some(2, 2)[0].digest
