"""Which device variation a user means."""

from __future__ import annotations

from kppstat.errors import SettingError
from kppstat.noise.gaussian import Gaussian
from kppstat.noise.variation import Variation


def variation_of(sigma: float | None, noise: Variation | None) -> Variation:
    """Return the device variation that is meant by `sigma`, for additive Gaussian variation, or by `noise`.

    Raises
    ------
    SettingError
        If both or none is given.

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
    return Variation(Gaussian(sigma))
