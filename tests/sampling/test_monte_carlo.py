import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm, quantile_test

from kppstat.engine import Evaluation, Task
from kppstat.sampling.monte_carlo import PILOT, MonteCarlo
from kppstat.sampling.question import BY_HAND, Question
from kppstat.sampling.result import SPENT, State
from kppstat.stats.order import ranks
from kppstat.stats.sequence import QuantileSequence
from kppstat.stats.stages import looks

Law = Callable[[np.random.Generator], float]


def machine(law: Law, seed: int = 0) -> Callable[[Iterable[Task]], Iterator[Evaluation]]:
    """Instances whose performance follows a law, each fixed by its number."""

    def reveal(tasks: Iterable[Task]) -> Iterator[Evaluation]:
        for task in tasks:
            value = law(np.random.default_rng((seed, task.index)))
            yield Evaluation(task.index, None, np.array([value]), 0.0)

    return reveal


def normal(rng: np.random.Generator) -> float:
    return float(np.round(rng.normal(0.85, 0.01), 4))


def last(estimator: MonteCarlo, law: Law = normal, seed: int = 0) -> State:
    states = list(estimator.states(machine(law, seed)))
    assert [s.done for s in states] == [False] * (len(states) - 1) + [True]
    assert [s.instances for s in states] == sorted(s.instances for s in states)
    return states[-1]


@pytest.mark.parametrize("k", [0.5, 5, 50, 97])
def test_a_budget_is_one_look_and_equals_scipy(k: float) -> None:
    estimator = MonteCarlo(Question(k=k, max_evaluations=800), half_width=1e-9)
    end = last(estimator)
    test = quantile_test(estimator.sample().performance, p=k / 100).confidence_interval(0.95)
    assert (end.low, end.high) == (test.low, test.high)
    assert end.guarantee == "exact"
    assert end.evaluations == 800
    assert not end.converged


def test_exact_run_reaches_the_width_and_counts_its_pilot() -> None:
    estimator = MonteCarlo(Question(k=5), half_width=0.002)
    end = last(estimator)
    assert end.converged
    assert end.half_width <= 0.002
    assert end.guarantee == "exact"
    assert end.evaluations == len(estimator.sample().performance)
    assert end.low <= norm.ppf(0.05, 0.85, 0.01) <= end.high


@pytest.mark.parametrize("guarantee", ["exact", "anytime", "asymptotic"])
def test_same_question_same_states(guarantee: str) -> None:
    runs = [
        list(MonteCarlo(Question(k=10, guarantee=guarantee), half_width=0.003).states(machine(normal)))  # type: ignore[arg-type]
        for _ in range(2)
    ]
    assert repr(runs[0]) == repr(runs[1])
    assert runs[0][-1].guarantee == guarantee


def test_a_clock_keeps_exact_and_a_hand_gets_the_sequence() -> None:
    for by_hand, promised in ((False, "exact"), (True, "anytime")):
        estimator = MonteCarlo(Question(k=10), half_width=1e-6)
        for state in estimator.states(machine(normal)):
            if state.instances == PILOT + 700:
                break
        end = estimator.conclude("stopped", by_hand=by_hand)
        assert end.guarantee == promised
        assert end.done
        assert -math.inf < end.low <= end.kpp <= end.high < math.inf


def test_after_a_look_a_clock_has_half_of_the_error_and_the_pilot_never_counts_with_it() -> None:
    estimator = MonteCarlo(Question(k=10), half_width=0.004)
    values = [float(e.scores[0]) for e in machine(normal)(Task(i) for i in range(3000))]
    brackets = []
    for _ in estimator.states(machine(normal)):
        if estimator._bracket != (-math.inf, math.inf):
            brackets.append((len(estimator._looked_at), estimator._bracket))
        if brackets and len(estimator._looked_at) > brackets[0][0]:
            break
    size, (low, high) = brackets[0]
    assert size >= PILOT
    one = next(looks([size, 10**6], 0.1, estimator._alpha))
    ordered = sorted(values[PILOT : PILOT + size])
    assert (low, high) == (ordered[one.low - 1], ordered[one.high - 1])
    end = estimator.conclude("the time is up", by_hand=False)
    ordered = sorted(values[PILOT : PILOT + size + 1])
    first, beyond = ranks(size + 1, 0.1, estimator._alpha / 2)
    assert (end.low, end.high) == (max(low, ordered[first - 1]), min(high, ordered[beyond - 1]))


@pytest.mark.parametrize("looked_at", [0, 30, PILOT - 1])
def test_a_clock_that_takes_the_pilot_spends_the_error_once(looked_at: int) -> None:
    """A pilot that plans very few instances: no look comes before they are as many as the pilot."""

    def reveal(tasks: Iterable[Task]) -> Iterator[Evaluation]:
        for task in tasks:
            value = 0.8 + (1e-6 if task.index < PILOT else 0.1) * np.random.default_rng(task.index).normal()
            yield Evaluation(task.index, None, np.array([value]), 0.0)

    estimator = MonteCarlo(Question(k=50), half_width=0.002)
    for state in estimator.states(reveal):
        if state.instances == PILOT + looked_at:
            break
    assert estimator._alpha_by_clock == estimator._alpha
    end = estimator.conclude("stopped", by_hand=False)
    ordered = sorted(estimator._pilot)
    low, high = ranks(PILOT, 0.5, estimator._alpha)
    assert (end.low, end.high, end.guarantee) == (ordered[low - 1], ordered[high - 1], "exact")


