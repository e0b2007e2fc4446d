import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kppstat.worst_case.region import Norm, Region, largest

SHAPES = arrays.array_shapes(max_dims=2, max_side=6)


@given(st.data(), st.sampled_from(["linf", "l2"]), st.sampled_from(["float16", "float32", "float64"]))
def test_stored_weights_never_leave_the_region(data: st.DataObject, norm: Norm, dtype: str) -> None:
    bound = data.draw(st.floats(0, 0.5))
    shape = data.draw(SHAPES)
    intended = data.draw(arrays.arrays(dtype, shape, elements=st.floats(-2, 2, width=16)))
    deviation = data.draw(arrays.arrays("float32", shape, elements=st.floats(-1, 1, width=32)))
    region, unit = Region(bound, norm), largest(intended)
    stored = region.programmed({"w": intended}, {"w": deviation})["w"]
    assert stored.dtype == intended.dtype
    moved = stored.astype(np.float64) - intended.astype(np.float64)
    if norm == "linf":
        assert (abs(moved) <= bound * unit).all()
    else:
        assert np.square(moved).sum() <= moved.size * (bound * unit) ** 2


@given(st.floats(1e-3, 0.5), st.integers(0, 2**32 - 1))
def test_a_deviation_inside_is_kept_up_to_rounding(bound: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    intended = rng.uniform(-1, 1, 50)
    intended[0] = 1
    deviation = rng.uniform(-bound, bound, 50)
    stored = Region(bound).programmed({"w": intended}, {"w": deviation})["w"]
    np.testing.assert_allclose(stored - intended, deviation, atol=1e-12)
