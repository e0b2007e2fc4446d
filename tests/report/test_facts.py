import math

import pytest

from kppstat.report.facts import caption, description, duration, facts, promise
from kppstat.sampling.result import GUARANTEES
from tests.sampling.made import DEGENERATE, accuracies, made


def rows(estimate):
    return {name: value for _, group in facts(estimate) for name, value in group}


def test_facts_are_those_of_the_estimate():
    answer = {"kpp": 0.76, "ci_low": 0.75, "ci_high": 0.78, "half_width": 0.02, "converged": True}
    known = rows(made(accuracies(), **answer, clean=0.93, sd=0.0123))
    assert known["KPP at k = 1 %"] == "76.00 %"
    assert known["95 % interval"] == "75.00 % to 78.00 %"
    assert known["Half-width"] == "1.50 points"
    assert known["Wanted half-width"] == "2.00 points, reached"
    assert known["Standard deviation"] == "1.23 points"
    assert known["Clean performance"] == "93.00 %"
    assert known["Cost"] == "400 evaluations"
    assert known["Time"] == "1 min 15 s"


def test_a_loss_is_said_to_be_one_and_is_no_percentage():
    known = rows(made(accuracies(), loss=True, performance="mse", kpp=0.5, sigma=None))
    assert known["Performance"] == "mse, larger is worse"
    assert known["KPP at k = 1 %"] == "0.5"
    assert known["Sigma"] == "differs, see the tensors"


def test_an_unknown_end_leaves_the_half_width_unknown():
    known = rows(made([0.9], ci_low=-math.inf, ci_high=0.9))
    assert (known["95 % interval"], known["Half-width"]) == ("at most 90.00 %", "not known yet")


@pytest.mark.parametrize("name", DEGENERATE)
def test_any_estimate_has_words(name):
    estimate = DEGENERATE[name]
    assert all(value for _, group in facts(estimate) for _, value in group)
    for figure in ("distribution", "convergence"):
        assert caption(estimate, figure)
        assert description(estimate, figure)


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_every_guarantee_is_explained_with_its_confidence_and_its_limits(guarantee):
    text = " ".join(promise(made(accuracies(), guarantee=guarantee, confidence=0.9)))
    assert ("at least 90 of 100" in text) == (guarantee in ("exact", "anytime"))
    assert ("about 90 of 100" in text) == (guarantee == "asymptotic")
    assert "noise model" in text
    assert "1,000 inputs" in text


def test_values_of_an_audited_run_are_called_guesses():
    assert "best guesses" in caption(made(accuracies(), method="audited"), "distribution")
    assert "best guesses" not in caption(made(accuracies(), method="mc"), "distribution")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "0.0 s"), (59.99, "60.0 s"), (3599.7, "1 h 0 min"), (60, "1 min 0 s")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words
