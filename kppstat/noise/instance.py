"""The standard normals of one tensor of one instance."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from kppstat.noise.model import NoiseModel

#: The stream of the normals that all tensors of an instance share: the last number that a tensor could have.
CHIP = (1 << 24) - 1


def instance_normals(noise: NoiseModel, seed: int, index: int, position: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return the standard normals that a noise model takes for one tensor of an instance.

    Parameters
    ----------
    noise : NoiseModel
    seed, index : int
        Name the instance.
    position : int
        Number of the tensor, ``Weight.position``.
    shape : tuple of int
        Of the tensor.

    Returns
    -------
    ndarray, float32, shape (noise.draws(shape),)
        The tensor's own; the last ``noise.common`` are the same for all tensors of the instance.

    Examples
    --------
    >>> from kppstat.noise import Correlated, Gaussian
    >>> chip = Correlated(Gaussian(0.1), chip=0.5)
    >>> one, other = (instance_normals(chip, 0, 0, position, (3,)) for position in (0, 1))
    >>> (one == other).tolist()
    [False, False, False, True]
    """
    normals = import_module("kppstat.noise.philox").normals
    z: np.ndarray = normals(seed, index, position, noise.draws(shape))
    if noise.common:
        z[-noise.common :] = normals(seed, index, CHIP, noise.common)
    return z