def test_runs_by_another_plan_go_by_the_one_sequence_kept_for_ends_by_hand() -> None:
    question = Question(k=10, confidence=0.9)
    one = QuantileSequence(0.1, BY_HAND * question.alpha, MonteCarlo(question, 1e-9)._sequence.t_opt)
    low, high = -math.inf, math.inf
    values: list[float] = []
    ends = {}
    for n, evaluation in enumerate(machine(normal)(Task(i) for i in range(2200)), start=1):
        values = sorted([*values, float(evaluation.scores[0])])
        lower, upper = one.ranks(n)
        low = max(low, values[lower - 1] if lower else -math.inf)
        high = min(high, values[upper - 1] if upper <= n else math.inf)
        ends[n] = (low, high)
    for budget in (50, 300, 2200):  # also where the budget is below what the sequence is tightest at
        again = Question(k=10, confidence=0.9, max_evaluations=budget)
        estimator = MonteCarlo(again, 1e-9, replanned=True)
        assert estimator._sequence.t_opt == one.t_opt
        end = last(estimator)
        assert (end.low, end.high, end.guarantee, end.phase) == (*ends[budget], "anytime", SPENT)
        stopped = MonteCarlo(again, 1e-9)
        list(stopped.states(machine(normal)))
        assert stopped.conclude("stopped", by_hand=True).low == end.low


@pytest.mark.slow
def test_raising_the_budget_until_the_interval_is_narrow_misses_no_more_than_promised() -> None:
    rng, missed = np.random.default_rng(0), 0
    for _ in range(200):
        values = np.where(rng.random(1000) < 0.1, 0.8, 0.9).tolist()
        budget, end = 60, None
        while budget < 700 and not (end and end.converged):
            question = Question(k=10, confidence=0.9, max_evaluations=budget)
            estimator = MonteCarlo(question, 0.01, replanned=end is not None)
            *_, end = estimator.states(lambda tasks, values=values: (_given(task, values) for task in tasks))
            budget = int(1.2 * budget) + 1
        assert end
        missed += not end.low <= 0.8 <= end.high
    assert missed <= 0.1 * 200


@pytest.mark.parametrize("guarantee", ["exact", "anytime", "asymptotic"])
def test_some_instances_may_be_infinitely_bad(guarantee: str) -> None:
    def law(rng: np.random.Generator) -> float:
        return -math.inf if rng.random() < 0.02 else normal(rng)

    estimator = MonteCarlo(Question(k=10, guarantee=guarantee), half_width=0.004)  # type: ignore[arg-type]
    end = last(estimator, law)
    assert end.converged
    assert end.low > -math.inf
    assert estimator.sample().mean == -math.inf
    assert math.isnan(estimator.sample().sd)


def test_the_interval_on_the_way_is_nested() -> None:
    states = list(MonteCarlo(Question(k=10, guarantee="anytime"), half_width=0.003).states(machine(normal)))
    assert all(a.low <= b.low and b.high <= a.high for a, b in pairwise(states))
    assert states[-1].converged


def test_first_shifts_the_instances() -> None:
    tasks: list[int] = []

    def reveal(asked: Iterable[Task]) -> Iterator[Evaluation]:
        for task in asked:
            tasks.append(task.index)
            yield Evaluation(task.index, None, np.array([0.5]), 0.0)

    list(MonteCarlo(Question(k=50, max_evaluations=20), half_width=1e-9, first=1000).states(reveal))
    assert tasks == list(range(1000, 1020))


def test_all_instances_equal() -> None:
    end = last(MonteCarlo(Question(k=5), half_width=0.005), law=lambda rng: 0.75)
    assert end.low == end.high == end.kpp == 0.75
    assert end.converged


def _given(task: Task, values: list[float]) -> Evaluation:
    return Evaluation(task.index, None, np.array([values[task.index]]), 0.0)


@given(
    values=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.9]), min_size=1, max_size=150),
    k=st.floats(0.5, 99.5),
    guarantee=st.sampled_from(["exact", "anytime", "asymptotic"]),
)
@settings(max_examples=60, deadline=None)
def test_any_sample_gives_an_ordered_interval(values: list[float], k: float, guarantee: str) -> None:
    question = Question(k=k, max_evaluations=len(values), guarantee=guarantee)  # type: ignore[arg-type]
    estimator = MonteCarlo(question, half_width=1e-9)
    for state in estimator.states(lambda tasks: (_given(task, values) for task in tasks)):
        assert state.low <= state.kpp <= state.high
        assert state.kpp in values


@pytest.mark.parametrize("guarantee", ["exact", "anytime", "asymptotic"])
@pytest.mark.parametrize("decimals", [2, 4])
def test_coverage_when_stopping_on_width(guarantee: str, decimals: int) -> None:
    def law(rng: np.random.Generator) -> float:
        return float(np.round(rng.normal(0.85, 0.02), decimals))

    truth = float(np.round(norm.ppf(0.1, 0.85, 0.02), decimals))
    replications = 300
    hits = 0
    for seed in range(replications):
        question = Question(k=10, confidence=0.9, guarantee=guarantee, max_evaluations=2500)  # type: ignore[arg-type]
        end = last(MonteCarlo(question, half_width=0.006), law, seed)
        hits += end.low <= truth <= end.high
    promised = 0.88 if guarantee == "asymptotic" else 0.9
    assert hits >= binom.ppf(1e-4, replications, promised)
