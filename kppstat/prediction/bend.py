"""How the logits bend along the direction of the weights that moves most of them together.

A law that is linear in the deviations misses how logits bend and level off when an instance lies far out in that
direction, which all inputs do together and which makes the lower tail. The network, moved along it, shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import replace

import numpy as np
from scipy.linalg import eigh

from kppstat.array import Array, to_numpy
from kppstat.graph import Graph
from kppstat.prediction.curve import PLACES, centred, unexplained, variance
from kppstat.prediction.logits import TOGETHER, Logits
from kppstat.propagate import Calibration, passages

Values = dict[str, np.ndarray]


def direction(
    law: Logits,
    head: Graph,
    inputs: Mapping[str, Array],
    weights: Mapping[str, tuple[np.ndarray, np.ndarray]],
    calibration: Calibration | None,
    *,
    whole: Container[str] = (),
    size: int = TOGETHER,
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
    rows = law.features.reshape(n * turns, r) * (np.sqrt(law.smooth) * inverse).reshape(-1, 1).astype(np.float32)
    last = len(rows) - 1
    first = eigh(rows @ rows.T, subset_by_index=(last, last))[1][:, 0]
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
        correct=None if calibration is None else calibration.correct,
        pair_scale=None if calibration is None else calibration.pair_scale,
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


def responses(
    step: Values,
    weights: Mapping[str, tuple[np.ndarray, np.ndarray]],
    moved: Callable[[Values], np.ndarray],
) -> np.ndarray:
    """Return the logits with the mean weights moved along a direction, shape (places, n, outputs).

    Parameters
    ----------
    step : dict of str to ndarray
        From `direction`.
    weights : mapping of str to (mean, variance)
    moved : callable
        From weights to the logits of some inputs, shape (n, outputs).
    """
    means = {w: to_numpy(mean) for w, (mean, _) in weights.items()}
    return np.stack(
        [moved({w: (m + t * step[w]).astype(m.dtype) if w in step else m for w, m in means.items()}) for t in PLACES]
    )


def bent(law: Logits, along: np.ndarray, found: np.ndarray) -> Logits:
    """Return the law with what the logits bend along a direction.

    What is linear in it stays as the law has it; what was not, as the network itself has it, takes the place of as much
    of the variance that counted as nonlinear. A logit without features, because it was too far behind to be followed,
    moves along the direction as the network has it, and so comes near where an instance lies far out.

    Parameters
    ----------
    law : Logits
    along : ndarray, shape (r,)
        From `direction`.
    found : ndarray, shape (places, n, outputs)
        From `responses`, of the inputs of the law.
    """
    found = found.astype(np.float64)
    picked = np.take_along_axis(found, law.columns[None], axis=2)
    if law.against is not None:
        picked -= np.take_along_axis(found, law.against[None, :, None], axis=2)
    shift = picked - picked[len(picked) // 2]
    bend = np.where(law.followed, unexplained(shift), centred(shift))
    nonlinear = np.maximum(law.nonlinear - variance(bend), 0)
    smooth = np.maximum(law.smooth - (law.nonlinear - nonlinear), 0)
    return replace(
        law, smooth=smooth, nonlinear=nonlinear, along=along.astype(np.float32), bend=bend.astype(np.float32)
    )
