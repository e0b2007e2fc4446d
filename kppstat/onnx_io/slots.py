"""The places in an image where weights can be replaced."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kppstat.errors import ModelError


@dataclass(frozen=True, eq=False)
class Slot:
    """Where a weight lies: `place` is the number of a piece of bytes, or an offset in a file."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    place: int

    def part(self) -> slice:
        """Return the bytes of the file that hold the weight."""
        return slice(self.place, self.place + math.prod(self.shape) * self.dtype.itemsize)

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Return the values as bytes, in the type that the model stores them in."""
        if values.shape != self.shape:
            raise ModelError(f"weight '{self.name}' has shape {self.shape}, not {values.shape}")
        return np.ascontiguousarray(values, self.dtype).view(np.uint8).reshape(-1)


def slot_of(slots: Mapping[str, Slot], name: str) -> Slot:
    """Return the slot of a weight, or raise `ModelError` that names those there are."""
    try:
        return slots[name]
    except KeyError:
        known = ", ".join(f"'{n}'" for n in list(slots)[:5]) + (" ..." if len(slots) > 5 else "")
        raise ModelError(f"the model has no weight '{name}'", remedy=f"Its weights are {known}") from None
