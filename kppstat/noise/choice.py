"""Which device variation a user means."""

from __future__ import annotations

from kppstat.errors import SettingError
from kppstat.noise.gaussian import Gaussian
from kppstat.noise.model import NoiseModel
from kppstat.noise.variation import Variation


def variation_of(sigma: float | None, noise: Variation | NoiseModel | None) -> Variation:
    """Return the device variation that is meant by `sigma`, for additive Gaussian variation, or by `noise`.

    A noise model by itself acts on all weights.

    Raises
    ------
    SettingError
        If both or none is given.
    NoiseError
        If sigma is out of range, or `noise` no noise model.

    Examples
    --------
    >>> variation_of(0.1, None).default
    Gaussian(sigma=0.1)
    >>> variation_of(None, Gaussian(0.1)) == variation_of(0.1, None)
    True
    """
    if (sigma is None) == (noise is None):
        given = "both are given" if noise is not None else "no device variation is given"
        remedy = "Give --sigma for additive Gaussian variation, or --noise-file for any other"
        raise SettingError(given, where="--sigma, --noise-file", remedy=remedy)
    if noise is None:
        return Variation(Gaussian(sigma))  # type: ignore[arg-type]
    return noise if isinstance(noise, Variation) else Variation(noise)
