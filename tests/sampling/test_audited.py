import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.engine import Evaluation, Task
from kppstat.errors import DataError, SettingError
from kppstat.sampling.audited import _EARLY, FIRST_SHARE, Audited
from kppstat.sampling.question import BY_HAND, Question
from kppstat.sampling.result import State
from kppstat.stats.bracket import AuditErrors, Bracket, brackets, fixed_bracket

INPUTS = 200
Machine = Callable[[Iterable[Task]], Iterator[Evaluation]]


def population(kind: str, size: int = 3000, seed: int = 0) -> np.ndarray:
    """Scores of many instances, of which a machine draws."""
    rng = np.random.default_rng(seed)
    odds = np.log(base := rng.beta(8, 1, INPUTS)) - np.log1p(-base)
    if kind == "ties":
        level = rng.choice([150, 170, 180], size, p=[0.1, 0.2, 0.7])
        return (np.arange(INPUTS) < level[:, None]).astype(float)
    if kind == "perfect, then wrong":
        scores = np.ones((size, INPUTS))
        scores[:, :20] = 0
        scores[rng.random(size) < 0.06, 100:] = 0
        return scores
    shift = {
        "normal": rng.normal(0, 0.6, size),
        "heavy tail": -0.5 * np.abs(rng.standard_t(2.5, size)),
        "hidden failures": np.where(rng.random(size) < 0.055, -4.0, rng.normal(0, 0.2, size)),
        "real-valued": rng.normal(0, 0.6, size),
    }[kind]
    chance = 1 / (1 + np.exp(-(odds + shift[:, None])))
    if kind == "real-valued":
        return rng.beta(3 * chance, 3 - 3 * chance)
    return (rng.random((size, INPUTS)) < chance).astype(float)


def machine(scores: np.ndarray, seed: int = 0) -> Machine:
    """Instances drawn from a population, each fixed by its number; only the rows asked for are given."""
    which = np.random.default_rng((seed, 99)).integers(0, len(scores), 200_000)

    def reveal(tasks: Iterable[Task]) -> Iterator[Evaluation]:
        for task in tasks:
            assert task.rows is not None
            assert len(np.unique(task.rows)) == len(task.rows)
            yield Evaluation(task.index, task.rows, scores[which[task.index]][task.rows], 0.0)

    return reveal


def kpp(scores: np.ndarray, k: float) -> float:
    order = np.sort(scores.mean(1))
    return float(order[math.ceil(k / 100 * len(order) - 1e-9) - 1])


def audited(half_width: float = 0.02, instances: int | None = None, **question: object) -> Audited:
    return Audited(Question(**question), half_width, inputs=INPUTS, instances=instances)  # type: ignore[arg-type]


def last(estimator: Audited, reveal: Machine) -> State:
    states = list(estimator.states(reveal))
    assert [s.done for s in states] == [False] * (len(states) - 1) + [True]
    cost = [s.evaluations for s in states]
    assert cost == sorted(cost)
    return states[-1]


@pytest.mark.parametrize("guarantee", ["exact", "anytime", "asymptotic"])
def test_reaches_the_width_and_holds_the_truth(guarantee: str) -> None:
    scores = population("normal")
    end = last(audited(k=10, guarantee=guarantee), machine(scores))
    assert end.converged
    assert end.half_width <= 0.02
    assert end.guarantee == guarantee
    assert end.low <= kpp(scores, 10) <= end.high
    assert end.low <= end.kpp <= end.high


def test_costs_less_than_full_evaluations() -> None:
    """On 2,000 inputs of a tight population: far fewer evaluations than instances, at nearly the ideal ranks."""
    rng = np.random.default_rng(3)
    odds = 2 + 1.5 * rng.normal(size=2000)
    scores = (rng.random((2000, 2000)) < 1 / (1 + np.exp(-(odds + 0.4 * rng.normal(size=(2000, 1)))))).astype(np.uint8)
    estimator = Audited(Question(k=1), 1e-9, inputs=2000, instances=2000)
    end = last(estimator, machine(scores))
    assert end.evaluations < 2000 / 4
    # No inputs are counted twice, and every input that was asked for is counted.
    asked = 0

    def counting(tasks: Iterable[Task]) -> Iterator[Evaluation]:
        nonlocal asked
        for evaluation in machine(scores)(tasks):
            asked += len(evaluation.scores)
            yield evaluation

    assert last(Audited(Question(k=1), 1e-9, inputs=2000, instances=2000), counting) == end
    assert asked / 2000 == end.evaluations


