"""How the logits bend along the direction of the weights that moves most of them together.

A law that is linear in the deviations misses what all inputs lose together when an instance lies far out in that
direction, and so makes the lower tail too thin. The intended network, moved there and back, shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import replace

import numpy as np

from kppstat.array import Array, to_numpy
from kppstat.graph import Graph
from kppstat.prediction.logits import Logits
from kppstat.propagate import Calibration, passages

_FAR = 3.0  # standard deviations by which the weights are moved: where the lower tail lies

Values = dict[str, np.ndarray]


def direction(
    law: Logits,
    head: Graph,
    inputs: Mapping[str, Array],
    weights: Mapping[str, tuple[np.ndarray, np.ndarray]],
    calibration: Calibration,
    *,
    whole: Container[str] = (),
    size: int = 64,
) -> tuple[np.ndarray, Values]:
    """Return the first principal direction of the standardised logits of these inputs.

    Parameters
    ----------
    law : Logits
        Of these inputs.
    head, inputs, weights, calibration, whole, size
        As for `kppstat.prediction.logits.logits`.

    Returns
    -------
    ndarray, shape (r,)
        Of length one, in the space of the features; zero where nothing varies.
    dict of str to ndarray
        The same direction as a change of the weights by one standard deviation. Weights that are read through another
        operator are left where they are.
    """
    n, turns, r = law.features.shape
    s = np.sqrt(law.var)
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    rows = law.features.reshape(n * turns, r) * inverse.reshape(-1, 1).astype(np.float32)
    _, vectors = np.linalg.eigh(rows @ rows.T)
    first = vectors[:, -1]
    along = rows.T @ first
    length = float(np.linalg.norm(along))
    if length == 0:
        return along, {}
    seeds = (first.reshape(n, turns) * inverse).astype(np.float32)
    found: Values = {}
    groups = passages(
        head,
        inputs,
        weights,
        correct=calibration.correct,
        pair_scale=calibration.pair_scale,
        whole=whole,
        size=size,
    )
    name = head.outputs[0].name
    for place, passage in groups:
        value = to_numpy(passage.table[name].mean)
        seed = np.zeros((passage.count, value.size // passage.count), value.dtype)
        np.put_along_axis(seed, law.columns[place], seeds[place], axis=1)
        for share in passage.back(name, seed.reshape(value.shape)):
            if share.stored is not None and share.node.inputs[share.stored.index] in weights:
                gradient = to_numpy(share.stored.gradient(share.adjoint, passage.count)).sum(axis=0)
                found[share.weight] = found[share.weight] + gradient if share.weight in found else gradient
    spread = {w: to_numpy(var) for w, (_, var) in weights.items()}
    total = np.sqrt(sum(float((g * g * spread[w]).sum()) for w, g in found.items()))
    return along / length, {w: g * spread[w] / total for w, g in found.items()} if total > 0 else {}


def bent(
    law: Logits,
    along: np.ndarray,
    step: Values,
    weights: Mapping[str, tuple[np.ndarray, np.ndarray]],
    moved: Callable[[Values], np.ndarray],
) -> Logits:
    """Return the law with what the logits bend along this direction.

    Parameters
    ----------
    law : Logits
    along, step
        From `direction`.
    weights : mapping of str to (mean, variance)
    moved : callable
        From weights to the logits of the inputs of the law, shape (n, outputs).
    """
    if not step:
        return law

    def at(place: float) -> np.ndarray:
        other = {w: (m + place * step[w]).astype(m.dtype) if w in step else m for w, (m, _) in weights.items()}
        return np.take_along_axis(moved(other), law.columns, axis=1).astype(np.float64)

    bend = (at(_FAR) + at(-_FAR) - 2 * at(0.0)) / (2 * _FAR**2)
    nonlinear = np.maximum(law.nonlinear - 2 * bend**2, 0)
    smooth = np.einsum("ntr,ntr->nt", law.features, law.features)
    lighter = law.with_variance(smooth - (law.nonlinear - nonlinear), nonlinear)
    return replace(lighter, along=along.astype(np.float32), bend=bend.astype(np.float32))
