"""How much each weight's deviation lowers the KPP: squared gradients of the accuracy over noisy instances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from kppstat.noise import Variation, instance_normals
from kppstat.onnx_io import Model
from kppstat.worst_case.network import FORWARD, Network
from kppstat.worst_case.objectives import smooth

#: Number of the first instance: no estimate ever uses the same.
FIRST = 1 << 61
#: Gradient passes that `sensitivity` takes at least.
FEWEST = 2.5
_LEAST = 8  # inputs of a group
_SCOUTS, _SCOUTED = 16, 4  # instances at most that tell the spread, each on one of so many parts of the inputs
_SHARE = 8  # an instance gives gradients on one of so many parts: instances differ more than inputs do


def second_moments(model: Model, network: Network, variation: Variation) -> Tensor:
    """Return variance plus squared bias of each deviation in units of max|W|, shape (network.size,)."""
    parts = []
    for name, w in network.intended.items():
        wide = model.graph.constants[name].astype(np.float64)
        mean, variance = variation.of(name).moments(wide)
        unit = float(network.units[name]) or 1.0  # a tensor of zeros deviates by nothing, in any unit
        parts.append(torch.from_numpy(np.asarray((mean - wide) ** 2 + variance).reshape(w.numel()) / unit**2))
    return torch.cat(parts)


def deviation(model: Model, network: Network, variation: Variation, seed: int, index: int) -> Tensor:
    """Return the deviation of one instance in units of max|W|, shape (network.size,)."""
    positions = {w.name: w.position for w in model.weights}
    out = network.start()
    for name, part in network.slices.items():
        w, law = model.graph.constants[name], variation.of(name)
        moved = law.weights(w, instance_normals(law, seed, index, positions[name], w.shape))
        if (unit := float(network.units[name])) > 0:
            out[part] = torch.from_numpy((moved - w).astype(np.float32).reshape(-1) / unit)
    return out


def sensitivity(
    model: Model,
    network: Network,
    variation: Variation,
    *,
    k: float,
    passes: float,
    seed: int,
    first: int = FIRST,
    progress: Callable[[float], None] = lambda _passes: None,
) -> Tensor:
    """Return, up to a factor, how fast the KPP falls with the variance of each weight's deviation.

    With the accuracy nearly normal over instances, ``KPP = mean - z sd`` with ``z = Phi^-1(1 - k/100)``, so by a
    variance v_i it falls with the curvature of the mean and with ``z / (2 sd) E(dA/dw_i)**2`` (Price's theorem and
    its first-order counterpart for the variance). The curvature of a smoothed accuracy goes with the mean over inputs
    of squared gradients, the variance with the square of their mean. The mean squared gradient over random groups of b
    inputs holds both, ``E(one)**2 / b + E(mean)**2``: for ``b = z / sd`` in about the right proportion, so the groups
    are of that size. Gradients differ more between instances than between groups of one: many instances give few each.

    Parameters
    ----------
    model : Model
    network : Network
        Of the same model. What is spent is counted there.
    variation : Variation
        Draws the instances: the sensitivity is that around chips as they are.
    k : float
        Percent of instances that may fall below.
    passes : float
        Gradient passes over all inputs to spend, `FEWEST` or more.
    seed, first : int
        Name the instances, and fix the groups.
    progress : callable
        Called after each instance with the gradient passes spent so far.

    Returns
    -------
    Tensor, shape (network.size,)
        By deviations in units of max|W|.
    """
    n, end = len(network), network.passes + passes
    rng = np.random.default_rng([seed, first - FIRST])
    common = np.sort(rng.permutation(n)[: max(n // _SCOUTED, min(_LEAST, n))])
    scouts = int(np.clip(passes / 2 * n / (FORWARD * len(common)), 2, _SCOUTS))  # for half of the budget at most
    chips = (deviation(model, network, variation, seed, first + i) for i in range(scouts))
    margins = np.stack([network.margins(u, common) for u in chips])
    # Too large by the noise of a part of the inputs, so groups are too small; half their size still ranks as well.
    spread = max(float((margins > 0).mean(axis=1).std(ddof=1)), 1 / n)
    scale = smooth(max(float(np.median(margins.std(axis=0, ddof=1))) / 2, 1e-6))
    size = int(np.clip(-ndtri(k / 100) / spread, min(_LEAST, n), max(n // _SHARE, min(_LEAST, n))))
    total, count = network.start().double(), 0
    left, index = np.zeros(0, np.int64), first + scouts
    while count == 0 or network.passes + size / n <= end:
        u = deviation(model, network, variation, seed, index)
        index += 1
        for _ in range(max(1, n // _SHARE // size)):
            if count and network.passes + size / n > end:
                break
            if len(left) < size:
                left = rng.permutation(n)
            rows, left = left[:size], left[size:]
            gradient, _ = network.gradient(u, scale, rows)
            total += gradient.double().square()
            count += 1
        progress(network.passes)
    return total / count


def magnitudes(network: Network) -> Tensor:
    """Return |W| / max|W| of each weight, shape (network.size,)."""
    scaled = [w.abs() / max(float(network.units[n]), 1e-30) for n, w in network.intended.items()]
    return torch.cat([part.reshape(-1).double() for part in scaled])
