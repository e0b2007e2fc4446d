import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from kppstat.stats.bracket import (
    AuditErrors,
    Bracket,
    BracketSequence,
    brackets,
    fixed_bracket,
    planned_errors,
)
from kppstat.stats.order import ranks
from kppstat.stats.sequence import QuantileSequence
from kppstat.stats.stages import growing_sizes, looks


@given(n=st.integers(1, 10**6), p=st.floats(1e-4, 0.999), alpha=st.floats(0.001, 0.3))
def test_without_errors_ranks_are_those_of_values(n: int, p: float, alpha: float) -> None:
    b = fixed_bracket(n, p, alpha, AuditErrors(0.0, 0.0))
    assert (b.low, b.high) == ranks(n, p, alpha)


@given(
    n=st.integers(1, 10**5),
    p=st.floats(1e-4, 0.999),
    alpha=st.floats(0.001, 0.3),
    lower=st.floats(0, 0.3),
    upper=st.floats(0, 0.3),
)
def test_errors_widen_and_the_error_is_kept(n: int, p: float, alpha: float, lower: float, upper: float) -> None:
    errors = AuditErrors(lower, upper)
    b, ideal = fixed_bracket(n, p, alpha, errors), fixed_bracket(n, p, alpha, AuditErrors(0.0, 0.0))
    assert b.low <= ideal.low
    assert b.high >= ideal.high
    assert 0 <= b.low <= b.high <= n + 1
    # Values tied at the quantile or not, wrong audits as many as allowed: both sides keep half of the error.
    if b.low:
        assert binom.cdf(b.low - 1, n, p * (1 - lower)) <= alpha / 2 * (1 + 1e-9)
    if b.high <= n:
        assert binom.sf(b.high - 1, n, p + (1 - p) * upper) <= alpha / 2 * (1 + 1e-9)


@given(n=st.integers(10, 10**6), p=st.floats(1e-4, 0.999))
def test_planned_errors_cost_little_of_the_rank(n: int, p: float) -> None:
    errors = planned_errors(n, p)
    assert 0 < errors.lower <= 0.1
    assert 0 < errors.upper <= 0.1
    if n * min(p, 1 - p) > 20:
        b = fixed_bracket(n, p, 0.05, errors)
        low, high = ranks(n, p, 0.05)
        assert b.high - b.low <= 1.35 * (high - low) + 2


def test_looks_are_those_of_both_shares() -> None:
    errors = AuditErrors(0.05, 1e-4)
    below, above = errors.shares(0.01)
    sizes = [1000, 1250, 1563]
    found = list(brackets(iter(sizes), 0.01, 0.05, errors, 0.8))
    assert [b.low for b in found] == [look.low for look in looks(sizes, below, 0.05, first_share=0.8)]
    assert [b.high for b in found] == [look.high for look in looks(sizes, above, 0.05, first_share=0.8)]
    endless = brackets(growing_sizes(500, 1.25), 0.01, 0.05, errors, 0.5)
    assert [next(endless).size for _ in range(3)] == [500, 625, 782]


def test_sequence_is_valid_on_both_sides() -> None:
    """And ranks for a fixed number are not, which shows that the simulation would tell."""
    errors = AuditErrors(0.1, 0.005)
    sequence = BracketSequence(0.05, 0.1, errors, best=500)
    rng = np.random.default_rng(0)
    sizes = np.arange(50, 2000, 25)
    below, above = errors.shares(0.05)
    u = rng.random((1000, 2000))
    count_low, count_high = ((u < share).cumsum(1)[:, sizes - 1] for share in (below, above))

    def missed(ends: list[Bracket]) -> np.ndarray:
        low, high = np.array([[b.low, b.high] for b in ends]).T
        return np.array([(count_low < low).any(1).mean(), (count_high >= high).any(1).mean()])

    assert (missed([sequence.bracket(int(n)) for n in sizes]) <= 0.05).all()
    assert (missed([fixed_bracket(int(n), 0.05, 0.1, errors) for n in sizes]) > 0.05).all()


def test_each_side_of_a_sequence_has_half_of_the_error() -> None:
    errors = AuditErrors(0.05, 1e-4)
    below, above = errors.shares(0.01)
    sequence = BracketSequence(0.01, 0.05, errors, best=2000)
    low, high = QuantileSequence(below, 0.025, 2000), QuantileSequence(above, 0.025, 2000)
    for n in (400, 2000, 9000):
        assert sequence.bracket(n) == Bracket(n, low.ranks(n)[0], high.ranks(n)[1])


def steered_errors(rng: np.random.Generator, audits: int, error: float, cunning: str) -> int:
    """Wrong claims among audits whose stakes are steered by what the others did: each is a fair game up to 1/error."""
    target, wealth = 1 / error, np.ones(audits)
    for _ in range(60):
        alive = np.flatnonzero((wealth > 0) & (wealth < target))
        if not len(alive):
            break
        if cunning == "back the leader":
            i = alive[wealth[alive].argmax()]
        elif cunning == "back the last":
            i = alive[wealth[alive].argmin()]
        else:
            i = rng.choice(alive)
        bold = cunning != "timid after a hit" or not (wealth >= target).any()
        up = target if bold else min(target, 2 * wealth[i])
        wealth[i] = up if rng.random() < wealth[i] / up else 0.0
    return int((wealth >= target).sum())


@pytest.mark.parametrize("cunning", ["at random", "back the leader", "back the last", "timid after a hit"])
def test_steered_audits_err_no_more_often_than_independent_ones(cunning: str) -> None:
    rng = np.random.default_rng(1)
    audits, error, runs = 12, 0.15, 4000
    wrong = np.array([steered_errors(rng, audits, error, cunning) for _ in range(runs)])
    for m in range(1, 6):
        bound = binom.sf(m - 1, audits, error)
        assert (wrong >= m).mean() <= bound + 3.5 * math.sqrt(bound * (1 - bound) / runs) + 1e-3
