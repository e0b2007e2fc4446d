"""Selective write-verify: the weights that a mask names follow one noise model, the others another."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from kppstat.array import like, namespace
from kppstat.errors import NoiseError
from kppstat.noise.model import NoiseModel


@dataclass(frozen=True)
class Mask:
    """Some weights of a tensor, one bit each.

    Attributes
    ----------
    shape : tuple of int
        Of the tensor.
    bits : bytes
        In row-major order, the first weight in the highest bit of the first byte.

    Examples
    --------
    >>> mask = Mask.of(np.array([[True, False, True]]))
    >>> mask.array.tolist(), Mask.from_text(mask.to_text()) == mask
    ([[True, False, True]], True)
    """

    shape: tuple[int, ...]
    bits: bytes

    @classmethod
    def of(cls, array: np.ndarray) -> Mask:
        """Return the mask of the elements that are true."""
        return cls(array.shape, np.packbits(array.astype(bool).reshape(-1)).tobytes())

    @classmethod
    def from_text(cls, text: Any, *, where: str = "mask") -> Mask:
        """Return the mask that `to_text` wrote.

        Raises
        ------
        NoiseError
            If it is no such text.
        """
        try:
            sizes, _, packed = text.partition(":")
            shape = tuple(int(size) for size in sizes.split("x")) if sizes else ()
            bits = zlib.decompress(base64.b64decode(packed, validate=True))
            if min(shape, default=0) >= 0 and len(bits) == -(-math.prod(shape) // 8):
                return cls(shape, bits)
        except (AttributeError, ValueError, binascii.Error, zlib.error):
            pass
        raise NoiseError("this is no mask", where=where, remedy="Let kppstat verify write it") from None

    def to_text(self) -> str:
        """Return the shape, such as ``16x1x5x5``, a colon, and the compressed bits in base 64."""
        return "x".join(map(str, self.shape)) + ":" + base64.b64encode(zlib.compress(self.bits, 9)).decode()

    @cached_property
    def array(self) -> np.ndarray:
        """The mask as an array of bool."""
        bits = np.frombuffer(self.bits, np.uint8)
        return np.unpackbits(bits, count=math.prod(self.shape)).astype(bool).reshape(self.shape)


@dataclass(frozen=True)
class Selective(NoiseModel):
    """One noise model for the weights of a tensor that are verified, and one for the others.

    Parameters
    ----------
    noise : NoiseModel
        Of the weights that are not verified.
    verified : NoiseModel
        Of those that are.
    mask : Mask
        Which are.

    Examples
    --------
    >>> from kppstat.noise import Gaussian
    >>> law = Selective(Gaussian(0.1), Gaussian(0.0), Mask.of(np.array([True, False])))
    >>> law.weights(np.array([1.0, -1.0]), np.array([1.0, 1.0, 5.0, 5.0])).tolist()
    [1.0, -0.9]
    """

    name: ClassVar[str] = "selective"
    formula: ClassVar[str] = "T_verified(w, z) where the mask is set, T(w, z) elsewhere"
    unit: ClassVar[str] = "those of its two noise models; max|W| is that of the whole tensor"
    source: ClassVar[str] = "selective write-verify: SWIM, arXiv 2202.08395"

    noise: NoiseModel
    verified: NoiseModel
    mask: Mask

    @property
    def independent(self) -> bool:
        """Whether both noise models are."""
        return self.noise.independent and self.verified.independent

    @property
    def common(self) -> int:
        """How many normals the chip has in common: those that either of the two asks for."""
        return max(self.noise.common, self.verified.common)

    def draws(self, shape: tuple[int, ...]) -> int:
        """Return how many standard normals a tensor takes: those of each noise model, then the common ones."""
        return self._own(self.noise, shape) + self._own(self.verified, shape) + self.common

    def weights(self, w: Any, z: Any) -> Any:
        """Return the programmed weights; see `NoiseModel.weights`."""
        xp, shape = namespace(w), tuple(w.shape)
        kept = self._kept(w)
        begin, end = self._own(self.noise, shape), self._own(self.noise, shape) + self._own(self.verified, shape)

        def normals(own: Any, law: NoiseModel) -> Any:
            return xp.concat([own, z[end : end + law.common]]) if law.common else own

        others = self.noise.weights(w, normals(z[:begin], self.noise))
        return xp.where(kept, self.verified.weights(w, normals(z[begin:end], self.verified)), others)

    def moments(self, w: Any) -> tuple[Any, Any]:
        """Return the mean and the variance of each weight by its own noise model."""
        xp, kept = namespace(w), self._kept(w)
        pairs = zip(self.verified.moments(w), self.noise.moments(w), strict=True)
        mean, variance = (xp.where(kept, a, b) for a, b in pairs)
        return mean, variance

    def to_dict(self) -> dict[str, Any]:
        """Return the two noise models, and in place of the mask how many weights it holds."""
        share = float(self.mask.array.mean()) if self.mask.array.size else 0.0
        laws = {"noise": self.noise.to_dict(), "verified": self.verified.to_dict()}
        return {"model": self.name, **laws, "share verified": share}

    @staticmethod
    def _own(law: NoiseModel, shape: tuple[int, ...]) -> int:
        return law.draws(shape) - law.common

    def _kept(self, w: Any) -> Any:
        if tuple(w.shape) != self.mask.shape:
            what = f"the mask of verified weights has shape {self.mask.shape} and the tensor {tuple(w.shape)}"
            raise NoiseError(what, remedy="Select the weights of this model anew: kppstat verify")
        return like(self.mask.array, w)


@dataclass(frozen=True)
class Verified:
    """Which weights of a network are programmed by write-verify, and what noise is left on them.

    Parameters
    ----------
    noise : NoiseModel
        Of a verified weight.
    masks : mapping of str to Mask
        By name of the tensor; tensors without one hold no verified weight.
    """

    noise: NoiseModel
    masks: Mapping[str, Mask]

    def on(self, weight_name: str, noise: NoiseModel) -> NoiseModel:
        """Return the noise model of a tensor whose weights follow `noise` where they are not verified."""
        return Selective(noise, self.noise, self.masks[weight_name]) if weight_name in self.masks else noise

    def to_dict(self) -> dict[str, Any]:
        """Return the noise model, and the masks as text."""
        return {**self.noise.to_dict(), "masks": {name: mask.to_text() for name, mask in self.masks.items()}}
