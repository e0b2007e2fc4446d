import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from kppstat.errors import SettingError
from kppstat.stats.share import share_bound


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


def test_more_hits_than_draws_are_refused():
    with pytest.raises(SettingError, match="hits"):
        share_bound(3, 2)
