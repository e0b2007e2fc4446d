import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from kppstat.errors import DataError
from kppstat.stats.betting import Round, growth, high_end, log_capital, low_end
from kppstat.stats.bracket import AuditErrors

ALPHA = 0.05
shares = st.floats(0.01, 0.99)


def a_round(
    values: np.ndarray, inclusion: np.ndarray, rng: np.random.Generator, stake: float = 0.2
) -> tuple[Round, np.ndarray]:
    """Return a round over draws with these values, and the values of those that became instances."""
    kept = rng.random(len(values)) < inclusion
    least = float(inclusion.min())
    # The largest stake that leaves every factor positive is 1 / (1 / least - p).
    bets = stake * np.array([0.5, 1.0])
    return Round(len(values), inclusion[kept], least, -bets * least, bets), values[kept]


@given(p=shares, q=shares, inclusion=st.lists(shares, min_size=3, max_size=3), stake=st.floats(0.01, 0.9))
def test_a_bet_is_fair_where_the_hypothesis_holds(p: float, q: float, inclusion: list[float], stake: float) -> None:
    """The mean factor of a draw, over all that can happen to it, is 1 where hits have the mean that is bet against."""
    pi, share = np.array(inclusion), np.array([0.2, 0.3, 0.5])
    chance = np.full(3, p)
    for s in (-stake / (1 / pi.min() - p), stake / p):
        mean = 0.0
        for kind, hit, kept in product(range(3), (0, 1), (0, 1)):
            weight = share[kind] * (chance[kind] if hit else 1 - chance[kind]) * (pi[kind] if kept else 1 - pi[kind])
            one = Round(1, pi[kind : kind + 1][:kept], float(pi.min()), np.array([min(s, 0)]), np.array([max(s, 0)]))
            stakes = [one.low if s < 0 else one.high]
            mean += weight * math.exp(log_capital([one], p, stakes, np.arange(kept))[-1 if hit else 0])
        assert mean == pytest.approx(1)
        grows = growth(np.array([s]), p, pi, np.full(3, q), share)[0]
        assert grows <= math.log1p(abs(s) * abs(q - p)) + 1e-9  # Jensen


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), p=st.sampled_from([0.02, 0.1, 0.5]))
def test_ends_hold_the_weighted_quantile_and_move_outwards_with_the_bounds(seed: int, p: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=3000)
    one, kept = a_round(values, np.where(values < 0, 1.0, 0.3), rng)
    low, high = low_end([one], kept, p, ALPHA), high_end([one], kept, p, ALPHA)
    order = np.argsort(kept)
    weighted = kept[order][int(np.searchsorted(np.cumsum(1 / one.inclusion[order]) / one.size, p))]
    assert low <= weighted <= high
    assert low_end([one], kept - 0.1, p, ALPHA) == pytest.approx(low - 0.1)
    assert high_end([one], kept + rng.random(len(kept)), p, ALPHA) >= high
    assert low_end([one], kept - rng.random(len(kept)), p, ALPHA) <= low
    assert low_end([one], kept, p, ALPHA / 10) <= low
    assert high_end([one], kept, p, ALPHA / 10) >= high


@given(seed=st.integers(0, 10**6))
def test_neither_the_order_of_instances_nor_that_of_rounds_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rounds, values = zip(*(a_round(rng.normal(size=n), rng.uniform(0.2, 1, n), rng) for n in (500, 800)), strict=True)
    low, high = (f(rounds, np.concatenate(values), 0.2, ALPHA) for f in (low_end, high_end))
    turned, back = rounds[::-1], np.concatenate(values[::-1])
    assert (low_end(turned, back, 0.2, ALPHA), high_end(turned, back, 0.2, ALPHA)) == (low, high)
    mixed = rng.permutation(len(values[0]))
    first = Round(500, rounds[0].inclusion[mixed], rounds[0].least, rounds[0].low, rounds[0].high)
    both = [first, rounds[1]], np.concatenate([values[0][mixed], values[1]])
    assert (low_end(*both, 0.2, ALPHA), high_end(*both, 0.2, ALPHA)) == pytest.approx((low, high))


