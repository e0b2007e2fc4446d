import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.errors import SettingError
from kppstat.sampling.question import Question
from kppstat.sampling.tilted_audits import TiltedAudits
from kppstat.sampling.tilted_design import Design, designed
from kppstat.sampling.tilted_ledger import Looks
from kppstat.sampling.tilted_pool import Drawn, Kinds
from kppstat.stats.betting import Round, high_end, low_end
from kppstat.stats.bracket import planned_errors
from kppstat.stats.staged import LOGISTIC
from tests.sampling.test_tilted import LAWS, World, last, steep, tilted, useless


def hiding(places: np.ndarray, luck: np.ndarray) -> np.ndarray:
    """One instance in 200 fails, and no direction tells."""
    return steep(places, luck) - np.where(luck > 2.576, 3.0, 0.0)


@pytest.mark.parametrize("law", LAWS)
def test_reaches_the_width_and_holds_the_truth(law: str) -> None:
    world = World(LAWS[law])
    estimator = tilted(world, guarantee="anytime")
    states = list(estimator.states(world.reveal))
    end = states[-1]
    assert end.converged
    assert end.half_width <= 0.02
    assert end.guarantee == "anytime"
    assert end.low - 0.005 <= world.kpp(1) <= end.high + 0.005
    assert end.low <= end.kpp <= end.high
    low = [s.low for s in states]
    assert low == sorted(low)  # all intervals hold at once, so they only narrow
    assert estimator.findings() is None


def test_tilts_where_the_surrogate_knows_and_not_where_it_does_not() -> None:
    tilt = {}
    for name, law in LAWS.items():
        world = World(law)
        estimator = tilted(world, 0.03, max_evaluations=250, guarantee="anytime")
        last(estimator, world.reveal)
        tilt[name] = max(float(r.inclusion.max()) / r.least for r in estimator._rounds)
        assert f"{tilt[name]:.3g} times" in " ".join(estimator.notes)
    assert tilt["steep"] > 1.5
    assert tilt["useless"] < tilt["steep"]


def test_mean_and_spread_are_those_of_instances_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a tenth of the places has four times as many instances as the others."""
    usual = TiltedAudits._design

    def steeper(self: TiltedAudits, looks: Looks, law: np.ndarray, share: np.ndarray, percentile: float) -> Design:
        design = usual(self, looks, law, share, percentile)
        order = np.argsort((law[0] * law[1]).sum(0))
        inclusion = np.full(len(share), 0.25)
        inclusion[order[share[order].cumsum() < 0.1]] = 1.0
        return replace(design, inclusion=inclusion, low=np.maximum(design.low, -0.2))

    monkeypatch.setattr(TiltedAudits, "_design", steeper)
    world = World(steep)
    estimator = tilted(world, 0.05, max_evaluations=120, guarantee="anytime")
    last(estimator, world.reveal)
    nominal, values = np.concatenate([d.nominal for d in estimator._drawn]), estimator._aim.guesses(estimator._ids)[0]
    assert nominal.sum() < 0.9 * len(nominal)
    found = estimator.sample()
    truth = [world.scores(i, world.place(i)).mean() for i in range(10**6, 10**6 + 3000)]
    allowed = 4 * np.std(truth) / math.sqrt(len(found.performance))
    assert found.mean == pytest.approx(np.mean(truth), abs=allowed)
    assert found.sd == pytest.approx(np.std(truth), rel=0.1)
    assert abs(values.mean() - np.mean(truth)) > allowed  # those of all instances are not


def test_each_end_has_half_of_the_error_at_shares_that_the_first_round_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, set[tuple[float, float]]] = {"low_end": set(), "high_end": set()}
    for name, end in (("low_end", low_end), ("high_end", high_end)):

        def remember(
            rounds: list[Round], bounds: np.ndarray, p: float, alpha: float, *, name: str = name, end: Any = end
        ) -> float:
            asked[name].add((p, alpha))
            return float(end(rounds, bounds, p, alpha))

        monkeypatch.setattr(f"kppstat.sampling.tilted_audits.{name}", remember)
    designs: list[Design] = []
    drawn: list[Drawn] = []
    design, draw = TiltedAudits._design, Kinds.draw
    monkeypatch.setattr(TiltedAudits, "_design", lambda *a: designs.append(design(*a)) or designs[-1])
    monkeypatch.setattr(Kinds, "draw", lambda *a: drawn.append(draw(*a)) or drawn[-1])
    world = World(steep)
    estimator = tilted(world, 0.03, max_evaluations=250, guarantee="anytime")
    last(estimator, world.reveal)
    assert len(estimator._rounds) > 1
    below, above = estimator._errors.shares(0.01)
    assert below < 0.01 < above
    alpha = pytest.approx(0.025)
    assert [(p, a == alpha) for p, a in asked["low_end"]] == [(below, True)]
    assert [(p, a == alpha) for p, a in asked["high_end"]] == [(above, True)]
    for known, plan, pool in zip(estimator._drawn, designs, drawn, strict=False):
        assert known.round.least == plan.inclusion.min()
        assert known.nominal.tolist() == (pool.coin < plan.inclusion.min()).tolist()
        assert known.round.inclusion.tolist() == plan.inclusion[pool.kind].tolist()


def test_ends_whenever_it_is_stopped() -> None:
    world = World(steep)
    estimator = tilted(world, 1e-9, max_evaluations=200, guarantee="anytime")
    for state in estimator.states(world.reveal):
        if state.phase == "auditing" and state.evaluations > 100:
            break
    end = estimator.conclude("interrupted", by_hand=True)
    assert end.done
    assert end.low >= state.low
    assert end.high <= state.high
    assert -math.inf < end.low <= end.kpp <= end.high < math.inf


def test_before_instances_count_there_is_no_interval() -> None:
    world = World(steep)
    estimator = tilted(world, 1e-9, max_evaluations=200, guarantee="anytime")
    for state in estimator.states(world.reveal):
        if state.phase == "scouting":
            break
    end = estimator.conclude("interrupted", by_hand=True)
    assert (end.low, end.high) == (-math.inf, math.inf)
    assert "no interval" in " ".join(estimator.notes)
    assert len(estimator.sample().performance) > 1


@pytest.mark.parametrize("budget", [10, 40])
def test_a_tiny_budget_ends_politely(budget: int) -> None:
    world = World(steep)
    estimator = tilted(world, 0.02, max_evaluations=budget, guarantee="anytime")
    end = last(estimator, world.reveal)
    assert end.evaluations <= budget
    assert not end.low > end.high
    assert (end.low <= end.kpp <= end.high) or "no interval" in " ".join(estimator.notes)
    assert estimator.sample().mean > 0.5


def test_instances_that_made_the_directions_do_not_count() -> None:
    """Along the directions that their gradients gave they are not typical (`Space.used`)."""
    world = World(steep, used=300)
    estimator = tilted(world, 0.02, max_evaluations=40, guarantee="anytime")
    last(estimator, world.reveal)
    assert estimator._ids.min() >= 300


def test_a_round_without_instances_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance alone decides how many draws become instances."""
    usual, calls = Kinds.draw, 0

    def none_at_first(self: Kinds, number: int, size: int, inclusion: np.ndarray, *more: int) -> Drawn:
        nonlocal calls
        calls += 1
        return usual(self, number, size, inclusion * (calls > 1), *more)

    monkeypatch.setattr(Kinds, "draw", none_at_first)
    world = World(steep)
    estimator = tilted(world, 0.05, max_evaluations=120, guarantee="anytime")
    end = last(estimator, world.reveal)
    assert calls > 1
    assert -math.inf < end.low <= end.kpp <= end.high


