import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.errors import KppstatError
from kppstat.noise import Gaussian, Variation
from kppstat.training import strategy_named
from kppstat.training.strategies.rcg import Interval
from kppstat.training.strategies.rcg_controls import (
    Shaped,
    both_sided,
    censored_mean,
    left_censored,
    mean_gaussian,
    mean_only,
    mean_removed,
    truncated,
)
from kppstat.training.variation import programmed
from tests.training import small


def deviations(law, n: int = 400_000) -> torch.Tensor:
    """Deviations of weights whose largest is 1, in units of 0.1."""
    w = torch.ones(n, dtype=torch.float64)
    drawn = programmed({"w": w}, ["w"], Variation(law), torch.Generator().manual_seed(0))
    return (drawn["w"] - w) / 0.1


# Mean, standard deviation and atom of min(Z, t).
TABLE = [(0.5, -0.1978, 0.7439, 0.309), (1.0, -0.0833, 0.8667, 0.159), (2.0, -0.0085, 0.9799, 0.023)]


@pytest.mark.parametrize(("threshold", "mean", "sd", "atom"), TABLE)
def test_rcg_noise_has_the_moments_of_the_closed_form(threshold: float, mean: float, sd: float, atom: float) -> None:
    d = deviations(strategy_named("rcg", {"threshold": threshold}).law(0.1))
    assert censored_mean(threshold) == pytest.approx(mean, abs=5e-5)
    assert float(d.mean()) == pytest.approx(mean, abs=0.006)
    assert float(d.std()) == pytest.approx(sd, abs=0.006)
    assert float((d > threshold - 1e-9).double().mean()) == pytest.approx(atom, abs=0.003)
    assert float(d.max()) <= threshold + 1e-9


@pytest.mark.parametrize(("threshold", "mean", "sd", "atom"), TABLE)
def test_controls_keep_one_property_and_drop_the_other(threshold: float, mean: float, sd: float, atom: float) -> None:
    wanted = {
        mean_only: (mean, 0.0),
        mean_gaussian: (mean, 1.0),
        mean_removed: (0.0, sd),
        left_censored: (-mean, sd),
    }
    for form, (m, s) in wanted.items():
        d = deviations(Shaped(0.1, threshold, form), 200_000)
        assert float(d.mean()) == pytest.approx(m, abs=0.01), form
        assert float(d.std()) == pytest.approx(s, abs=0.01), form
    d = deviations(Shaped(0.1, threshold, both_sided), 200_000)
    assert float(d.mean()) == pytest.approx(0, abs=0.01)
    assert float(d.abs().max()) == pytest.approx(threshold)
    d = deviations(Shaped(0.1, threshold, truncated), 200_000)
    below, density = 1 - atom, math.exp(-(threshold**2) / 2) / math.sqrt(2 * math.pi)
    assert float(d.mean()) == pytest.approx(-density / below, abs=0.01)
    assert float((d > threshold - 1e-6).double().mean()) < 1e-3


@settings(max_examples=20, deadline=None)
@given(threshold=st.floats(0.2, 3), sigma=st.floats(0.01, 0.3))
def test_moments_of_controls_are_those_of_their_draws(threshold: float, sigma: float) -> None:
    w = torch.linspace(-1, 1, 5, dtype=torch.float64)
    z = torch.special.ndtri((torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000)
    for form in (mean_gaussian, mean_removed, left_censored, both_sided, truncated, mean_only):
        law = Shaped(sigma, threshold, form)
        mean, variance = law.moments(w)
        drawn = sigma * form(z, threshold)
        torch.testing.assert_close(mean - w, drawn.mean().expand(5), atol=1e-3 * sigma, rtol=0)
        torch.testing.assert_close(variance, drawn.var().expand(5), atol=2e-3 * sigma**2, rtol=0)


def test_the_interval_keeps_what_is_around_the_best() -> None:
    interval = Interval(0.0, 0.4, 0.4)
    assert interval.candidates == pytest.approx((0.1, 0.2, 0.3))
    interval.shrink(1)
    assert (interval.low, interval.high) == pytest.approx((0.1, 0.3))
    interval.shrink(0)  # published: an outer candidate cuts off the quarter beyond the other one
    assert (interval.low, interval.high) == pytest.approx((0.1, 0.25))
    interval.shrink(2)
    assert (interval.low, interval.high) == pytest.approx((0.1375, 0.25))


@settings(max_examples=50, deadline=None)
@given(wins=st.lists(st.integers(0, 2), min_size=40, max_size=40), best=st.floats(0, 1))
def test_the_search_ends_inside_the_interval_and_finds_the_best(wins: list[int], best: float) -> None:
    interval = Interval(0.0, 1.0, 1.0)
    for win in wins:
        before = (interval.low, interval.high)
        interval.shrink(win)
        assert before[0] <= interval.low <= interval.high <= before[1]
    assert interval.narrow
    assert len(interval.candidates) == 1
    search = Interval(0.0, 1.0, 1.0)
    while not search.narrow:
        distances = [-abs(c - best) for c in search.candidates]
        search.shrink(distances.index(max(distances)))
    assert abs(search.candidates[0] - best) < 0.002


def test_three_copies_go_on_from_the_best(tmp_path) -> None:
    session = small.session(tmp_path, "rcg", epochs=2, plan={"from_scratch": True})
    scores: list[list[float]] = []
    select = session.strategy.select
    session.strategy.select = lambda kpps: scores.append(list(kpps)) or select(kpps)
    members = session.loop.members
    assert len(members) == 3
    for progress in session.states():
        if progress.done is not None and progress.done.number == 1:
            assert len(scores[0]) == 3
            assert progress.done.kpp == max(scores[0])
            for other in members[1:]:
                assert all(torch.equal(members[0].values[n], v) for n, v in other.values.items())
                assert other.optimiser.state_dict()["state"][0]["step"] == 9
    kept = math.prod((0.75, 0.5, 0.75)[three.index(max(three))] for three in scores)
    assert session.strategy.interval.high - session.strategy.interval.low == pytest.approx(0.2 * kept)


def test_a_fixed_sigma_is_not_searched(tmp_path) -> None:
    session = small.session(tmp_path, "rcg", settings={"sigma": 0.07}, epochs=1)
    small.run(session)
    assert len(session.loop.members) == 1
    assert session.strategy.interval.candidates == (0.07,)


def test_settings_that_make_no_sense_are_refused(tmp_path) -> None:
    with pytest.raises(KppstatError, match="reach"):
        strategy_named("rcg", {"reach": "-1"})
    with pytest.raises(KppstatError, match="no setting 'thresh'"):
        strategy_named("rcg", {"thresh": 1})
    with pytest.raises(KppstatError, match="threshold is 'high'"):
        strategy_named("rcg", {"threshold": "high"})
    with pytest.raises(KppstatError, match="no device variation"):
        small.session(tmp_path, "rcg", noise=Variation(Gaussian(0.0)))
    with pytest.raises(KppstatError, match="no strategy 'trice'"):
        strategy_named("trice")