@pytest.mark.parametrize("kind", ["normal", "real-valued"])
def test_replays_bit_for_bit_from_what_was_revealed(kind: str) -> None:
    """The adaptive state is a function of the revealed scores: a journal gives the same tasks and the same end."""
    scores, journal = population(kind), {}

    def recorded(tasks: Iterable[Task]) -> Iterator[Evaluation]:
        for evaluation in machine(scores)(tasks):
            journal[evaluation.index, evaluation.rows.tobytes()] = evaluation
            yield evaluation

    def replayed(tasks: Iterable[Task]) -> Iterator[Evaluation]:
        for task in tasks:
            yield journal[task.index, task.rows.tobytes()]

    one = list(audited(k=10).states(recorded))
    other = list(audited(k=10).states(replayed))
    assert repr(one) == repr(other)
    different = list(audited(k=10, seed=1).states(machine(scores)))
    assert repr(one) != repr(different)


def test_first_shifts_instances_and_keeps_random_orders_apart() -> None:
    seen: dict[int, set[int]] = {}

    def reveal(tasks: Iterable[Task]) -> Iterator[Evaluation]:
        for task in tasks:
            rows = seen.setdefault(task.index, set())
            assert not rows & set(task.rows.tolist())
            rows |= set(task.rows.tolist())
            yield Evaluation(task.index, task.rows, (task.rows % 7 > task.index % 3).astype(float), 0.0)

    estimator = Audited(Question(k=20, max_evaluations=60), 0.01, inputs=INPUTS, first=1000)
    end = last(estimator, reveal)
    assert min(seen) == 1000
    assert sum(map(len, seen.values())) / INPUTS == end.evaluations <= 60


@pytest.mark.parametrize("budget", [1, 2, 7, 40, 150])
def test_a_budget_is_kept(budget: float) -> None:
    scores = population("normal")
    end = last(audited(1e-9, k=5, max_evaluations=budget), machine(scores))
    assert end.evaluations <= budget
    assert end.phase == "the budget of evaluations is spent"
    assert not end.converged
    assert end.low <= kpp(scores, 5) <= end.high


def test_stopped_by_hand_or_clock_the_interval_still_holds() -> None:
    scores = population("normal")
    for by_hand, promised in ((True, "anytime"), (False, "exact")):
        for after in (5, 30, 200):
            estimator = audited(1e-9, k=10, instances=None if by_hand else 400)
            for state in estimator.states(machine(scores)):
                if state.evaluations >= after:
                    break
            end = estimator.conclude("stopped", by_hand=by_hand)
            assert end.done
            assert end.low <= kpp(scores, 10) <= end.high
        assert end.guarantee == promised
        assert end.high - end.low < 1


def spied(estimator: Audited) -> list[tuple[int, tuple[float, float]]]:
    """Remember the interval of every look at planned ranks, with the number of instances."""
    looks: list[tuple[int, tuple[float, float]]] = []
    ends_of, renew = estimator._ends_of, estimator._renew

    def remember(ids, bracket):
        looks.append((bracket.size, ends_of(ids, bracket)))
        return looks[-1][1]

    def quietly() -> None:
        estimator._ends_of = ends_of
        renew()
        estimator._ends_of = remember

    estimator._ends_of, estimator._renew = remember, quietly
    return looks


def test_asymptotic_intervals_are_of_one_size() -> None:
    """What the intervals of several sizes share would miss more often than each of them."""
    scores = population("real-valued")
    differ = 0
    for seed in range(2):
        estimator = audited(0.004, k=20, guarantee="asymptotic", confidence=0.5, seed=seed, max_evaluations=800)
        looks = spied(estimator)
        end = last(estimator, machine(scores, seed))
        found = {ends for _, ends in looks}
        assert (end.low, end.high) in found
        differ += (max(low for low, _ in found), min(high for _, high in found)) not in found
    assert differ  # there are runs in which the two rules differ


def test_a_clock_uses_the_planned_ranks_once_all_their_instances_are_opened() -> None:
    estimator = audited(1e-9, k=10, instances=400)
    looks = spied(estimator)
    for _ in estimator.states(machine(population("normal"))):
        if estimator._touched >= 400 and not looks:
            break
    end = estimator.conclude("stopped", by_hand=False)
    assert [size for size, _ in looks] == [400]
    (low, high), *_ = (ends for _, ends in looks)
    assert low <= end.low <= end.high <= high
    assert high - low < 0.5
    assert end.guarantee == "exact"


