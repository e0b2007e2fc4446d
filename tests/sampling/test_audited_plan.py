from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from kppstat.engine import Evaluation, Task
from kppstat.sampling.audited_aim import Aim
from kppstat.sampling.audited_ledger import Ledger
from kppstat.sampling.audited_plan import Scouts, guessed_tail, tail_steepness
from kppstat.stats.bracket import planned_errors


@given(seed=st.integers(0, 1000), p=st.floats(0.01, 0.6), shift=st.floats(-3, 3), scale=st.floats(0.01, 100))
def test_steepness_follows_shift_and_scale(seed: int, p: float, shift: float, scale: float) -> None:
    order = np.sort(np.random.default_rng(seed).normal(size=300))
    near = max(1, round(300 * p))
    plain = tail_steepness(order, near, 1e-12)
    assert tail_steepness(shift + scale * order, near, 1e-12) == pytest.approx(plain / scale, rel=1e-6)


@pytest.mark.parametrize("rate", [50, 500])
def test_a_coarse_grid_hardly_hides_steepness(rate: int) -> None:
    rng = np.random.default_rng(0)
    inputs = 2 * rate
    found = []
    for _ in range(200):
        order = np.sort(np.round(inputs * (1 - rng.exponential(size=1000) / rate)) / inputs)
        found.append(tail_steepness(order, 10, 1 / inputs))
    assert np.median(found) == pytest.approx(rate, rel=0.1)


@pytest.mark.parametrize("p", [0.001, 0.01, 0.1, 0.5, 0.9])
def test_steepness_of_a_normal_law(p: float) -> None:
    order = norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    true = norm.pdf(norm.ppf(p)) / p
    assert tail_steepness(order, round(p * 10_000), 1e-12) == pytest.approx(true, rel=0.25)


def test_steepness_scatters_less_than_that_between_two_ranks() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        order = np.sort(rng.normal(size=1000))
        found.append((tail_steepness(order, 10, 1e-12), np.log(4) / (order[39] - order[9])))
    ours, two = np.log(found).std(axis=0)
    assert ours < 0.85 * two


@given(n=st.integers(1, 30), value=st.floats(0, 1))
def test_equal_values_and_few_of_them_are_taken(n: int, value: float) -> None:
    for near in range(1, n + 1):
        found = tail_steepness(np.full(n, value), near, 1e-3)
        assert 0 <= found < np.inf


@pytest.mark.parametrize("p", [1e-3, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("performances", [[0.0], [1.0] * 4, [0.5, 0.75], [0.0, 1.0, 0.25]])
def test_scouts_direct_audits_whatever_they_find(performances: list[float], p: float) -> None:
    inputs = 40

    def reveal(tasks: Iterable[Task]) -> Iterator[Evaluation]:
        for task in tasks:
            right = performances[task.index % len(performances)] * inputs
            scores = (np.arange(inputs) < right).astype(float)
            yield Evaluation(task.index, task.rows, scores[task.rows], 0.0)

    ledger = Ledger(reveal, inputs, 0.0, 1.0, seed=0, first=0)
    pilot = list(ledger.pilot(2))
    tail = guessed_tail(pilot, inputs)
    ledger.start(0.4, 0.5, tail.middle)
    aim = Aim(ledger, tail, planned_errors(100, p), 0.4, 0.5)
    scouts = Scouts(ledger, p, budget=30.0, instances=None)
    while (need := scouts.need(aim)) is not None:
        list(ledger.more(need.ids, need.counts, need.lower, need.upper))
    with np.errstate(all="raise"):
        scouts.direct(aim)
    assert 0 < aim.tail.steepness < np.inf
    assert 0 <= aim.low <= aim.high <= 1
