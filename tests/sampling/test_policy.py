import math

import numpy as np
import pytest

from kppstat.sampling.policy import chosen, saving
from kppstat.sampling.question import Question
from tests.sampling.made import made


@pytest.mark.parametrize(
    ("question", "bounded", "obstacle", "method"),
    [
        (Question(), True, None, "audited"),
        (Question(guarantee="exact", k=0.01), True, None, "audited"),
        (Question(guarantee="anytime", k=0.01), True, None, "audited"),
        (Question(guarantee="asymptotic", k=0.1), True, None, "tilted"),
        (Question(guarantee="asymptotic", k=1), True, None, "tilted"),
        (Question(guarantee="asymptotic", k=5), True, None, "audited"),
        (Question(guarantee="asymptotic", k=0.1), True, "torch is not installed", "audited"),
        (Question(guarantee="asymptotic", k=0.1), False, None, "mc"),
        (Question(method="tilted"), True, "torch is not installed", "tilted"),
        (Question(method="mc", k=0.1, guarantee="asymptotic"), True, None, "mc"),
    ],
)
def test_chooses_by_guarantee_rarity_and_what_there_is(
    question: Question, bounded: bool, obstacle: str | None, method: str
) -> None:
    got, reason = chosen(question, bounded=bounded, obstacle=obstacle)
    assert got == method
    assert reason
    if obstacle and method == "audited":
        assert reason == obstacle


def test_saving_is_the_plain_size_over_the_cost() -> None:
    values = np.random.default_rng(0).normal(0.9, 0.02, 4000)
    question = Question(k=1)
    few = saving(values, question, 0.0025, 500)
    assert few == pytest.approx(2 * saving(values, question, 0.0025, 1000))
    assert 4 < few < 16  # plain Monte Carlo takes about 4,000 for a spread of .02
    assert math.isnan(saving(values, question, math.inf, 500))
    assert math.isnan(saving(values[:5], question, 0.0025, 500))


def test_the_answer_never_hides_the_blind_spot() -> None:
    plain, tilted = made([0.9] * 50), made([0.9] * 50, guarantee="asymptotic", hidden_mass=0.0123, factor=20.0)
    assert "cannot see" not in plain.summary()
    assert "at most 1.2 % of all instances, exactly" in tilted.summary()
    assert plain.to_dict()["hidden_mass"] is None
    assert tilted.to_dict()["factor"] == 20.0
