import numpy as np
import pytest

from kppstat.errors import NoiseError
from kppstat.noise import Encoded, Flip, Offset, StuckAt, normals


def test_shares_of_stuck_devices():
    n = 400_000
    model = Encoded((Offset(),), StuckAt(off=0.01, on=0.003))
    w = np.full(n, 0.25)
    w[0] = 1.0
    out = model.weights(w, normals(1, 0, 0, n))[1:]
    for value, probability in ((-1, 0.01), (1, 0.003), (0.25, 0.987)):
        share = np.mean(np.abs(out - value) < 1e-12)
        assert abs(share - probability) < 5 * np.sqrt(probability * (1 - probability) / n)


@pytest.mark.parametrize("law", [StuckAt(), Flip(0.0)])
def test_probability_zero_changes_nothing_for_any_z(law):
    x = np.linspace(0, 1, 5)
    for z in (-40.0, 40.0, 0.0):
        assert np.array_equal(law.apply(x, x, np.full((1, 5), z)), x)


def test_probability_one_changes_everything():
    x = np.linspace(0, 1, 5)
    for z in (-40.0, 40.0):
        assert not StuckAt(off=1.0).apply(x, x, np.full((1, 5), z)).any()
        assert np.array_equal(Flip(1.0).apply(x, x, np.full((1, 5), z)), 1 - x)


def test_probabilities_add_to_at_most_one():
    with pytest.raises(NoiseError, match=r"off and on add to 1\.2"):
        StuckAt(off=0.6, on=0.6)
    with pytest.raises(NoiseError, match=r"probability is 1\.5"):
        Flip(1.5)