def test_a_given_number_of_instances_keeps_the_error_of_the_sequence() -> None:
    """``anytime`` has one confidence sequence and no error beside it for ranks at a fixed size."""
    estimator = audited(1e-9, k=10, instances=400, guarantee="anytime")
    last(estimator, machine(population("normal")))
    assert estimator._bracket == estimator._sequence().bracket(400)


def test_the_interval_on_show_only_narrows() -> None:
    scores = population("normal")
    estimator = audited(0.02, k=10)
    shown = []
    for state in estimator.states(machine(scores)):
        if not state.done:
            assert state.guarantee == "anytime"
            shown.append(state.high - state.low)
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == 1
    assert shown[-1] < 0.2
    assert state.converged


def test_planned_ends_and_ends_by_hand_share_the_error() -> None:
    estimator = audited(k=10, confidence=0.9)
    assert estimator._alpha + estimator._alpha_by_hand == pytest.approx(0.1)
    always = audited(k=10, confidence=0.9, guarantee="anytime")
    assert always._alpha_by_hand == pytest.approx(0.1)


def test_a_run_by_another_plan_goes_by_the_sequence_kept_for_ends_before_the_plan() -> None:
    question = Question(k=10, confidence=0.9, max_evaluations=60)
    planned = Audited(question, 0.02, inputs=INPUTS)
    again = Audited(question, 0.02, inputs=INPUTS, replanned=True)
    assert [again._sequence().bracket(n) for n in (20, 200)] == [planned._sequence().bracket(n) for n in (20, 200)]
    end = last(again, machine(population("normal")))
    assert end.guarantee == "anytime"
    assert end.instances == again._touched  # all of them count
    assert again._sequence().bracket(300) == planned._sequence().bracket(300)


def test_scouts_and_what_is_planned_by_them_have_each_a_part_of_the_error_by_hand() -> None:
    estimator = audited(k=10)
    assert estimator._sequence()._low.alpha == pytest.approx(_EARLY * BY_HAND * 0.05 / 2)
    estimator._offset = 1
    assert estimator._sequence()._low.alpha == pytest.approx((1 - _EARLY) * BY_HAND * 0.05 / 2)


def test_scouts_do_not_count_at_planned_sizes_and_those_have_the_rest_of_the_error() -> None:
    estimator = audited(0.05, k=10)
    ends_of, met = estimator._ends_of, []

    def remember(ids: np.ndarray, bracket: Bracket) -> tuple[float, float]:
        met.append((int(ids[0]), bracket))
        return ends_of(ids, bracket)

    estimator._ends_of = remember  # type: ignore[method-assign]
    for state in estimator.states(machine(population("normal"))):
        if state.phase == "pilot":
            continue
        if estimator._bracket is None:
            opened = estimator._opened
    planned = [ids for ids, bracket in met if bracket == estimator._bracket]
    assert planned
    assert min(planned) == estimator._offset == opened > 16
    n = estimator._bracket.size
    (first,) = brackets([n], 0.1, (1 - BY_HAND) * 0.05, estimator._errors, FIRST_SHARE)  # takes all there is
    assert estimator._bracket.low <= first.low
    assert first.high <= estimator._bracket.high


