import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kppstat.errors import NoiseError
from kppstat.noise import Conductance, Correlated, Gaussian, StuckAt, instance_normals, normals

SHARES = {"chip": 0.05, "tensor": 0.1, "array": 0.15, "row": 0.2, "column": 0.25}


def deviations(model, shape, n):
    w = np.linspace(0.5, 1, int(np.prod(shape))).reshape(shape)
    return np.stack([model.weights(w, normals(1, i, 0, model.draws(shape))) - w for i in range(n)])


def test_correlations_are_the_shares():
    # 4 columns (first axis) by 6 rows, arrays of 2 columns by 3 rows.
    model = Correlated(Gaussian(0.1), **SHARES, array_rows=3, array_columns=2)
    n = 8000
    drawn = deviations(model, (4, 2, 3), n).reshape(n, 24)
    correlation = np.corrcoef(drawn.T).reshape(4, 6, 4, 6)
    for c, r, c2, r2 in np.ndindex(4, 6, 4, 6):
        if (c, r) == (c2, r2):
            continue
        expected = SHARES["chip"] + SHARES["tensor"] + SHARES["column"] * (c == c2) + SHARES["row"] * (r == r2)
        expected += SHARES["array"] * (c // 2 == c2 // 2 and r // 3 == r2 // 3)
        assert correlation[c, r, c2, r2] == pytest.approx(expected, abs=5.5 / np.sqrt(n))


@given(st.tuples(st.integers(0, 5), st.integers(0, 5)))
def test_each_effect_takes_its_own_normals(shape):
    size = shape[0] * shape[1]
    model = Correlated(Conductance(0.1), **SHARES, array_rows=2, array_columns=2)
    arrays = -(-shape[0] // 2) * -(-shape[1] // 2)
    # Two devices a weight, and for each of them one normal for every group.
    assert model.draws(shape) == 2 * size + 2 * (2 + arrays + sum(shape))
    assert model.common == 2


def test_tensors_of_a_chip_share_what_the_chip_has():
    model = Correlated(Gaussian(0.1), chip=0.3, tensor=0.2)
    shapes, n = ((2, 3), (4,)), 8000
    w = [np.ones(shape) for shape in shapes]
    drawn = np.stack(
        [
            np.concatenate(
                [model.weights(w[t], instance_normals(model, 3, i, t, shapes[t])).reshape(-1) for t in (0, 1)]
            )
            for i in range(n)
        ]
    )
    correlation = np.corrcoef(drawn.T)
    tensor = np.arange(10) < 6
    expected = np.where(tensor[:, None] == tensor, 0.5, 0.3)
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(correlation, expected, atol=5.5 / np.sqrt(n))
    np.testing.assert_allclose(drawn.std(0), 0.1, rtol=0.06)


def test_outputs_may_lie_on_another_axis():
    # The same layer as Gemm with transB (outputs first) and as MatMul (outputs last): columns stay columns.
    first, last = (Correlated(Gaussian(0.1), column=1.0, output_axis=axis) for axis in (0, 1))
    one, other = deviations(first, (3, 4), 4), deviations(last, (4, 3), 4)
    np.testing.assert_allclose(one, one[:, :, :1] * np.ones(4), atol=1e-9)
    np.testing.assert_allclose(other, other[:, :1] * np.ones((4, 1)), atol=1e-9)
    assert np.ptp(one[0, :, 0]) > 0.01
    with pytest.raises(NoiseError, match="output_axis is 1"):
        last.draws((3,))


def test_rows_count_along_all_input_axes():
    moved = deviations(Correlated(Gaussian(0.1), row=1.0, output_axis=1), (2, 3, 2), 3)
    np.testing.assert_allclose(moved, moved[:, :, :1] * np.ones((1, 1, 3, 1)), atol=1e-9)
    assert len(np.unique(moved[0].round(9))) == 4


def test_no_share_is_no_change():
    w, z = normals(0, 0, 0, 12).reshape(3, 4), normals(0, 1, 0, 12)
    model = Correlated(Gaussian(0.1))
    assert model.draws((3, 4)) == 12
    assert np.array_equal(model.weights(w, z), Gaussian(0.1).weights(w, z))
    assert model.independent


def test_a_whole_share_moves_all_alike():
    model = Correlated(Gaussian(0.1), tensor=1.0)
    moved = deviations(model, (3, 4), 5)
    np.testing.assert_allclose(moved, moved[:, :1, :1] * np.ones((1, 3, 4)), atol=1e-9)


def test_shares_add_to_at_most_one():
    with pytest.raises(NoiseError, match=r"the shares add to 1\.2"):
        Correlated(Gaussian(0.1), tensor=0.6, row=0.6)
    with pytest.raises(NoiseError, match="correlated already"):
        Correlated(Correlated(StuckAt(0.1), tensor=0.5), row=0.5)
