"""Every rule for moments against float64 Monte Carlo, and exactly where the answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.ops import lookup
from kppstat.ops.gaussian import largest, piecewise_linear
from kppstat.ops.moments import Moments, Step

FEW = settings(max_examples=8, deadline=None, derandomize=True)


def step_of(op: str, *values: Any, outputs: int = 1, **attributes: Any) -> Step:
    operator = lookup(op)
    assert operator is not None
    keywords = operator.keywords(attributes, outputs)
    if operator.rule is not None:
        return operator.rule(*values, **keywords)
    assert operator.family.rule is not None
    return operator.family.rule(operator.forward, list(values), keywords)


def forward_of(op: str, **attributes: Any) -> Callable[..., Any]:
    operator = lookup(op)
    assert operator is not None
    return lambda *values: operator(*values, **operator.keywords(attributes, 1))


def normal(rng: np.random.Generator, shape: tuple[int, ...], spread: float, *, shared: bool = False) -> Moments:
    return Moments(rng.standard_normal(shape), spread**2 * rng.uniform(0.3, 1.0, shape), shared)


def draw(rng: np.random.Generator, x: Moments, count: int) -> np.ndarray:
    return x.mean + np.sqrt(x.var) * rng.standard_normal((count, *x.mean.shape))


def only(step: Step) -> Moments:
    (y,) = step.outputs
    assert isinstance(y, Moments)
    return y


POINTWISE: list[tuple[str, dict[str, Any]]] = [
    ("Relu", {}),
    ("LeakyRelu", {"alpha": 0.2}),
    ("HardSigmoid", {"alpha": 0.4, "beta": 0.3}),
    ("Abs", {}),
    ("Neg", {}),
    ("Identity", {}),
    ("Sigmoid", {}),
    ("Tanh", {}),
    ("Softplus", {}),
    ("Elu", {"alpha": 0.7}),
    ("Selu", {}),
    ("Celu", {"alpha": 0.5}),
    ("Gelu", {}),
    ("Gelu", {"approximate": "tanh"}),
    ("Mish", {}),
    ("HardSwish", {}),
    ("Swish", {"alpha": 1.3}),
    ("Erf", {}),
    ("Exp", {}),
    ("Sin", {}),
    ("Softsign", {}),
]


@pytest.mark.parametrize(("op", "attributes"), POINTWISE)
@pytest.mark.parametrize("spread", [0.05, 1.0])
def test_pointwise_functions(op: str, attributes: dict[str, Any], spread: float) -> None:
    rng = np.random.default_rng(0)
    x = normal(rng, (16,), spread)
    step = step_of(op, x, **attributes)
    y = only(step)
    samples = draw(rng, x, 40_000)
    values = forward_of(op, **attributes)(samples)
    sd = values.std(0) + 1e-12
    np.testing.assert_allclose(y.mean, values.mean(0), atol=float((5 * sd / 200).max()) + 0.02 * float(sd.max()))
    np.testing.assert_allclose(y.var, values.var(0), rtol=0.08, atol=0.02 * float(sd.max() ** 2))
    gain = ((values - values.mean(0)) * (samples - x.mean)).mean(0) / x.var
    (pulled,) = step.pull([np.ones(16)])
    np.testing.assert_allclose(pulled * np.ones(16), gain, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-0.5, 0.5), (None, 0.2), (-0.3, None)])
def test_clip_is_exact(low: float | None, high: float | None) -> None:
    rng = np.random.default_rng(1)
    x = normal(rng, (8,), 0.8)
    bounds = [None if b is None else np.array(b) for b in (low, high)]
    y = only(step_of("Clip", x, *bounds))
    values = np.clip(draw(rng, x, 200_000), low, high)
    np.testing.assert_allclose(y.mean, values.mean(0), atol=0.01)
    np.testing.assert_allclose(y.var, values.var(0), atol=0.006)


def test_a_rectified_normal_has_the_moments_of_the_textbook() -> None:
    y = only(step_of("Relu", Moments(np.zeros(1), np.ones(1))))
    assert y.mean[0] == pytest.approx(1 / np.sqrt(2 * np.pi), rel=1e-12)
    assert y.var[0] == pytest.approx(0.5 - 1 / (2 * np.pi), rel=1e-12)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu"])
@pytest.mark.parametrize("both", [False, True])
def test_two_inputs(op: str, both: bool) -> None:
    if both and op in {"Pow", "PRelu"}:
        pytest.skip("the exponent and the slope are exact")
    rng = np.random.default_rng(2)
    a, b = normal(rng, (3, 4), 0.3), normal(rng, (4,), 0.3)
    if op in {"Div", "Pow"}:
        a, b = Moments(a.mean + 4, a.var * 0.1), Moments(b.mean * 0.2 + 2, b.var * 0.1)
    second: Any = b if both else b.mean
    step = step_of(op, a, second)
    y = only(step)
    drawn = draw(rng, b, 60_000)[:, None] if both else b.mean
    samples = draw(rng, a, 60_000)
    values = forward_of(op)(samples, drawn)
    sd = values.std(0)
    np.testing.assert_allclose(y.mean, values.mean(0), atol=float(0.03 * sd.max()))
    np.testing.assert_allclose(y.var, values.var(0), rtol=0.08, atol=1e-3)
    pulled = step.pull([np.ones((3, 4))])
    gain = ((values - values.mean(0)) * (samples - a.mean)).mean(0) / a.var
    np.testing.assert_allclose(np.broadcast_to(pulled[0], (3, 4)), gain, rtol=0.06, atol=0.06)
    assert not both or pulled[1].shape == (4,)


def check_linear(step: Step, f: Callable[[Any], Any], x: Moments, rng: np.random.Generator) -> None:
    """A linear map: mean and adjoint are exact, and for independent elements the variance is."""
    y = only(step)
    np.testing.assert_allclose(y.mean, f(x.mean), atol=1e-9)
    dy, apart = rng.standard_normal(y.mean.shape), rng.standard_normal(x.mean.shape)
    (dx, *_) = step.pull([dy])
    assert np.vdot(dx, apart) == pytest.approx(np.vdot(dy, f(x.mean + apart) - f(x.mean)), rel=1e-8, abs=1e-8)
    basis = np.eye(x.mean.size).reshape(x.mean.size, *x.mean.shape)
    rows = np.stack([(f(x.mean + e) - f(x.mean)).reshape(-1) for e in basis])
    np.testing.assert_allclose(y.var.reshape(-1), (rows**2 * x.var.reshape(-1, 1)).sum(0), rtol=1e-8, atol=1e-12)


LINEAR: list[tuple[str, tuple[int, ...], list[Any], dict[str, Any]]] = [
    ("Reshape", (2, 6), [np.array([2, 3, -1])], {}),
    ("Flatten", (2, 3, 2), [], {}),
    ("Transpose", (2, 3, 4), [], {"perm": (0, 2, 1)}),
    ("Squeeze", (2, 1, 3), [np.array([1])], {}),
    ("Unsqueeze", (2, 3), [np.array([1])], {}),
    ("Slice", (2, 6), [np.array([5]), np.array([-7]), np.array([1]), np.array([-2])], {}),
    ("Gather", (2, 5), [np.array([[0, 4], [4, 1]])], {"axis": 1}),
    ("Pad", (2, 3), [np.array([0, 1, 0, 2]), np.array(7.0)], {}),
    ("Pad", (2, 4), [np.array([0, 2, 0, 1])], {"mode": "reflect"}),
    ("Expand", (2, 1, 3), [np.array([2, 4, 3])], {}),
    ("Tile", (2, 3), [np.array([1, 3])], {}),
    ("DepthToSpace", (1, 8, 2, 2), [], {"blocksize": 2}),
    ("Trilu", (2, 3, 3), [], {}),
    ("ReduceSum", (2, 3, 4), [np.array([1])], {"keepdims": 0}),
    ("ReduceMean", (2, 3, 4), [np.array([-1, 1])], {}),
    ("GlobalAveragePool", (2, 3, 2, 4), [], {}),
    ("AveragePool", (2, 1, 7, 5), [], {"kernel_shape": (3, 2), "strides": (2, 1), "pads": (1, 0, 1, 1)}),
    ("AveragePool", (2, 1, 7), [], {"kernel_shape": (3,), "strides": (2,), "ceil_mode": 1, "pads": (1, 1)}),
    ("Resize", (1, 2, 3, 4), [None, None, np.array([1, 2, 6, 5])], {"mode": "linear"}),
    ("Resize", (1, 1, 3, 4), [None, np.array([1.0, 1, 2, 2])], {}),
]


@pytest.mark.parametrize(("op", "shape", "rest", "attributes"), LINEAR)
def test_linear_maps_are_exact(op: str, shape: tuple[int, ...], rest: list[Any], attributes: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    x = normal(rng, shape, 0.5)
    check_linear(step_of(op, x, *rest, **attributes), lambda t: forward_of(op, **attributes)(t, *rest), x, rng)


def test_batch_normalisation_is_exact() -> None:
    rng = np.random.default_rng(4)
    x, rest = normal(rng, (2, 3, 4), 0.5), [rng.uniform(0.5, 2, 3) for _ in range(4)]
    step = step_of("BatchNormalization", x, *rest)
    check_linear(step, lambda t: forward_of("BatchNormalization")(t, *rest), x, rng)


def test_concat_and_split_take_each_input_home() -> None:
    rng = np.random.default_rng(5)
    a, b = normal(rng, (2, 3), 0.5), normal(rng, (2, 2), 0.5)
    exact = rng.standard_normal((2, 1))
    step = step_of("Concat", a, exact, b, axis=1)
    dy = rng.standard_normal((2, 6))
    da, none, db = step.pull([dy])
    assert none is None
    np.testing.assert_array_equal(da, dy[:, :3])
    np.testing.assert_array_equal(db, dy[:, 4:])
    np.testing.assert_array_equal(only(step).var, np.concatenate([a.var, np.zeros((2, 1)), b.var], 1))
    split = step_of("Split", a, np.array([1, 2]), axis=1, outputs=2)
    (back,) = [p for p in split.pull([dy[:, :1], None]) if p is not None]
    np.testing.assert_array_equal(back, np.concatenate([dy[:, :1], np.zeros((2, 2))], 1))


def check_product(step: Step, f: Callable[[Any, Any], Any], values: list[Any], rng: np.random.Generator) -> None:
    """A product: adjoint and weight derivatives are exact, mean and variance hold for independent elements."""
    y = only(step)
    means = [v.mean if isinstance(v, Moments) else v for v in values]
    n = y.mean.shape[0]
    dy = rng.standard_normal(y.mean.shape)
    np.testing.assert_allclose(y.mean, f(*means), atol=1e-9)
    for i, pulled in enumerate(step.pull([dy])):
        if pulled is not None:
            apart = rng.standard_normal(means[i].shape)
            moved = [m + apart if j == i else m for j, m in enumerate(means)]
            assert np.vdot(pulled, apart) == pytest.approx(np.vdot(dy, f(*moved) - y.mean), rel=1e-7, abs=1e-7)
    for stored in step.stored:
        apart = rng.standard_normal(means[stored.index].shape)
        moved = [m + apart if j == stored.index else m for j, m in enumerate(means)]
        change = (dy * (f(*moved) - y.mean)).reshape(n, -1).sum(1)
        gradient = stored.gradient(dy, n)
        np.testing.assert_allclose((gradient * apart).reshape(n, -1).sum(1), change, atol=1e-8)
        share = (gradient**2 * values[stored.index].var).reshape(n, -1).sum(1)
        np.testing.assert_allclose(stored.square(dy, n), share, rtol=1e-8)
        factors = None if stored.factors is None else stored.factors(dy, n)
        if factors is not None:
            np.testing.assert_allclose(np.einsum("na,nb->nab", *factors), gradient)
    drawn = [draw(rng, v, 400) if isinstance(v, Moments) else [v] * 400 for v in values]
    samples = np.stack([f(*pieces) for pieces in zip(*drawn, strict=True)])
    noisy = y.var > 0  # padding alone has none
    z = (samples.mean(0) - y.mean)[noisy] / np.sqrt(y.var[noisy] / 400)
    assert np.abs(z).max() < 6
    assert (samples.var(0)[noisy] / y.var[noisy]).mean() == pytest.approx(1, abs=0.2)


@FEW
@given(st.data())
def test_convolution(data: st.DataObject) -> None:
    rng = np.random.default_rng(6)
    rank = data.draw(st.integers(1, 2))
    group = data.draw(st.sampled_from([1, 2, 3]))
    per_group = data.draw(st.integers(1, 2))
    kernel = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
    attributes = {
        "group": group,
        "strides": tuple(data.draw(st.integers(1, 2)) for _ in range(rank)),
        "dilations": tuple(data.draw(st.integers(1, 2)) for _ in range(rank)),
        "pads": tuple(data.draw(st.integers(0, 2)) for _ in range(2 * rank)),
    }
    x_random, w_random = data.draw(st.sampled_from([(True, True), (False, True), (True, False)]))
    x = normal(rng, (2, group * per_group, *[6] * rank), 0.4)
    w = normal(rng, (group * data.draw(st.integers(1, 2)), per_group, *kernel), 0.3, shared=True)
    values = [x if x_random else x.mean, w if w_random else w.mean]
    step = step_of("Conv", *values, rng.standard_normal(w.mean.shape[0]) * 0, **attributes)
    check_product(step, forward_of("Conv", **attributes), values, rng)


@FEW
@given(st.data())
def test_transposed_convolution(data: st.DataObject) -> None:
    rng = np.random.default_rng(7)
    rank = data.draw(st.integers(1, 2))
    group = data.draw(st.sampled_from([1, 2]))
    strides = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
    attributes = {
        "group": group,
        "strides": strides,
        "dilations": tuple(data.draw(st.integers(1, 2)) for _ in range(rank)),
        "pads": tuple(data.draw(st.integers(0, 1)) for _ in range(2 * rank)),
        "output_padding": tuple(data.draw(st.integers(0, s - 1)) for s in strides),
    }
    x = normal(rng, (2, 2 * group, *[3] * rank), 0.4)
    w = normal(rng, (2 * group, 2, *[3] * rank), 0.3, shared=True)
    step = step_of("ConvTranspose", x, w, **attributes)
    check_product(step, forward_of("ConvTranspose", **attributes), [x, w], rng)


@pytest.mark.parametrize(
    ("left", "right", "stored"),
    [
        ((3, 4), (4, 5), 1),
        ((3, 2, 4), (4, 5), 1),
        ((5, 4), (3, 4, 2), 0),
        ((3, 2, 2, 4), (1, 2, 4, 5), 1),
        ((6, 4), (4, 2), 1),
        ((3, 2, 4), (3, 4, 5), None),
    ],
)
def test_matrix_product(left: tuple[int, ...], right: tuple[int, ...], stored: int | None) -> None:
    rng = np.random.default_rng(8)
    values = [normal(rng, left, 0.4, shared=stored == 0), normal(rng, right, 0.3, shared=stored == 1)]
    check_product(step_of("MatMul", *values), forward_of("MatMul"), values, rng)


@pytest.mark.parametrize(
    ("equation", "left", "right", "exact"),
    [
        ("nqd,nkd->nqk", (2, 3, 4), (2, 5, 4), False),
        ("nhqk, nkhd -> nqhd", (2, 2, 3, 5), (2, 5, 2, 4), False),
        ("nij,jk->nik", (2, 3, 4), (4, 5), True),
        ("ni,nj", (2, 3), (2, 3), False),
    ],
)
def test_einstein_summation(equation: str, left: tuple[int, ...], right: tuple[int, ...], exact: bool) -> None:
    rng = np.random.default_rng(14)
    a, b = normal(rng, left, 0.4), normal(rng, right, 0.3)
    values = [a, b.mean if exact else b]
    if equation == "ni,nj":  # sums over n: inputs are mixed, and the step says so
        step = step_of("Einsum", *values, equation=equation)
        assert step.couples_rows
        np.testing.assert_allclose(only(step).mean, a.mean.T @ b.mean)
        return
    step = step_of("Einsum", *values, equation=equation)
    assert not step.couples_rows
    check_product(step, forward_of("Einsum", equation=equation), values, rng)


@pytest.mark.parametrize("equation", ["nii,nij->nj", "nij,nkl->nk", "n...,n...->n..."])
def test_einstein_summation_refuses_what_it_cannot_follow(equation: str) -> None:
    rng = np.random.default_rng(15)
    with pytest.raises(NotImplementedError):
        step_of("Einsum", normal(rng, (2, 3, 3), 0.4), normal(rng, (2, 3, 3), 0.3), equation=equation)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
@pytest.mark.parametrize("turn", [0, 1])
def test_gemm(alpha: float, turn: int) -> None:
    rng = np.random.default_rng(9)
    x, w = normal(rng, (3, 4), 0.4), normal(rng, (5, 4) if turn else (4, 5), 0.3, shared=True)
    bias = rng.standard_normal(5)
    attributes = {"alpha": alpha, "transB": turn}
    step = step_of("Gemm", x, w, bias, beta=2.0, **attributes)
    check_product(step, lambda a, b: forward_of("Gemm", beta=2.0, **attributes)(a, b, bias), [x, w], rng)


def test_inputs_of_several_rows_are_summed() -> None:
    rng = np.random.default_rng(10)
    x, w = normal(rng, (6, 4), 0.0), normal(rng, (4, 5), 0.3, shared=True)
    (stored,) = step_of("MatMul", x.mean, w).stored
    dy = rng.standard_normal((6, 5))
    expected = np.stack([x.mean[i : i + 2].T @ dy[i : i + 2] for i in (0, 2, 4)])
    np.testing.assert_allclose(stored.gradient(dy, 3), expected)
    np.testing.assert_allclose(stored.square(dy, 3), (expected**2 * w.var).sum((1, 2)))


def test_the_larger_of_two_normals_is_exact() -> None:
    """Clark (1961), equations 2 to 4, against a correlated draw."""
    rng = np.random.default_rng(11)
    covariance = np.array([[1.0, 0.6], [0.6, 2.0]])
    z = rng.multivariate_normal([0.3, -0.2], covariance, 400_000)
    means, variances = [np.array([0.3]), np.array([-0.2])], [np.array([1.0]), np.array([2.0])]
    mean, var, chance, explained = largest(means, variances, lambda i, j: np.array([1.0 + 2.0 - 1.2]))
    top = z.max(1)
    assert mean[0] == pytest.approx(top.mean(), abs=0.01)
    assert var[0] == pytest.approx(top.var(), rel=0.01)
    assert chance[0][0] == pytest.approx((z[:, 0] > z[:, 1]).mean(), abs=0.005)
    slopes = np.linalg.solve(covariance, np.cov(z.T, top)[:2, 2])
    assert explained[0] == pytest.approx(slopes @ covariance @ slopes, rel=0.02)


def test_what_lies_far_out_gives_no_subnormal_numbers() -> None:
    """Arithmetic with them is many times slower, and they tell nothing."""
    far = np.linspace(-60, 60, 20_001, dtype=np.float32)
    one = np.ones_like(far)
    relu = step_of("Relu", Moments(far, one))
    mean, var, chance, explained = largest([far, 0 * far], [one, one], None)
    found = [only(relu).mean, only(relu).var, relu.residual, *relu.pull([one]), mean, var, *chance, explained]
    for values in found:
        tiny = np.abs(np.asarray(values))
        assert not ((tiny > 0) & (tiny < np.finfo(np.float32).tiny)).any()
    np.testing.assert_allclose(mean, np.where(np.abs(far) > 10, np.maximum(far, 0), mean), rtol=1e-6)
    np.testing.assert_allclose(chance[0] + chance[1], 1, rtol=1e-6)


def test_derivatives_of_a_matrix_are_outer_products() -> None:
    rng = np.random.default_rng(14)
    x, w = normal(rng, (5, 3), 0.5), normal(rng, (4, 3), 0.2, shared=True)
    (stored,) = step_of("Gemm", x, w, transB=1, alpha=0.5).stored
    dy = rng.standard_normal((5, 4))
    assert stored.factors is not None
    rows, columns = stored.factors(dy, 5)
    np.testing.assert_allclose(rows[:, :, None] * columns[:, None, :], stored.gradient(dy, 5))
    assert stored.factors(dy, 1) is None  # rows of one input add up


def test_the_larger_of_two_that_are_the_same_but_for_rounding_has_plain_derivatives() -> None:
    torch = pytest.importorskip("torch")
    means = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    variances = [torch.tensor([1.0]), torch.tensor([1.0 + 2e-7])]
    mean, var, _, _ = largest(means, variances, lambda i, j: torch.zeros(1))
    (mean + var).backward()
    assert sum(float(m.grad) for m in means) == pytest.approx(1.0)
    assert all(abs(float(m.grad)) < 2 for m in means)


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 1, 1)])
def test_max_pool_of_independent_elements(pads: tuple[int, ...]) -> None:
    rng = np.random.default_rng(12)
    x = normal(rng, (1, 2, 4, 4), 0.7)
    attributes = {"kernel_shape": (2, 2), "strides": (2, 2), "pads": pads}
    step = step_of("MaxPool", x, **attributes)
    values = forward_of("MaxPool", **attributes)(draw(rng, x, 20_000)[:, 0])
    y = only(step)
    np.testing.assert_allclose(y.mean[0], values.mean(0), atol=0.08)
    assert (y.var[0] / values.var(0)).mean() == pytest.approx(1, abs=0.1)
    (dx,) = step.pull([np.ones(y.mean.shape)])
    assert dx.sum() == pytest.approx(y.mean.size)


@pytest.mark.parametrize("bound", [1e10, 3.4028235e38])
def test_a_bound_far_away_changes_nothing(bound: float) -> None:
    """Opsets before 11 have the largest number where Clip has no bound."""
    x = Moments(np.array([0.3, 100.7, 1000.3], np.float32), np.full(3, 0.01, np.float32))
    y = only(step_of("Clip", x, np.float32(-bound), np.float32(bound)))
    np.testing.assert_array_equal(y.mean, x.mean)
    np.testing.assert_allclose(y.var, x.var, rtol=1e-5)


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceL2"])
def test_other_reductions(op: str) -> None:
    rng = np.random.default_rng(13)
    x = normal(rng, (3, 4), 0.3)
    x = Moments(x.mean + (2 if op == "ReduceL2" else 0), x.var)
    step = step_of(op, x, np.array([1]))
    values = np.stack([forward_of(op)(t, np.array([1])) for t in draw(rng, x, 4000)])
    y = only(step)
    np.testing.assert_allclose(y.mean, values.mean(0), atol=0.04)
    np.testing.assert_allclose(y.var, values.var(0), rtol=0.15)


NORMALISE: list[tuple[str, int, dict[str, Any]]] = [
    ("Softmax", 0, {}),
    ("Softmax", 0, {"axis": 1}),
    ("LogSoftmax", 0, {}),
    ("LayerNormalization", 2, {}),
    ("InstanceNormalization", 2, {}),
    ("GroupNormalization", 2, {"num_groups": 2}),
]


@pytest.mark.parametrize(("op", "parameters", "attributes"), NORMALISE)
def test_normalisation(op: str, parameters: int, attributes: dict[str, Any]) -> None:
    rng = np.random.default_rng(14)
    x = normal(rng, (2, 4, 6), 0.15)
    size = 6 if op == "LayerNormalization" else 4
    rest = [rng.uniform(0.5, 1.5, size) for _ in range(parameters)]
    step = step_of(op, x, *rest, **attributes)
    f = forward_of(op, **attributes)
    values = np.stack([f(t, *rest) for t in draw(rng, x, 3000)])
    y = only(step)
    sd = values.std(0)
    assert np.abs((y.mean - values.mean(0)) / sd).max() < 0.14
    assert (y.var / values.var(0)).mean() == pytest.approx(1, abs=0.06)
    # Without variance the adjoint is the derivative.
    quiet = step_of(op, Moments(x.mean, x.var * 0), *rest, **attributes)
    dy, apart = rng.standard_normal(y.mean.shape), rng.standard_normal(y.mean.shape)
    (dx, *_) = quiet.pull([dy])
    slope = np.vdot(dy, f(x.mean + 1e-5 * apart, *rest) - f(x.mean - 1e-5 * apart, *rest)) / 2e-5
    assert np.vdot(dx, apart) == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_where_takes_each_branch() -> None:
    rng = np.random.default_rng(15)
    a, b = normal(rng, (2, 3), 0.4), rng.standard_normal((2, 3))
    condition = np.array([[True, False, True], [False, False, True]])
    step = step_of("Where", condition, a, b)
    np.testing.assert_array_equal(only(step).var, np.where(condition, a.var, 0))
    assert step.pull([np.ones((2, 3))])[2] is None


def test_quantised_layers_keep_their_units() -> None:
    rng = np.random.default_rng(16)
    x = normal(rng, (4, 3), 0.4)
    scale, zero = np.array(0.01), np.array(128, np.uint8)
    middle = only(step_of("QuantizeLinear", x, scale, zero))
    y = only(step_of("DequantizeLinear", middle, scale, zero))
    inside = np.abs(x.mean) + 4 * np.sqrt(x.var) < 1.27
    np.testing.assert_allclose(y.mean[inside], x.mean[inside], atol=0.006)
    np.testing.assert_allclose(y.var[inside], x.var[inside], rtol=0.05)
    torch = pytest.importorskip("torch")
    tensors = Moments(torch.from_numpy(x.mean), torch.from_numpy(x.var))
    same = only(step_of("QuantizeLinear", tensors, torch.from_numpy(scale), torch.from_numpy(zero)))
    np.testing.assert_allclose(same.mean.numpy(), middle.mean)
    np.testing.assert_allclose(same.var.numpy(), middle.var, atol=1e-12)


def test_registering_twice_is_an_error() -> None:
    from kppstat.ops.elementwise import elementwise
    from kppstat.ops.registry import op

    with pytest.raises(ValueError, match="operator Relu is registered twice"):
        op("Relu", elementwise)(lambda x: x)


def test_a_step_has_no_slope_where_nothing_varies() -> None:
    """An exact zero before a Relu, as in the background of an image, must not make derivatives overflow."""
    torch = pytest.importorskip("torch")
    mean, var = torch.tensor([0.0, 0.5], requires_grad=True), torch.tensor([0.0, 0.1], requires_grad=True)
    step = piecewise_linear(Moments(mean, var), [(-math.inf, 0.0, 0.0, 0.0), (0.0, math.inf, 0.0, 1.0)])
    (gain,) = step.pull([torch.ones(2)])
    out = step.outputs[0]
    (gain.sum() + out.mean.sum() + out.var.sum()).backward()
    assert float(mean.grad.abs().max()) < 10
    assert float(var.grad.abs().max()) < 10
