"""Margins: by how much the right class leads, and their law over instances.

Written against an array namespace, so the same lines predict in NumPy and are differentiated in torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kppstat.array import Array, like, namespace, to_numpy
from kppstat.ops.gaussian import largest
from kppstat.propagate import Passage

RIVALS = 9  # other classes of an input that may lead


@dataclass(frozen=True, eq=False)
class Margins:
    """Margins of some inputs, Gaussian over instances.

    Attributes
    ----------
    mean : array, shape (n,)
    gradients : dict of str to array, shape (n, elements)
        Derivative of the mean margin of each input with respect to each element of a weight, by the name under which
        an operator reads it.
    nonlinear : array, shape (n,)
        Variance that no linear fit in the weights explains.
    """

    mean: Array
    gradients: dict[str, Array]
    nonlinear: Array

    def covariance(self, variances: dict[str, Array]) -> Array:
        """Return the covariance of all pairs, shape (n, n), from the variance of each element of the weights.

        What is nonlinear is spread over the directions in proportion.
        """
        xp = namespace(self.mean)
        linear = sum(xp.matmul(g * xp.reshape(variances[w], (1, -1)), g.T) for w, g in self.gradients.items())
        own = diagonal(linear)
        safe = xp.where(own > 0, own, own * 0 + 1)
        scale = xp.sqrt(1 + xp.where(own > 0, self.nonlinear / safe, own * 0))
        return linear * scale[:, None] * scale[None, :]


def margins(passage: Passage, name: str, targets: np.ndarray) -> Margins:
    """Return the margins of the inputs of a passage: the logit of the right class less the largest of the others.

    Parameters
    ----------
    passage : Passage
        Of the network up to its logits.
    name : str
        Of the logits, seen as (n, classes).
    targets : ndarray of int, shape (n,)
    """
    value = passage.table[name]
    n = passage.count
    targets = targets.astype(np.int64)  # small unsigned integers would be read as a mask
    xp = namespace(value.mean)
    mean, var = (xp.reshape(v, (n, -1)) for v in (value.mean, value.var))
    rivals = _rivals(passage, name, targets)
    rows = np.arange(n)

    def at(values: Array, columns: np.ndarray) -> Array:
        return values[like(rows, values), like(columns, values)]

    columns = [rivals[:, i] for i in range(rivals.shape[1])]
    top, _, chances, _ = largest([at(mean, c) for c in columns], [at(var, c) for c in columns], None)
    seed = _spread_out(chances, rivals, targets, mean)
    gradients: dict[str, Array] = {}
    nonlinear = xp.zeros_like(top)
    for share in passage.back(name, xp.reshape(seed, tuple(value.mean.shape))):
        if share.stored is None:
            nonlinear = nonlinear + share.variance(n)
            continue
        gradient = xp.reshape(share.stored.gradient(share.adjoint, n), (n, -1))
        read = share.node.inputs[share.stored.index]
        gradients[read] = gradients[read] + gradient if read in gradients else gradient
    return Margins(at(mean, targets) - top, gradients, nonlinear)


def _rivals(passage: Passage, name: str, targets: np.ndarray) -> np.ndarray:
    """Return the other classes with the largest mean logits, shape (n, rivals)."""
    n = passage.count
    mean = to_numpy(passage.table[name].mean).reshape(n, -1).copy()
    mean[np.arange(n), targets] = -math.inf
    return np.argsort(-mean, axis=1, kind="stable")[:, : min(RIVALS, mean.shape[1] - 1)]


def _spread_out(chances: list[Array], rivals: np.ndarray, targets: np.ndarray, mean: Array) -> Array:
    """Return the adjoint of the margins at the logits: one for the right class, less the chance of each rival."""
    xp = namespace(mean)
    places = np.arange(mean.shape[1])
    seed = like((places == targets[:, None]).astype(np.float64), mean)
    seed = xp.astype(seed, mean.dtype)
    for i, chance in enumerate(chances):
        here = like((places == rivals[:, i, None]).astype(np.float64), mean)
        seed = seed - xp.astype(here, mean.dtype) * chance[:, None]
    return seed


def diagonal(square: Array) -> Array:
    """Return the diagonal of a square matrix."""
    index = like(np.arange(square.shape[0]), square)
    return square[index, index]
