"""Output MSE over instances, and what each weight alone brings of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from kppstat.array import to_numpy
from kppstat.prediction.logits import Logits

_SAME = 1e-6  # of max|W|: means that are as close to the intended weights differ by rounding only


def mse(law: Logits, intended: np.ndarray) -> float:
    """Return the mean squared deviation of a logit from that of the intended weights: squared shift plus variance.

    What a noise model does to the mean of a weight, such as quantisation, shifts the logits of every instance alike, so
    its error counts in full (MemSE, arXiv 2205.01707: the target is the network before quantisation).

    Parameters
    ----------
    law : Logits
    intended : ndarray, shape (n, outputs)
        Logits of the intended weights.

    Examples
    --------
    >>> one, none = np.ones((1, 1)), np.zeros((1, 1))
    >>> law = Logits(1.5 * one, np.array([[0]]), np.array([[[0.6, 0.8]]]), 0.05 * one, {}, none)
    >>> round(mse(law, np.array([[1.0]])), 6)
    0.3
    """
    return float((_shift(law, law.mean, intended) ** 2 + law.var).mean())


def towards_all(
    law: Logits, intended: np.ndarray, followed: Logits, there: np.ndarray, weights: np.ndarray, columns: np.ndarray
) -> float:
    """Return by what the MSE on a few inputs is to be multiplied to be that on all, by a rougher MSE on more of them.

    A ratio estimator (Cochran 1977, chapter 6): the variance that elements have by themselves is quick, so more inputs
    have it, and it tells which of them deviate more.

    Parameters
    ----------
    law, intended
        Of the few, as for `mse`.
    followed, there
        The same of the many.
    weights : ndarray, shape (m,)
        Such that a weighted sum over the many estimates a mean over all inputs.
    columns : ndarray of int, shape (m, turns)
        The outputs of the many that count.
    """
    few = _rough(law, intended, law.columns).mean()
    many = weights @ _rough(followed, there, columns) / weights.sum()
    return float(many / few) if few > 0 else 1.0


def _rough(law: Logits, intended: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the MSE of each input from variances that were propagated element by element."""
    square = (law.mean - intended) ** 2 + (0 if law.rough is None else law.rough)
    return np.asarray(np.take_along_axis(square, columns, axis=1).mean(axis=1))


def mse_by_weight(
    law: Logits,
    intended: np.ndarray,
    weights: Mapping[str, tuple[np.ndarray, np.ndarray]],
    constants: Mapping[str, np.ndarray],
    moved: Callable[[Mapping[str, np.ndarray]], np.ndarray],
) -> dict[str, float]:
    """Return, for each weight, the output MSE if it alone deviated, to first order in its variances.

    The variance is its share in that of the logits. The shift is exact: that of the network with this weight at its
    mean. Shifts of several weights add up before they are squared, so these values need not add up to the output MSE.

    Parameters
    ----------
    law : Logits
    intended : ndarray, shape (n, outputs)
        Logits of the intended weights.
    weights : mapping of str to (mean, variance)
    constants : mapping of str to ndarray
        The intended weights.
    moved : callable
        From weights to the logits of the inputs of the law; called for each weight whose mean is not as intended.
    """
    found = {}
    for name in sorted(law.by_weight):
        found[name] = float(law.by_weight[name].mean())
    for name in shifted(weights, constants):
        mean = to_numpy(weights[name][0])
        found[name] = found.get(name, 0.0) + float((_shift(law, moved({name: mean}), intended) ** 2).mean())
    return dict(sorted(found.items()))


def shifted(
    weights: Mapping[str, tuple[np.ndarray, np.ndarray]], constants: Mapping[str, np.ndarray]
) -> tuple[str, ...]:
    """Return the names of the weights whose mean over instances is not the intended one.

    Examples
    --------
    >>> w = np.array([1.0, 0.3])
    >>> shifted({"a": (w, w), "b": (np.round(w), w)}, {"a": w, "b": w})
    ('b',)
    """
    far = {
        name: np.abs(to_numpy(mean) - constants[name]).max(initial=0) > _SAME * np.abs(constants[name]).max(initial=0)
        for name, (mean, _) in weights.items()
    }
    return tuple(name for name, moves in far.items() if moves)


def _shift(law: Logits, mean: np.ndarray, intended: np.ndarray) -> np.ndarray:
    return np.take_along_axis(mean - intended, law.columns, axis=1)
