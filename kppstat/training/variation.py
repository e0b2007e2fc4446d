"""Device variation in training: fresh draws for every mini-batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kppstat.noise import NoiseModel, Variation
from kppstat.training.network import Values


def programmed(
    values: Mapping[str, Tensor],
    noisy: Sequence[str],
    variation: Variation,
    generator: torch.Generator,
    *,
    scale: float = 1.0,
    through: bool = False,
) -> Values:
    """Return one draw of the programmed weights; tensors without device variation stay as they are.

    Parameters
    ----------
    values : mapping of str to Tensor
        Intended weights, and all other tensors.
    noisy : sequence of str
        Names of those that carry device variation.
    variation : Variation
    generator : torch.Generator
        Draws the standard normals z.
    scale : float
        Factor on every deviation.
    through : bool
        Whether gradients see how a deviation depends on the intended weight, by max|W| above all. The published
        methods take the deviation as given, and so does the default.
    """
    result = dict(values)
    laws = {name: variation.of(name) for name in noisy}
    common = max((law.common for law in laws.values()), default=0)
    chip = torch.randn(common, generator=generator, device=generator.device)
    for name, law in laws.items():
        w = values[name]
        z = torch.randn(law.draws(tuple(w.shape)), generator=generator, device=w.device, dtype=w.dtype)
        if law.common:  # the last normals are those that all tensors of the instance share
            z[-law.common :] = chip[: law.common]
        if through:
            moved = law.weights(w, z)
            result[name] = moved if scale == 1 else w + scale * (moved - w)
        else:
            with torch.no_grad():
                deviation = scale * (law.weights(w, z) - w)
            result[name] = w + deviation
    return result


def equal_sigma(values: Mapping[str, Tensor], noisy: Sequence[str], variation: Variation) -> float:
    """Return the sigma of additive Gaussian variation of the same mean squared deviation.

    Each tensor counts in units of its max|W|, and by its number of weights.
    """
    total, count = 0.0, 0
    for name in noisy:
        w = values[name].detach()
        largest = float(w.abs().max()) if w.numel() else 0.0
        if largest > 0:
            total += _squared(variation.of(name), w) / largest**2
            count += w.numel()
    return math.sqrt(total / count) if count else 0.0


def _squared(law: NoiseModel, w: Tensor) -> float:
    """Sum of expected squared deviations."""
    mean, variance = law.moments(w)
    return float(((mean - w) ** 2 + variance).sum())
