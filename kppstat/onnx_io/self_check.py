"""Compare the outputs of two models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Converting and folding may change the order of a few roundings; a wrong graph is off by far more.
TOLERANCE = {"float16": 2e-2, "float32": 1e-3, "float64": 1e-6}
DISAGREEMENT = 0.02  # share of differing integers, which rounding may flip (ArgMax of near ties)


def same(ours: Sequence[np.ndarray] | None, theirs: Sequence[np.ndarray] | None) -> bool:
    """Say whether two lists of outputs agree but for rounding."""
    if ours is None or theirs is None:
        return ours is theirs
    return len(ours) == len(theirs) and all(_close(a, b) for a, b in zip(ours, theirs, strict=True))


def _close(a: object, b: object) -> bool:
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return type(a) is type(b)  # sequences and maps of classic machine learning
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.name not in TOLERANCE:
        return a.size == 0 or float(np.mean(a != b)) <= DISAGREEMENT
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite):
        return False
    if not finite.any():
        return True
    x, y = a[finite].astype(np.float64), b[finite].astype(np.float64)
    scale = max(1.0, float(np.max(np.abs(y)))) if TOLERANCE[a.dtype.name] else 1.0
    return float(np.max(np.abs(x - y))) <= TOLERANCE[a.dtype.name] * scale
