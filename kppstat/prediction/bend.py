"""How the logits bend along the direction of the weights that moves most of them together.

A law that is linear in the deviations misses how logits bend and level off when an instance lies far out in that
direction, which all inputs do together and which makes the lower tail. The network, moved along it, shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from kppstat.array import to_numpy
from kppstat.prediction.curve import PLACES, centred, unexplained, variance
from kppstat.prediction.directions import Values
from kppstat.prediction.logits import Logits


def responses(
    step: Values,
    weights: Mapping[str, tuple[np.ndarray, np.ndarray]],
    moved: Callable[[Values], np.ndarray],
) -> np.ndarray:
    """Return the logits with the mean weights moved along a direction, shape (places, n, outputs).

    Parameters
    ----------
    step : dict of str to ndarray
        From `kppstat.prediction.directions.Principal.step`.
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
        The direction, of length one, in the space of the features.
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
