"""The accuracy as a smooth function of the law of the margins: its mean, its spread, its KPP.

Written against an array namespace, so the same lines predict in NumPy and are differentiated in torch.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from kppstat.array import Array, like, namespace, normal_cdf
from kppstat.graph import Graph
from kppstat.ops.gaussian import root
from kppstat.prediction.margins import diagonal, margins
from kppstat.propagate import Calibration, moments

_NEARLY = 1 - 1e-4  # largest correlation of two inputs
_FACTORS = 64  # directions that inputs share
_LEAST = 1e-30
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)


@dataclass(frozen=True, eq=False)
class Smooth:
    """The accuracy over instances, as a function of the law of the margins.

    Attributes
    ----------
    mean, sd : array without axes
    """

    mean: Array
    sd: Array

    def kpp(self, depth: float) -> Array:
        """Return the mean less `depth` standard deviations."""
        return self.mean - depth * self.sd


def gaussian_depth(k: float) -> float:
    """Return how many standard deviations below the mean the k-th percentile of a Gaussian lies.

    Examples
    --------
    >>> round(gaussian_depth(1), 3)
    2.326
    """
    return -float(ndtri(k / 100))


def smooth_accuracy(
    head: Graph,
    inputs: Mapping[str, Array],
    targets: np.ndarray,
    weights: Mapping[str, tuple[Array, Array]],
    *,
    calibration: Calibration | None = None,
    whole: Container[str] = (),
    dtype: str = "float32",
) -> Smooth:
    """Return mean and standard deviation of the accuracy on a batch over instances, as a differentiable function.

    The objective for training: with torch tensors as weights the result carries their gradients. It costs about as
    much as ten forward and backward passes of the batch.

    Parameters
    ----------
    head : Graph
        The network up to its logits (`kppstat.prediction.split`).
    inputs : mapping of str to array
        A batch of network inputs by name; axis 0 runs over the inputs. Trained biases and normalisation parameters
        may be given here too, by the names of the constants that they replace, if `whole` lists them.
    targets : ndarray of int, shape (n,)
    weights : mapping of str to (mean, variance)
        Of every programmed weight, each of its tensor's shape: what ``noise_model.moments(w)`` returns for a tensor w.
    calibration : Calibration, optional
    whole : names of inputs that are the same for the whole batch
    dtype : str
        Floating-point type of the computation.

    Returns
    -------
    Smooth
        ``smooth.kpp(gaussian_depth(1))`` is the KPP at k = 1.

    Examples
    --------
    >>> from kppstat.graph import Graph, Node, Port
    >>> w = np.eye(2)
    >>> graph = Graph((Node("MatMul", ("x", "w"), ("y",)),), (), (Port("y", "float32", None),), {"w": w})
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> smooth = smooth_accuracy(graph, {"x": x}, np.array([0, 1]), {"w": (w, 0.1 * np.ones_like(w))})
    >>> round(float(smooth.mean), 3), round(float(smooth.sd), 3)
    (0.987, 0.079)
    """
    correct = None if calibration is None else calibration.correct
    scale = None if calibration is None else calibration.pair_scale
    passage = moments(head, inputs, weights, correct=correct, pair_scale=scale, dtype=dtype, whole=whole)
    law = margins(passage, head.outputs[0].name, targets)
    variances = {n: passage.table[n].var for n in law.gradients}
    each = namespace(law.mean).ones_like(law.mean) / law.mean.shape[0]
    return accuracy(law.mean, law.covariance(variances), each, 0.0, law.mean.shape[0])


def accuracy(mean: Array, covariance: Array, weights: Array, offset: float, total: int) -> Smooth:
    """Return mean and standard deviation of the accuracy over instances.

    Two inputs are both right with the bivariate normal probability; its excess over independence is the integral of
    the density over the correlation (Plackett 1954), with the substitution of Drezner and Wesolowsky (1990).

    Parameters
    ----------
    mean : array, shape (n,)
        Of the margins.
    covariance : array, shape (n, n)
    weights : array, shape (n,)
        Such that a weighted sum estimates a mean over all inputs.
    offset : float
        Performance of the intended weights less the weighted sum of their scores.
    total : int
        Number of all inputs.
    """
    xp = namespace(mean)
    var = diagonal(covariance)
    s = root(var)
    quiet = s <= 0
    a = xp.where(quiet, xp.sign(mean) * 38, mean / xp.where(quiet, s * 0 + 1, s))
    p = normal_cdf(a)
    off = ~np.eye(len(p), dtype=bool)
    bottom = s[:, None] * s[None, :]
    r = covariance / xp.where(bottom > 0, bottom, bottom * 0 + 1)
    r = xp.where(like(off, r), xp.clip(r, -_NEARLY, _NEARLY), r * 0)
    angle = xp.asin(r)
    squares, products = a[:, None] ** 2 + a[None, :] ** 2, a[:, None] * a[None, :]
    excess = r * 0
    for node, weight in zip(_NODES.tolist(), _WEIGHTS.tolist(), strict=True):
        theta = angle * (0.5 * (node + 1))
        sine = xp.sin(theta)
        excess = excess + weight * xp.exp(-(squares - 2 * products * sine) / (2 * (1 - sine * sine)))
    excess = excess * angle / (4 * math.pi)
    shared = xp.sum(excess * weights[:, None] * weights[None, :])
    each = xp.sum(weights * p * (1 - p)) / total
    return Smooth(offset + xp.sum(weights * p), root(xp.where(shared > 0, shared, shared * 0) + each))


def drawn(
    mean: np.ndarray, covariance: np.ndarray, weights: np.ndarray, offset: float, draws: int, seed: int
) -> np.ndarray:
    """Return the accuracies of drawn instances, whose margins follow this law.

    What an input shares with others is drawn; over what is its own the chance is taken, because a chosen input stands
    for many, each with an own part.
    """
    s = np.sqrt(np.maximum(diagonal(covariance), _LEAST)).astype(np.float64)
    values, vectors = np.linalg.eigh(covariance / s[:, None] / s[None, :])
    shared = vectors[:, -_FACTORS:] * np.sqrt(np.maximum(values[-_FACTORS:], 0))
    own = np.sqrt(np.maximum(1 - (shared**2).sum(axis=1), 1 - _NEARLY))
    z = np.random.default_rng([seed, 2]).standard_normal((shared.shape[1], draws))
    chances = normal_cdf((mean / s)[:, None] / own[:, None] + (shared / own[:, None]) @ z)
    return np.asarray(offset + weights @ chances)
