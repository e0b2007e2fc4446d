"""Directions in the space of the weights that move the answers of many inputs together."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from kppstat.array import Array, normal_pdf, to_numpy
from kppstat.graph import Graph
from kppstat.prediction.logits import TOGETHER, Logits
from kppstat.propagate import Calibration, passages

Values = dict[str, np.ndarray]

_LEAST = 1e-6  # of the strength of the first direction: what is weaker is rounding


@dataclass(frozen=True, eq=False)
class Principal:
    """Principal directions of the logits of some inputs over instances, the strongest first.

    Attributes
    ----------
    along : ndarray, float32, shape (r, count)
        In the space of the features: orthonormal.
    slopes : tuple of dict of str to ndarray
        Of each direction, the derivative of the place along it with respect to the weights; the place of an instance
        has the standard deviation one. Weights that are read through another operator are left out.
    """

    along: np.ndarray
    slopes: tuple[Values, ...]

    def step(self, weights: Mapping[str, tuple[Array, Array]]) -> Values:
        """Return the change of the weights that goes one standard deviation along the first direction, if there is one.

        The weights may vary more or less than where the directions come from.
        """
        if not self.slopes:
            return {}
        return {w: g * to_numpy(weights[w][1]) for w, g in _standardised(self.slopes[0], weights).items()}


def principal(
    law: Logits,
    emphasis: np.ndarray,
    head: Graph,
    inputs: Mapping[str, Array],
    weights: Mapping[str, tuple[Array, Array]],
    calibration: Calibration | None,
    *,
    count: int = 1,
    whole: Container[str] = (),
    size: int = TOGETHER,
) -> Principal:
    """Return principal directions of the standardised logits of these inputs; fewer where fewer vary.

    Parameters
    ----------
    law : Logits
        Of these inputs.
    emphasis : ndarray, shape (n, turns)
        How much each logit counts.
    head, inputs, weights, calibration, whole, size
        As for `kppstat.prediction.logits.logits`.
    count : int
        Directions at most; each costs one pass back.
    """
    n, turns, r = law.features.shape
    s = np.sqrt(law.var)
    scale = np.divide(emphasis, s, out=np.zeros_like(s), where=s > 0)
    rows = law.features.reshape(n * turns, r) * (np.sqrt(law.smooth) * scale).reshape(-1, 1).astype(np.float32)
    last = len(rows) - 1
    strength, vectors = eigh(rows @ rows.T, subset_by_index=(max(last + 1 - count, 0), last))
    kept = strength > _LEAST * strength[-1]
    vectors = vectors[:, kept][:, ::-1]
    along = rows.T @ vectors
    along /= np.linalg.norm(along, axis=0)
    seeds = (vectors.reshape(n, turns, -1) * scale[..., None]).astype(np.float32)
    found: list[Values] = [{} for _ in range(vectors.shape[1])]
    groups = passages(
        head,
        inputs,
        weights,
        correct=None if calibration is None else calibration.correct,
        pair_scale=None if calibration is None else calibration.pair_scale,
        whole=whole,
        size=size,
    )
    name = head.outputs[0].name
    for place, passage in groups:
        value = to_numpy(passage.table[name].mean)
        for slopes, part in zip(found, np.moveaxis(seeds[place], 2, 0), strict=True):
            seed = np.zeros((passage.count, value.size // passage.count), value.dtype)
            np.put_along_axis(seed, law.columns[place], part, axis=1)
            if law.against is not None:
                seed[np.arange(passage.count), law.against[place]] -= part.sum(axis=1)
            for share in passage.back(name, seed.reshape(value.shape)):
                if share.stored is not None and share.node.inputs[share.stored.index] in weights:
                    gradient = to_numpy(share.stored.gradient(share.adjoint, passage.count)).sum(axis=0)
                    slopes[share.weight] = slopes[share.weight] + gradient if share.weight in slopes else gradient
    return Principal(along.astype(np.float32), tuple(_standardised(slopes, weights) for slopes in found))


def answers(law: Logits, shares: np.ndarray) -> np.ndarray:
    """Return how much each logit counts for the performance, shape (n, turns): by how likely it comes to lead.

    The chance that a rival overtakes changes with its standardised logit by the normal density at the gap; squared
    emphasis adds up in the covariance, hence the root.

    Parameters
    ----------
    law : Logits
    shares : ndarray, shape (n,)
        How much each input stands for.
    """
    s = np.sqrt(law.var)
    if law.against is None:
        density = np.ones_like(s)
    else:
        leader = np.take_along_axis(law.mean, law.against[:, None], axis=1)
        gap = leader - np.take_along_axis(law.mean, law.columns, axis=1)
        density = normal_pdf(np.divide(gap, s, out=np.full_like(s, np.inf), where=s > 0))
    return np.sqrt(shares[:, None] * density)


def _standardised(slopes: Values, weights: Mapping[str, tuple[Array, Array]]) -> Values:
    total = np.sqrt(sum(float((g * g * to_numpy(weights[w][1])).sum()) for w, g in slopes.items()))
    return {w: g / total for w, g in slopes.items()} if total > 0 else {}
