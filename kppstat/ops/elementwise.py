"""Operators that act on each element by itself: activations and unary mathematics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kppstat.array import Array, cast, erf, is_floating, limit, namespace, normal_cdf, positive, to_numpy
from kppstat.ops.family import Family
from kppstat.ops.gaussian import piecewise_linear, quadrature
from kppstat.ops.moments import Moments, Step, pointwise
from kppstat.ops.registry import op

_INF = math.inf
_NO_BOUND = 1e30  # opsets before 11 have the largest number in single precision where there is no bound

ONNX_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}


def _by_quadrature(forward: Callable[..., Any], values: Sequence[Any], attributes: Mapping[str, Any]) -> Step:
    x, *rest = values
    step = quadrature(lambda t: forward(t, *rest, **attributes), x)
    return Step(step.outputs, lambda dy: [*step.pull(dy[:1]), *[None] * len(rest)], residual=step.residual)


elementwise = Family("elementwise", rule=_by_quadrature, univariate=True)
steps = Family("steps", univariate=True)  # constant between jumps: no rule by quadrature


def _unchanged(forward: Callable[..., Any], values: Sequence[Any], attributes: Mapping[str, Any]) -> Step:
    x, *rest = values
    to = attributes.get("to", 1)
    if "float" not in ONNX_DTYPES.get(to, "float"):
        raise NotImplementedError("a cast of a random value to integers")
    return Step((x,), lambda dy: [dy[0], *[None] * len(rest)])


same = Family("same", rule=_unchanged, univariate=True)


@op("Relu", elementwise)
def relu(x: Array) -> Array:
    """Negative values become zero."""
    return positive(x)


@relu.moments
def _(x: Moments) -> Step:
    return piecewise_linear(x, [(-_INF, 0.0, 0.0, 0.0), (0.0, _INF, 0.0, 1.0)])


@op("LeakyRelu", elementwise)
def leaky_relu(x: Array, *, alpha: float = 0.01) -> Array:
    """Negative values are scaled by `alpha`."""
    return namespace(x).where(x >= 0, x, alpha * x)


@leaky_relu.moments
def _(x: Moments, *, alpha: float = 0.01) -> Step:
    return piecewise_linear(x, [(-_INF, 0.0, 0.0, alpha), (0.0, _INF, 0.0, 1.0)])


@op("ThresholdedRelu", elementwise)
def thresholded_relu(x: Array, *, alpha: float = 1.0) -> Array:
    """Values up to `alpha` become zero."""
    return namespace(x).where(x > alpha, x, x * 0)


@op("Clip", elementwise)
def clip(x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    """Values are limited to [low, high]."""
    return x if low is None and high is None else limit(x, low, high)


@clip.moments
def _(x: Moments, low: Array | None = None, high: Array | None = None) -> Step:
    begin = -_INF if low is None or float(low) < -_NO_BOUND else float(low)
    end = _INF if high is None or float(high) > _NO_BOUND else float(high)
    below = [(-_INF, begin, begin, 0.0)] if math.isfinite(begin) else []
    above = [(end, _INF, end, 0.0)] if math.isfinite(end) else []
    return piecewise_linear(x, [*below, (begin, end, 0.0, 1.0), *above])


@op("Elu", elementwise)
def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """Exponential linear unit."""
    xp = namespace(x)
    return xp.where(x > 0, x, alpha * xp.expm1(xp.where(x > 0, x * 0, x)))


@op("Celu", elementwise)
def celu(x: Array, *, alpha: float = 1.0) -> Array:
    """Continuously differentiable exponential linear unit."""
    xp = namespace(x)
    return xp.where(x > 0, x, alpha * xp.expm1(xp.where(x > 0, x * 0, x) / alpha))


@op("Selu", elementwise)
def selu(x: Array, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Array:
    """Scaled exponential linear unit."""
    return gamma * elu(x, alpha=alpha)


@op("Sigmoid", elementwise)
def sigmoid(x: Array) -> Array:
    """Logistic function."""
    xp = namespace(x)
    e = xp.exp(-xp.abs(x))  # never overflows
    return xp.where(x >= 0, 1 / (1 + e), e / (1 + e))


@op("HardSigmoid", elementwise)
def hard_sigmoid(x: Array, *, alpha: float = 0.2, beta: float = 0.5) -> Array:
    """Clipped line in place of the logistic function."""
    return namespace(x).clip(alpha * x + beta, 0.0, 1.0)


@hard_sigmoid.moments
def _(x: Moments, *, alpha: float = 0.2, beta: float = 0.5) -> Step:
    low, high = -beta / alpha, (1 - beta) / alpha
    return piecewise_linear(x, [(-_INF, low, 0.0, 0.0), (low, high, beta, alpha), (high, _INF, 1.0, 0.0)])


@op("HardSwish", elementwise)
def hard_swish(x: Array) -> Array:
    """Return x times the hard sigmoid of slope 1/6."""
    return x * hard_sigmoid(x, alpha=1 / 6, beta=0.5)


@op("Swish", elementwise)
def swish(x: Array, *, alpha: float = 1.0) -> Array:
    """Return x times the logistic function of alpha x."""
    return x * sigmoid(alpha * x)


@op("Softplus", elementwise)
def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)) without overflow."""
    xp = namespace(x)
    return positive(x) + xp.log1p(xp.exp(-xp.abs(x)))


