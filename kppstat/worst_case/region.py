"""Where the weights may go: deviations in units of their own, and how far they may reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kppstat.errors import SettingError
from kppstat.noise import NoiseModel, Selective, Variation

Norm = Literal["linf", "l2", "density"]
_PROBES = (-30.0, -1.0, 0.0, 30.0)  # standard normals at which a law is seen to be Gaussian
_ROUNDING = 1e-12  # of a root mean square in float64


@dataclass(frozen=True)
class Region:
    """The weights that lie within a bound of the intended ones.

    With ``dw = (W' - W) / max|W|`` for each tensor, ``linf`` allows ``max|dw| <= bound`` (LWC, arXiv 2207.07626,
    the write-verify guarantee) and ``l2`` allows ``sqrt(mean(dw**2)) <= bound`` for each tensor.

    ``density`` allows ``sqrt(mean(z**2)) <= bound`` over all tensors together, where z are the deviations in standard
    deviations of the device variation: the chips whose density is at least ``exp(-n bound**2 / 2)`` times the highest,
    that of the intended weights, for n weights. A random chip has about 1, half of all chips less.

    Attributes
    ----------
    bound : float
        In units of max|W| of the tensor; for ``density`` in standard deviations.
    norm : {"linf", "l2", "density"}
    variation : Variation, optional
        The device variation of ``density``: Gaussian deviations of each weight.

    Raises
    ------
    SettingError
        If the bound is negative or not finite, the norm unknown, or a variation is missing or has no use.
    """

    bound: float
    norm: Norm = "linf"
    variation: Variation | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bound) and self.bound >= 0):
            raise SettingError(
                f"bound is {self.bound}",
                where="--bound",
                remedy="Give the largest deviation as a fraction of max|W|, such as 0.03",
            )
        if self.norm not in ("linf", "l2", "density"):
            remedy = "Take linf, l2 or density"
            raise SettingError(f"there is no norm '{self.norm}'", where="--norm", remedy=remedy)
        if (self.norm == "density") == (self.variation is None):
            what = "which device variation?" if self.variation is None else "it knows no device variation"
            raise SettingError(what, where=f"--norm {self.norm}", remedy="Give --norm density with --sigma")

    def unit(self, name: str, intended: np.ndarray) -> np.ndarray:
        """Return the unit of the deviation of a tensor, float64: max|W|, or the standard deviation of each weight.

        Raises
        ------
        SettingError
            If deviations of the tensor are not Gaussian.

        Examples
        --------
        >>> from kppstat.noise import Gaussian, Proportional
        >>> w = np.array([2.0, -1.0])
        >>> Region(0.1).unit("w", w), Region(1, "density", Variation(Gaussian(0.1))).unit("w", w)
        (array(2.), array([0.2, 0.2]))
        """
        wide = intended.astype(np.float64)
        if self.variation is None:
            return np.asarray(largest(wide))
        sd = spread(self.variation.of(name), wide)
        if sd is None:
            law = self.variation.of(name).name
            raise SettingError(
                f"the deviations of {name} have no normal density under '{law}'",
                where="--norm density",
                remedy="Take laws that add Gaussian deviations to weights, or --norm linf",
            )
        return sd

    def reach(self, deviations: Mapping[str, np.ndarray]) -> float:
        """Return how far deviations of tensors, in their units, reach together.

        Examples
        --------
        >>> deviations = {"a": np.array([0.3, -0.4, 0.0, 0.0]), "b": np.zeros(4)}
        >>> [Region(0.1, norm).reach(deviations) for norm in ("linf", "l2")]
        [0.4, 0.25]
        """
        wide = [part.astype(np.float64).reshape(-1) for part in deviations.values() if part.size]
        if self.norm == "density":
            wide = [np.concatenate(wide)] if wide else []
        sizes = (abs(w).max() if self.norm == "linf" else math.sqrt(np.square(w).mean()) for w in wide)
        return float(max(sizes, default=0.0))

    def programmed(
        self, intended: Mapping[str, np.ndarray], deviations: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return the weights to be stored: in the dtype of `intended`, inside the region to the last bit.

        Rounding to the dtype of the file can step over the bound; such weights move back towards the intended ones.

        Parameters
        ----------
        intended : mapping of str to ndarray
            Weights of at least the tensors in `deviations`.
        deviations : mapping of str to ndarray
            In their units.

        Examples
        --------
        >>> w = np.array([1.0, -0.3], np.float16)
        >>> out = Region(0.1).programmed({"w": w}, {"w": np.array([0.5, -0.1])})["w"]
        >>> out.dtype.name, bool((abs(out.astype(float) - w.astype(float)) <= 0.1).all())
        ('float16', True)
        """
        finite = {n: np.where(np.isfinite(d), d, 0.0).astype(np.float64) for n, d in deviations.items()}
        if self.norm == "density":
            return self._shrunk(intended, finite)
        one_by_one = self._clipped if self.norm == "linf" else self._shrunk
        return {name: one_by_one(intended, {name: part})[name] for name, part in finite.items()}

    def deviations(self, intended: Mapping[str, np.ndarray], stored: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the deviations of stored weights in their units, float64; 0 where the unit is."""
        out = {}
        for name, values in stored.items():
            unit = self.unit(name, intended[name])
            moved = values.astype(np.float64) - intended[name].astype(np.float64)
            out[name] = np.divide(moved, unit, out=np.zeros(moved.shape), where=unit > 0)
        return out

    def _clipped(self, intended: Mapping[str, np.ndarray], parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the weights with each deviation cut off at the bound."""
        out = {}
        for name, part in parts.items():
            w, unit = intended[name], self.unit(name, intended[name])
            centre = w.astype(np.float64)
            values = (centre + unit * part.clip(-self.bound, self.bound)).astype(w.dtype)
            while (over := abs(values.astype(np.float64) - centre) > self.bound * unit).any():
                values[over] = np.nextafter(values[over], w[over])
            out[name] = values
        return out

    def _shrunk(self, intended: Mapping[str, np.ndarray], parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the weights with all deviations scaled down until they are inside together."""
        units = {name: self.unit(name, intended[name]) for name in parts}
        first = min(1.0, self.bound / max(self.reach(parts), 1e-300))
        shrink = 1.0
        while True:
            out = {
                n: (intended[n].astype(np.float64) + shrink * first * units[n] * part).astype(intended[n].dtype)
                for n, part in parts.items()
            }
            if self.reach(self.deviations(intended, out)) <= self.bound * (1 - _ROUNDING):
                return out
            shrink *= 0.999 if shrink > 0.9 else 0.5


def spread(law: NoiseModel, w: np.ndarray) -> np.ndarray | None:
    """Return the standard deviation of each weight where a law adds a normal deviation to each; None elsewhere."""
    if isinstance(law, Selective):
        one, other = spread(law.verified, w), spread(law.noise, w)
        return None if one is None or other is None else np.where(law.mask.array, one, other)
    if law.draws(w.shape) != w.size or not law.independent:
        return None
    sd = law.weights(w, np.ones(w.size)) - w
    for z in _PROBES:
        if not np.allclose(law.weights(w, np.full(w.size, z)) - w, z * sd, rtol=1e-6, atol=1e-12 * largest(w)):
            return None
    return np.asarray(abs(sd))


def largest(values: np.ndarray) -> float:
    """Return max|W| of a tensor, the unit of its deviation."""
    return float(abs(values.astype(np.float64)).max()) if values.size else 0.0
