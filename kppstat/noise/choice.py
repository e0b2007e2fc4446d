"""Which device variation a user means."""

from __future__ import annotations

import math

from kppstat.errors import SettingError
from kppstat.noise.gaussian import Gaussian
from kppstat.noise.variation import Variation

#: Weights that deviate by so many times their largest mean nothing, and overflow in what a network makes of them.
_LARGEST = 1e6


def variation_of(sigma: float | None, noise: Variation | None) -> Variation:
    """Return the device variation that is meant by `sigma`, for additive Gaussian variation, or by `noise`.

    Raises
    ------
    SettingError
        If both or none is given, or sigma is so large that weights may overflow.

    Examples
    --------
    >>> variation_of(0.1, None).default
    Gaussian(sigma=0.1)
    """
    if (sigma is None) == (noise is None):
        given = "both are given" if noise is not None else "no device variation is given"
        remedy = "Give --sigma for additive Gaussian variation, or --noise-file for any other"
        raise SettingError(given, where="--sigma, --noise-file", remedy=remedy)
    if noise is not None:
        return noise
    assert sigma is not None
    if _LARGEST < sigma < math.inf:  # infinity has a message of its own
        remedy = "sigma is a fraction of each tensor's max abs weight, such as 0.1"
        raise SettingError(f"sigma is {sigma:g}: weights would overflow", where="--sigma", remedy=remedy)
    return Variation(Gaussian(sigma))
