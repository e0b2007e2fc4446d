import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from kppstat.data import Dataset
from kppstat.engine import Evaluator
from kppstat.errors import NoiseError, SettingError
from kppstat.noise import (
    Conductance,
    Correlated,
    Gaussian,
    LogNormal,
    Mask,
    Proportional,
    RightCensored,
    Selective,
    Variation,
    WriteVerify,
    instance_normals,
)
from kppstat.onnx_io import Model
from kppstat.performance import Top1
from kppstat.worst_case import Attack, Region, probability
from kppstat.worst_case.chance import inside

W = np.array([-1.0, -0.4, 0.0, 0.3, 0.8])
LAWS = [
    Gaussian(0.1),
    Gaussian(0.0),
    Proportional(0.2),
    LogNormal(0.3),
    RightCensored(0.1, 1.0),
    WriteVerify(0.3, 0.1, 2),
    Selective(Gaussian(0.1), WriteVerify(0.3, 0.05), Mask.of(W > 0)),
]


@pytest.fixture(scope="module")
def attack(lenet: Model, few: Dataset) -> Attack:
    attack = Attack(lenet, 0.005, data=few, method="pgd", passes=6)
    for _ in attack.states():
        pass
    return attack


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("bound", [0.05, 0.1, 0.25])
def test_the_probability_of_staying_inside_is_that_of_samples(law, bound: float) -> None:  # type: ignore[no-untyped-def]
    n = 4000
    z = [instance_normals(law, 0, i, 0, W.shape).astype(np.float64) for i in range(n)]
    stays = np.mean([(abs(law.weights(W, one) - W) <= bound + 1e-9).all() for one in z])
    expected = inside(law, W, Region(bound))
    assert expected is not None
    assert stays == pytest.approx(math.exp(expected), abs=6 * 0.5 / np.sqrt(n))


@given(st.floats(0.5, 3), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_root_mean_square_of_gaussians(ratio: float, count: int, seed: int) -> None:
    z = np.random.default_rng(seed).normal(size=(4000, count))
    expected = inside(Gaussian(0.1), np.ones(count), Region(0.1 * ratio, "l2"))
    assert expected is not None
    assert (np.sqrt(np.square(z).mean(axis=1)) <= ratio).mean() == pytest.approx(
        math.exp(expected), abs=6 * 0.5 / np.sqrt(4000)
    )


def test_what_has_no_formula_is_left_out() -> None:
    assert inside(Conductance(0.1), W, Region(0.1)) is None
    assert inside(Correlated(Gaussian(0.1), row=0.5), W, Region(0.1)) is None
    assert inside(LogNormal(0.1), W, Region(0.1, "l2")) is None
    assert inside(RightCensored(0.1, 1.0), W, Region(1e-9)) is not None


def test_far_outside_is_a_logarithm_not_a_nought() -> None:
    found = inside(Gaussian(0.1), np.ones(100_000), Region(0.01))
    assert found == pytest.approx(100_000 * math.log(math.erf(0.1 / math.sqrt(2))), rel=1e-9)
    assert inside(Gaussian(0.1), np.zeros(5), Region(0.0)) == 0


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.3])
def test_chips_are_counted_as_if_shown_everything(sigma: float, attack: Attack) -> None:
    variation = Variation(Gaussian(sigma))
    found = probability(attack, variation, instances=12)
    evaluator = Evaluator(attack.model, variation, attack.data, Top1(), seed=attack.seed)
    scores = evaluator.fit(evaluator.outputs(None))
    assert evaluator.targets is not None
    accuracies = [evaluator.performance.scores(evaluator.outputs(i), evaluator.targets).mean() for i in range(12)]
    assert found.as_bad == sum(a <= attack.worst for a in accuracies)
    exact = binomtest(found.as_bad, 12).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == (pytest.approx(exact.low), pytest.approx(exact.high))
    assert 0 < found.evaluations < 12
    assert scores.mean() == attack.clean
    assert found.summary().startswith("None of") == (found.as_bad == 0)


def test_bad_questions_name_the_option(attack: Attack) -> None:
    with pytest.raises(SettingError, match="instances is 0"):
        probability(attack, Variation(Gaussian(0.1)), instances=0)
    with pytest.raises(NoiseError, match="no weight is called 'fc\\*'"):
        probability(attack, Variation(Gaussian(0.1), {"fc*": Gaussian(0.2)}), instances=3)