def test_refuses_another_guarantee() -> None:
    with pytest.raises(SettingError, match="anytime"):
        TiltedAudits(Question(guarantee="asymptotic"), 0.1, World(steep), inputs=3)


# -- the design ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def looks() -> Looks:
    world = World(steep)
    looks = Looks(world.reveal, world.inputs, 0.0, 1.0, 0, 0)
    looks.add([None] * 16)
    list(looks.ledger.pilot(16))
    looks.ledger.start(0.65, 0.65, 0.85)
    looks.learn(0.65, 0.85)
    return looks


def a_design(looks: Looks, tells: float, half: float, p: float, **more: tuple[float, float]) -> Design:
    """Return the design where performance is normal with spread .07, of which the surrogate tells a part."""
    q = (np.arange(200) + 0.5) / 200
    line = np.log(q / (1 - q)) / LOGISTIC
    law = np.stack([np.ones((1, 200)), 0.85 + 0.07 * tells * line[None], np.full((1, 200), 0.07 / LOGISTIC)])
    law[2] *= math.sqrt(1 - tells**2)
    at = 0.85 + 0.07 * math.log(p / (1 - p)) / LOGISTIC
    ends = at - half, at + half
    return designed(looks.ledger, law, np.full(200, 1 / 200), ends, p, 0.025, planned_errors(1000, p), **more)


@settings(deadline=None, max_examples=30)
@given(
    tells=st.floats(0.0, 0.99),
    half=st.floats(0.003, 0.05),
    p=st.sampled_from([0.001, 0.01, 0.1, 0.5]),
)
def test_no_factor_of_a_design_is_negative(looks: Looks, tells: float, half: float, p: float) -> None:
    found = a_design(looks, tells, half, p)
    least = float(found.inclusion.min())
    assert least > 0
    assert found.inclusion.max() <= 1
    assert (found.low < 0).all()
    assert (1 + found.low * (1 / least - p) > 0).all()
    assert (1 - found.high * 1.1 * p > -1e-9).all()
    assert (found.high > 0).all()
    assert found.cost > 0


def test_designs_are_dearer_for_less_width_and_cheaper_where_the_surrogate_tells(looks: Looks) -> None:
    assert a_design(looks, 0.9, 0.01, 0.01).cost > 2 * a_design(looks, 0.9, 0.02, 0.01).cost
    assert a_design(looks, 0.0, 0.01, 0.01).cost > 1.3 * a_design(looks, 0.95, 0.01, 0.01).cost
    flat, known = a_design(looks, 0.0, 0.01, 0.01), a_design(looks, 0.95, 0.01, 0.01)
    assert float(known.inclusion.max() / known.inclusion.min()) > float(flat.inclusion.max() / flat.inclusion.min())


def test_designs_follow_what_instances_told(looks: Looks) -> None:
    near, far = (a_design(looks, 0.9, 0.01, 0.01, masses=m) for m in ((0.009, 0.011), (0.001, 0.03)))
    assert near.size > 10 * far.size
    assert near.low.min() > far.low.min()  # smaller stakes on smaller differences


@pytest.mark.slow
@pytest.mark.parametrize("law", [steep, useless, hiding])
def test_intervals_hold_over_many_runs(law: object) -> None:
    """Looking after every batch; `benchmarks.coverage_betting` has more runs, with audits that err."""
    runs, missed, truth = 60, 0, World(law).kpp(1)  # type: ignore[arg-type]
    for seed in range(runs):
        world = World(law, seed)  # type: ignore[arg-type]
        estimator = tilted(world, 1e-9, k=1.0, max_evaluations=120, guarantee="anytime")
        step = 1 / world.inputs  # how well the truth is known
        missed += any(not s.low - step <= truth <= s.high + step for s in estimator.states(world.reveal))
    assert missed <= 6  # nominal 3 at most
