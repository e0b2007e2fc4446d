"""Estimates made from given performances, for the tests of figures and reports."""

import math

import numpy as np

from kppstat.sampling.result import Estimate, State


def made(values, *, k=1.0, loss=False, performance="top-1 accuracy", half_width=0.005, **changes):
    """Return an estimate whose KPP is that of the values, with an interval from neighbouring order statistics."""
    values = np.asarray(values, dtype=float)
    scores = -values if loss else values
    trace = []
    for n in sorted({max(1, len(scores) // d) for d in (16, 8, 4, 2, 1)}):
        ordered = np.sort(scores[:n])
        at = max(math.ceil(k / 100 * n) - 1, 0)
        reach = 2 * math.ceil(math.sqrt(n * k / 100 * (1 - k / 100)))
        low = ordered[at - reach] if at >= reach else -math.inf
        high = ordered[at + reach] if at + reach < n else math.inf
        trace.append(State(n, float(n), float(ordered[at]), float(low), float(high), "exact", "sampling"))
    last, sign = trace[-1], -1.0 if loss else 1.0
    low, high = sorted((sign * last.low, sign * last.high))
    settings = {
        "kpp": sign * last.kpp,
        "ci_low": low,
        "ci_high": high,
        "confidence": 0.95,
        "guarantee": "exact",
        "k": k,
        "sigma": 0.1,
        "noise": {"model": "gaussian", "sigma": 0.1, "layers": {}},
        "method": "mc",
        "performance": performance,
        "loss": loss,
        "fraction": performance.startswith("top"),
        "clean": float(np.max(scores)) * sign,
        "mean": float(values.mean()),
        "sd": float(values.std()) if np.isfinite(values).all() else math.nan,
        "evaluations": float(len(values)),
        "instances": len(values),
        "inputs": 1000,
        "converged": bool((high - low) / 2 <= half_width),
        "half_width": half_width,
        "stop_reason": "the wanted half-width is reached",
        "seed": 7,
        "seconds": 75.0,
        "model": "nets/small.onnx",
        "data": "small.npz",
        "model_sha256": "3f" * 32,
        "data_sha256": "a9" * 32,
        "versions": {"python": "3.11.7", "kppstat": "0.1.0"},
        "values": values,
        "trace": tuple(trace),
        "notes": ("Two constants were folded.",),
    }
    return Estimate(**{**settings, **changes})


def accuracies(n=400, seed=0):
    """Return accuracies on 1,000 inputs with a tail towards low values."""
    draws = np.random.default_rng(seed).gamma(2.0, 0.02, n)
    return np.round(1000 * (0.93 - draws)) / 1000


DEGENERATE = {
    "one instance": made([0.9]),
    "two instances": made([0.9, 0.8]),
    "all equal": made([0.9] * 50),
    "nearly equal": made([0.9, 0.9 + 1e-15] * 20, performance="m:score"),
    "all right": made([1.0] * 200, clean=1.0),
    "all wrong": made([0.0] * 200, clean=0.0),
    "clean far away": made(0.1 + accuracies() / 100, clean=0.99),
    "no interval": made([0.9, 0.8, 0.7], ci_low=-math.inf, ci_high=math.inf),
    "nothing known": made([0.9], kpp=math.nan, ci_low=-math.inf, ci_high=math.inf, trace=()),
    "vast interval": made(accuracies(30), ci_low=0.0),
    "median": made(accuracies(), k=50),
    "best instances": made(accuracies(), k=99.9),
    "rare": made(accuracies(), k=1e-4),
    "loss": made(accuracies(), loss=True, performance="cross-entropy"),
    "infinite losses": made([0.3, 0.4, math.inf, math.inf], loss=True, performance="mse"),
    "all losses infinite": made([math.inf] * 3, loss=True, performance="mse"),
    "no number": made([0.5, math.nan, 0.7], performance="m:score", mean=0.6, clean=math.nan),
    "huge values": made(1e12 * accuracies(), performance="m:score", half_width=1e9),
    "tiny values": made(-1e-12 * accuracies(), performance="m:score", half_width=1e-15),
    "zero": made([0.0] * 9, performance="m:score", half_width=1e-8),
    "free of cost": made([0.9], evaluations=0.0),
    "formula in the name": made(accuracies(), performance="m:f$x_{"),
    "long name": made(accuracies(), performance="package.module:" + "score" * 30),
    "foreign name": made(accuracies(), performance="m:精度"),
}