@pytest.mark.parametrize("instances", [400, None])
def test_ranks_of_a_number_of_instances_have_the_error_that_is_not_kept(
    instances: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = []

    def remember(n: int, p: float, alpha: float, errors: AuditErrors) -> Bracket:
        shares.append(alpha)
        return fixed_bracket(n, p, alpha, errors)

    monkeypatch.setattr("kppstat.sampling.audited.fixed_bracket", remember)
    last(audited(0.05, instances, k=10, guarantee="asymptotic"), machine(population("normal")))
    assert shares
    assert shares == pytest.approx([(1 - BY_HAND) * 0.05] * len(shares))


def test_who_stops_by_hand_gets_the_sequence_even_where_a_planned_size_is_reached() -> None:
    for guarantee in ("exact", "asymptotic"):
        estimator = audited(1e-9, k=10, instances=400, guarantee=guarantee)
        for state in estimator.states(machine(population("normal"))):
            if not state.done and estimator._touched >= 400 and estimator._ends != (0.0, 1.0):
                assert state.guarantee == "anytime"
                break
        end = estimator.conclude("stopped", by_hand=True)
        assert end.guarantee == "anytime"
        if guarantee == "asymptotic":
            assert (end.low, end.high) == estimator._shown != estimator._ends


@pytest.mark.parametrize("level", [0, 137, INPUTS])
def test_all_instances_equal(level: int) -> None:
    scores = np.tile((np.arange(INPUTS) < level).astype(float), (5, 1))
    end = last(audited(0.01, k=5), machine(scores))
    assert end.converged
    assert end.low <= level / INPUTS <= end.high
    exact = last(audited(1e-9, k=5, instances=200), machine(scores))
    assert exact.low == exact.high == exact.kpp == pytest.approx(level / INPUTS)


def test_one_input() -> None:
    scores = (np.random.default_rng(0).random((500, 1)) < 0.7).astype(float)
    estimator = Audited(Question(k=50, max_evaluations=300), 0.1, inputs=1)
    end = last(estimator, machine(scores))
    assert (end.low, end.high) == (1.0, 1.0)


def test_another_range_of_scores() -> None:
    """Scores on any scale give the scaled interval, bit for bit in what is revealed."""
    scores = population("normal")
    plain = last(audited(0.02, k=10), machine(scores))
    estimator = Audited(Question(k=10), 0.08, inputs=INPUTS, low=-3.0, high=1.0)
    scaled = last(estimator, machine(4 * scores - 3))
    assert scaled.evaluations == plain.evaluations
    assert (scaled.low, scaled.high) == pytest.approx((4 * plain.low - 3, 4 * plain.high - 3))


def test_unusable_scores_are_refused() -> None:
    with pytest.raises(SettingError, match="bounds"):
        Audited(Question(), 0.01, inputs=10, low=-math.inf, high=0.0)
    with pytest.raises(SettingError, match="instances"):
        Audited(Question(), 0.01, inputs=10, instances=0)
    with pytest.raises(DataError, match=r"outside 0 \.\. 1"):
        last(audited(), machine(np.full((3, INPUTS), 1.5)))


KINDS = ["normal", "heavy tail", "ties", "hidden failures", "perfect, then wrong", "real-valued"]


def misses(kind: str, guarantee: str, runs: int, confidence: float, budget: float) -> int:
    scores = population(kind)
    truth, missed = kpp(scores, 5), 0
    for seed in range(runs):
        asked = {"k": 5, "confidence": confidence, "guarantee": guarantee, "seed": seed, "max_evaluations": budget}
        end = last(audited(0.03, **asked), machine(scores, seed))  # type: ignore[arg-type]
        missed += not end.low - 1e-12 <= truth <= end.high + 1e-12
    return missed


@pytest.mark.parametrize("kind", KINDS)
def test_coverage_in_brief(kind: str) -> None:
    """At 80 % confidence, misses of 30 runs are no more than chance allows (binomial, once in 10,000)."""
    assert misses(kind, "exact", 30, 0.8, 100) <= 15


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("guarantee", ["exact", "anytime"])
def test_coverage(kind: str, guarantee: str) -> None:
    """At 95 % confidence, misses of 1,000 runs are no more than chance allows (binomial, once in 1,000)."""
    assert misses(kind, guarantee, 1000, 0.95, 150) <= 72


@given(
    levels=st.lists(st.integers(0, 20), min_size=1, max_size=40),
    k=st.floats(0.5, 99.5),
    guarantee=st.sampled_from(["exact", "anytime", "asymptotic"]),
    budget=st.integers(1, 60),
    inputs=st.integers(1, 40),
)
@settings(max_examples=50, deadline=None)
def test_any_question_gives_an_ordered_answer(
    levels: list[int], k: float, guarantee: str, budget: int, inputs: int
) -> None:
    scores = (np.arange(inputs) * 20 < np.array(levels)[:, None] * inputs).astype(float)
    question = Question(k=k, guarantee=guarantee, max_evaluations=budget)  # type: ignore[arg-type]
    end = last(Audited(question, 0.05, inputs=inputs), machine(scores))
    assert 0 <= end.low <= end.kpp <= end.high <= 1
    assert end.evaluations <= budget


@pytest.mark.parametrize("kind", ["heavy tail", "hidden failures", "real-valued"])
def test_mean_and_spread_lean_neither_to_the_pilot_nor_to_where_audits_end(kind: str) -> None:
    scores = population(kind)
    true, spread = scores.mean(), scores.mean(1).std()
    errors, spreads = [], []
    for seed in range(8):
        estimator = audited(k=10, seed=seed)
        last(estimator, machine(scores, seed))
        found = estimator.sample()
        errors.append(found.mean - true)
        spreads.append(found.sd)
    assert abs(np.mean(errors)) < 4 * np.std(errors) / math.sqrt(8) + 1e-3
    assert np.std(errors) < spread / 5
    assert np.mean(spreads) == pytest.approx(spread, rel=0.2)
