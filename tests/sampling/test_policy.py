import math

import numpy as np
import pytest

from kppstat.sampling.policy import chosen, saving
from kppstat.sampling.question import Question
from tests.sampling.made import made


@pytest.mark.parametrize(
    ("question", "bounded", "method"),
    [
        (Question(), True, "audited"),
        (Question(guarantee="exact", k=0.01), True, "audited"),
        (Question(guarantee="asymptotic", k=0.1), True, "audited"),
        (Question(guarantee="asymptotic", k=0.1), False, "mc"),
        (Question(method="tilted"), True, "tilted"),
        (Question(method="mc", k=0.1, guarantee="asymptotic"), True, "mc"),
    ],
)
def test_takes_what_is_asked_for_and_else_what_holds(question: Question, bounded: bool, method: str) -> None:
    got, reason = chosen(question, bounded=bounded)
    assert got == method
    assert reason


def test_says_where_another_method_may_be_cheaper() -> None:
    assert "--method tilted" in chosen(Question(guarantee="asymptotic", k=1), bounded=True)[1]
    assert "--method tilted" not in chosen(Question(guarantee="asymptotic", k=5), bounded=True)[1]


def test_saving_is_the_plain_size_over_the_cost() -> None:
    values = np.random.default_rng(0).normal(0.9, 0.02, 4000)
    question = Question(k=1)
    few = saving(values, question, 0.0025, 500)
    assert few == pytest.approx(2 * saving(values, question, 0.0025, 1000))
    assert 4 < few < 16  # plain Monte Carlo takes about 4,000 for a spread of .02
    assert math.isnan(saving(values, question, math.inf, 500))
    assert math.isnan(saving(values[:5], question, 0.0025, 500))


def test_the_answer_never_hides_the_blind_spot() -> None:
    plain = made([0.9] * 50)
    tilted = made([0.9] * 50, guarantee="asymptotic", hidden_mass=0.0123, hidden_threshold=0.85, factor=20.0)
    assert "cannot see" not in plain.summary()
    assert "(85.00 % or worse): at most 1.2 % of all instances, exactly" in tilted.summary()
    assert plain.to_dict()["hidden_mass"] is None
    assert tilted.to_dict()["factor"] == 20.0