@op("Mish", elementwise)
def mish(x: Array) -> Array:
    """Return x times tanh of softplus."""
    return x * namespace(x).tanh(softplus(x))


@op("Gelu", elementwise)
def gelu(x: Array, *, approximate: str = "none") -> Array:
    """Gaussian error linear unit."""
    if approximate == "tanh":
        return 0.5 * x * (1 + namespace(x).tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return x * normal_cdf(x)


@op("Softsign", elementwise)
def softsign(x: Array) -> Array:
    """Return x / (1 + abs(x))."""
    return x / (1 + namespace(x).abs(x))


@op("Shrink", elementwise)
def shrink(x: Array, *, bias: float = 0.0, lambd: float = 0.5) -> Array:
    """Values within `lambd` of zero become zero, others move towards zero by `bias`."""
    xp = namespace(x)
    y = xp.where(x < -lambd, x + bias, xp.where(x > lambd, x - bias, x * 0))
    return y if is_floating(x) else xp.astype(y, x.dtype)


@op("Erf", elementwise)
def erf_(x: Array) -> Array:
    """Error function."""
    return erf(x)


@op("Abs", elementwise)
def abs_(x: Array) -> Array:
    """Absolute value."""
    return namespace(x).abs(x)


@abs_.moments
def _(x: Moments) -> Step:
    return piecewise_linear(x, [(-_INF, 0.0, 0.0, -1.0), (0.0, _INF, 0.0, 1.0)])


@op("Neg", elementwise)
def neg(x: Array) -> Array:
    """Negative."""
    return -x


@neg.moments
def _(x: Moments) -> Step:
    return pointwise(x, -x.mean, x.var, namespace(x.mean).asarray(-1.0), affine=True)


@op("Sign", steps)
def sign(x: Array) -> Array:
    """Sign."""
    return namespace(x).sign(x)


@op("Exp", elementwise)
def exp(x: Array) -> Array:
    """Exponential."""
    return namespace(x).exp(x)


@op("Log", elementwise)
def log(x: Array) -> Array:
    """Natural logarithm."""
    return namespace(x).log(x)


@op("Sqrt", elementwise)
def sqrt(x: Array) -> Array:
    """Square root."""
    return namespace(x).sqrt(x)


@op("Reciprocal", elementwise)
def reciprocal(x: Array) -> Array:
    """One over x."""
    return 1 / x


@op("Floor", steps)
def floor(x: Array) -> Array:
    """Round down."""
    return namespace(x).floor(x)


@op("Ceil", steps)
def ceil(x: Array) -> Array:
    """Round up."""
    return namespace(x).ceil(x)


@op("Round", steps)
def round_(x: Array) -> Array:
    """Round to the nearest integer, halves to even."""
    return namespace(x).round(x)


@op("Sin", elementwise)
def sin(x: Array) -> Array:
    """Sine."""
    return namespace(x).sin(x)


@op("Cos", elementwise)
def cos(x: Array) -> Array:
    """Cosine."""
    return namespace(x).cos(x)


@op("Tan", elementwise)
def tan(x: Array) -> Array:
    """Tangent."""
    return namespace(x).tan(x)


@op("Asin", elementwise)
def asin(x: Array) -> Array:
    """Inverse sine."""
    return namespace(x).asin(x)


@op("Acos", elementwise)
def acos(x: Array) -> Array:
    """Inverse cosine."""
    return namespace(x).acos(x)


@op("Atan", elementwise)
def atan(x: Array) -> Array:
    """Inverse tangent."""
    return namespace(x).atan(x)


@op("Sinh", elementwise)
def sinh(x: Array) -> Array:
    """Hyperbolic sine."""
    return namespace(x).sinh(x)


@op("Cosh", elementwise)
def cosh(x: Array) -> Array:
    """Hyperbolic cosine."""
    return namespace(x).cosh(x)


@op("Tanh", elementwise)
def tanh(x: Array) -> Array:
    """Hyperbolic tangent."""
    return namespace(x).tanh(x)


@op("Asinh", elementwise)
def asinh(x: Array) -> Array:
    """Inverse hyperbolic sine."""
    return namespace(x).asinh(x)


@op("Acosh", elementwise)
def acosh(x: Array) -> Array:
    """Inverse hyperbolic cosine."""
    return namespace(x).acosh(x)


@op("Atanh", elementwise)
def atanh(x: Array) -> Array:
    """Inverse hyperbolic tangent."""
    return namespace(x).atanh(x)


@op("IsNaN", steps)
def is_nan(x: Array) -> Array:
    """Whether the element is not a number."""
    return namespace(x).isnan(x)


@op("IsInf", steps)
def is_inf(x: Array, *, detect_negative: int = 1, detect_positive: int = 1) -> Array:
    """Whether the element is infinite, of a sign that is asked for."""
    found = namespace(x).isinf(x)
    return found & (((x > 0) & bool(detect_positive)) | ((x < 0) & bool(detect_negative)))


@op("Not", steps)
def not_(x: Array) -> Array:
    """Logical not."""
    return ~x


@op("BitwiseNot", steps)
def bitwise_not(x: Array) -> Array:
    """Bits turned over."""
    return ~x


@op("Identity", same)
def identity(x: Array) -> Array:
    """Return x itself."""
    return x


@op("Cast", same)
def cast_(x: Array, *, to: int, saturate: int = 1, round_mode: str = "up") -> Array:
    """Change the dtype; the number `to` is ONNX's."""
    return cast(x, ONNX_DTYPES[to])


@op("CastLike", same, static=("target",))
def cast_like(x: Array, target: Array, *, saturate: int = 1, round_mode: str = "up") -> Array:
    """Change the dtype to that of `target`."""
    return cast(x, target.dtype.name)


@op("Dropout", same, static=("ratio", "training_mode"))
def dropout(
    x: Array,
    ratio: Array | None = None,
    training_mode: Array | None = None,
    *,
    seed: int | None = None,
    outputs: int = 1,
) -> Array:
    """Nothing is dropped: a network on hardware infers."""
    if training_mode is not None and bool(to_numpy(training_mode)) and (ratio is None or float(ratio) > 0):
        raise NotImplementedError("Dropout in training mode")
    return x if outputs == 1 else (x, namespace(x).ones_like(x, dtype=namespace(x).bool))
