import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.sampling.subset import descend


def line(seed: int, count: int = 4000) -> np.ndarray:
    """The one normal of each instance that performance depends on."""
    return np.random.default_rng(seed).normal(size=count)


def performances(z: np.ndarray, mixes: list) -> list[float]:  # type: ignore[type-arg]
    return [float(sum(c * z[i] for i, c in mix)) for mix in mixes]


def test_levels_are_about_as_rare_as_they_should_be() -> None:
    lowest = []
    for seed in range(20):
        z = line(seed)
        levels = descend(lambda mixes, z=z: performances(z, mixes), 0, 3)
        assert len(levels) == 4
        assert all(len(level) == 100 for level in levels)
        lowest.append(np.median([chain.performance for chain in levels[-1]]))
    # The third level is at 0.2 ** 3 of a normal law: its median lies near the quantile of half of that.
    assert np.mean(lowest) == pytest.approx(-2.65, abs=0.25)


@given(st.integers(0, 1000), st.integers(1, 4))
@settings(max_examples=10, deadline=None)
def test_points_stay_points_of_the_nominal_law_and_levels_descend(seed: int, count: int) -> None:
    z = line(seed)
    levels = descend(lambda mixes: performances(z, mixes), 7, count, 20)
    for level in levels:
        for chain in level:
            assert sum(c * c for _, c in chain.mix) == pytest.approx(1)
            assert all(i >= 7 for i, _ in chain.mix)
            assert chain.performance == performances(z, [chain.mix])[0]
    worst = [max(chain.performance for chain in level) for level in levels]
    assert worst == sorted(worst, reverse=True)


def test_ends_where_all_are_alike() -> None:
    assert len(descend(lambda mixes: [0.5] * len(mixes), 0, 5, 20)) == 1
