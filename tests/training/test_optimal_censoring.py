from functools import cache

import numpy as np
import pytest
import torch

from kppstat.data import from_arrays
from kppstat.errors import KppstatError
from kppstat.noise import RightCensored
from kppstat.training import censoring, train
from kppstat.training.optimal_censoring import _slope, _Steps
from tests.training import small


def dataset(n: int = 64, labelled: bool = True):
    x, y = small.data(n)
    return from_arrays({small.model().graph.inputs[0].name: x}, y if labelled else None, small.model(), source="train")


@cache
def found():
    return censoring(
        small.model(), data=dataset(), sigma=0.2, k=10, thresholds=[0.5, 2], reaches=[0.5, 1.5], inputs=64, draws=4
    )


def test_candidates_are_all_combinations_best_first() -> None:
    assert {(c.threshold, round(c.sigma, 6)) for c in found().candidates} == {
        (0.5, 0.1), (0.5, 0.3), (2.0, 0.1), (2.0, 0.3),
    }  # fmt: skip
    slopes = [c.slope for c in found().candidates]
    assert slopes == sorted(slopes, reverse=True)
    assert len(set(slopes)) == 4
    assert found().guarantee == "none"


def test_the_best_goes_to_rcg_without_its_search(tmp_path) -> None:
    strategy = found().strategy()
    assert (strategy.threshold, strategy.sigma) == (found().best.threshold, found().best.sigma)
    done = train(
        small.model(), strategy, sigma=0.2, data=small.data(), epochs=1, instances=3, batch=8, device="cpu",
        out=tmp_path / "out.onnx",
    )  # fmt: skip
    assert done.strategy["sigma"] == found().best.sigma
    assert done.history[-1].settings == {"low": found().best.sigma, "high": found().best.sigma}


def test_the_slope_by_hand() -> None:
    # Steps of root mean square 0.01: (3, 4) has 12.5 ** 0.5; a tensor without a direction adds nothing.
    direction = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([-2.0]), "c": torch.zeros(2)}
    towards = {"a": np.array([1.0, 2.0]), "b": np.array([5.0]), "c": np.array([1.0, 1.0])}
    assert _slope(direction, towards) == pytest.approx(0.01 * (11 / 12.5**0.5 - 5))


def test_without_noise_the_direction_is_that_of_descent() -> None:
    data, model = dataset(), small.model()
    steps = _Steps(model, data, data.targets, 64, 2, 0)
    direction = steps.direction(RightCensored(0.0, 1.0))

    def loss(share: float) -> float:
        moved = {**steps.network.start, **{n: steps.network.start[n] + share * d for n, d in direction.items()}}
        rows = np.concatenate(steps.rows)
        return float(steps.objective(steps._outputs(moved, rows), torch.from_numpy(data.targets[rows])))

    assert loss(1e-3) < loss(0.0)


def test_what_cannot_be_answered_is_refused() -> None:
    with pytest.raises(KppstatError, match="no device variation"):
        censoring(small.model(), data=dataset(), sigma=0.0)
    with pytest.raises(KppstatError, match="no targets"):
        censoring(small.model(), data=dataset(labelled=False), sigma=0.1)
    with pytest.raises(KppstatError, match="at least"):
        censoring(small.model(), data=dataset(), sigma=0.1, thresholds=[])