def test_an_instance_that_is_surely_a_hit_counts_as_one_that_is_known_to_be() -> None:
    rng = np.random.default_rng(3)
    one, values = a_round(rng.normal(size=400), np.full(400, 0.5), rng)
    at = np.quantile(values, [0.1, 0.4])
    known = log_capital([one], 0.2, [one.low], np.argsort(values))[[int((values <= x).sum()) for x in at]]
    assert log_capital([one], 0.2, [one.low], (values[:, None] <= at) * 1.0) == pytest.approx(known)


def test_nothing_is_known_without_instances_and_all_alike_are_one_number() -> None:
    none, empty = Round(10, np.zeros(0), 0.5, np.array([-0.1]), np.array([0.1])), np.zeros(0)
    assert low_end([none], empty, 0.2, ALPHA) == -math.inf
    assert high_end([none], empty, 0.2, ALPHA) == math.inf
    every = Round(2000, np.ones(2000), 1.0, np.array([-0.3]), np.array([0.3]))
    assert low_end([every], np.full(2000, 0.7), 0.1, ALPHA) == high_end([every], np.full(2000, 0.7), 0.1, ALPHA) == 0.7


@pytest.mark.parametrize(
    "changes",
    [{"least": 0.0}, {"inclusion": np.array([0.4])}, {"size": 0}, {"low": np.array([0.1])}, {"high": np.array([-0.1])}],
)
def test_says_what_is_wrong_with_a_round(changes: dict[str, object]) -> None:
    good = {"size": 5, "inclusion": np.ones(1), "least": 0.5, "low": np.array([-0.1]), "high": np.array([0.1])}
    Round(**good)  # type: ignore[arg-type]
    with pytest.raises(DataError):
        Round(**{**good, **changes})  # type: ignore[arg-type]


def missed(where: str, p: float, rng: np.random.Generator) -> bool:
    """Say whether the interval ever missed while rounds were added; audits err as often as they may."""
    errors = AuditErrors(0.05, 0.2 * p)
    for_low, for_high = errors.shares(p)
    rounds, lower, upper = [], np.zeros(0), np.zeros(0)
    for _ in range(6):
        place, luck = rng.normal(size=(2, 2500))
        values = {"seen": place + 0.3 * luck, "unseen": luck, "reversed": luck - place}[where]
        values = np.where(rng.random(2500) < p / 2, -9.0, values)  # half of the failures are hidden
        inclusion = np.where(place < -1, 1.0, 0.15)
        one, kept = a_round(values, inclusion, rng, stake=0.9)
        rounds.append(one)
        wrong = rng.random((2, len(kept)))
        lower = np.concatenate([lower, np.where(wrong[0] < errors.lower, np.inf, kept)])
        upper = np.concatenate([upper, np.where(wrong[1] < errors.upper, -np.inf, kept)])
        if low_end(rounds, lower, for_low, ALPHA / 2) > TRUTH[where, p]:
            return True
        if high_end(rounds, upper, for_high, ALPHA / 2) < TRUTH[where, p]:
            return True
    return False


SPREAD = {"seen": math.hypot(1, 0.3), "unseen": 1.0, "reversed": math.sqrt(2)}
TRUTH = {}
for _where, _p in product(SPREAD, (0.02, 0.2)):
    TRUTH[_where, _p] = float(SPREAD[_where] * norm.ppf((_p / 2) / (1 - _p / 2)))


@pytest.mark.parametrize("where", list(SPREAD))
@pytest.mark.parametrize("p", [0.02, 0.2])
def test_the_interval_holds_at_every_round_wherever_failures_hide(where: str, p: float) -> None:
    rng = np.random.default_rng(5)
    runs = 400
    misses = sum(missed(where, p, rng) for _ in range(runs))
    assert misses / runs <= ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
