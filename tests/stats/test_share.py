import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from kppstat.errors import SettingError
from kppstat.stats.share import share_bound, share_bound_ever


@given(st.integers(0, 50), st.integers(1, 5000), st.floats(0.5, 0.999))
def test_share_bound_is_the_upper_clopper_pearson_limit(hits, draws, confidence):
    assume(hits <= draws)
    _, high = proportion_confint(hits, draws, 2 * (1 - confidence), method="beta")
    assert share_bound(hits, draws, confidence) == pytest.approx(1.0 if hits == draws else high, rel=1e-9)


def test_share_bound_holds():
    rng = np.random.default_rng(8)
    for mass in (5e-4, 0.01, 0.3):
        hits = rng.binomial(2000, mass, size=20_000)
        bounds = {int(k): share_bound(int(k), 2000, 0.95) for k in np.unique(hits)}
        assert np.mean([bounds[int(k)] < mass for k in hits]) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 20_000)
    assert share_bound(0, 0) == 1.0


def missed_ever(bound, mass, draws, alpha):
    """Return the probability that the bound after any of these draws is below the mass, whatever decides when to look.

    The law of the hits is followed draw by draw, and killed where the bound misses.
    """
    law, missed = np.ones(1), 0.0
    for n in range(1, draws + 1):
        law = np.append(law * (1 - mass), 0) + np.append(0, law * mass)
        for hits in range(n + 1):
            if law[hits] > 1e-9 and bound(hits, n, 1 - alpha) < mass:
                missed += law[hits]
                law[hits] = 0
    return missed


@pytest.mark.parametrize("mass", [0.03, 0.2, 0.6])
def test_share_bound_ever_holds_at_all_looks_at_once(mass):
    assert 0.02 < missed_ever(share_bound_ever, mass, 150, 0.1) <= 0.1
    assert missed_ever(share_bound, mass, 150, 0.1) > 0.1  # the one of a fixed number of draws does not


@given(st.integers(0, 20), st.integers(1, 2000), st.floats(0.5, 0.999))
def test_share_bound_ever_is_where_the_mean_capital_reaches_the_error(hits, draws, confidence):
    assume(hits < draws)
    m = share_bound_ever(hits, draws, confidence)
    assert share_bound(hits, draws, confidence) <= m < 1
    u = np.linspace(0, 1, 20_001)[1:] ** 2  # evenly over the density u**-0.5 / 2
    logs = hits * np.log(u) + (draws - hits) * (np.log1p(-u * m) - math.log1p(-m))
    assert np.logaddexp.reduce(logs) - math.log(len(u)) == pytest.approx(-math.log1p(-confidence), abs=0.01)


def test_share_bound_ever_knows_nothing_where_all_are_hits():
    assert share_bound_ever(0, 0) == share_bound_ever(7, 7) == 1.0


def test_more_hits_than_draws_are_refused():
    with pytest.raises(SettingError, match="hits"):
        share_bound(3, 2)
    with pytest.raises(SettingError, match="hits"):
        share_bound_ever(3, 2)
