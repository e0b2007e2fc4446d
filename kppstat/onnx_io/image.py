"""The model as bytes in which weights can be replaced without serialising it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto

from kppstat.errors import ModelError
from kppstat.onnx_io.stored import tensor


@dataclass(frozen=True, eq=False)
class Slot:
    """Where a weight lies: its name, stored type and shape; `index` is its place among the pieces."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    index: int

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Return the values as the file stores them."""
        if values.shape != self.shape:
            raise ModelError(f"weight '{self.name}' has shape {self.shape}, not {values.shape}")
        return np.ascontiguousarray(values, self.dtype)


class Image:
    """A model below 2 GB, kept as pieces of bytes: the weights, and what lies between them.

    Protobuf messages may be cut: a reader merges the parts of a message that occur one after the other. So the model is
    written without its weights first, and then one part with one initializer for each weight, which ends with its values.
    """

    def __init__(self, rest: ModelProto, weights: Mapping[str, np.ndarray]) -> None:
        self._pieces: list[bytes] = [rest.SerializeToString()]
        self._slots: dict[str, Slot] = {}
        for name, values in weights.items():
            part = ModelProto(graph=GraphProto(initializer=[tensor(name, values)])).SerializeToString()
            body = values.tobytes()
            if not part.endswith(body):
                raise AssertionError("onnx no longer writes raw_data last")
            self._pieces[-1] += part[: len(part) - len(body)]
            self._slots[name] = Slot(name, values.dtype, values.shape, len(self._pieces))
            self._pieces += [body, b""]

    def patched(self, weights: Mapping[str, np.ndarray]) -> bytes:
        """Return the model with these weights in place of the intended ones."""
        pieces: list[bytes | memoryview] = list(self._pieces)
        for name, values in weights.items():
            slot = _slot(self._slots, name)
            pieces[slot.index] = memoryview(slot.stored(values).view(np.uint8).reshape(-1))
        return b"".join(pieces)


def image_of(skeleton: ModelProto, constants: Mapping[str, np.ndarray], weights: Sequence[str]) -> Image:
    """Return the image of a skeleton with its constants, of which those named as `weights` can be replaced."""
    rest = ModelProto()
    rest.CopyFrom(skeleton)
    noisy = set(weights)
    rest.graph.initializer.extend(tensor(name, values) for name, values in constants.items() if name not in noisy)
    return Image(rest, {name: constants[name] for name in weights})


def _slot(slots: Mapping[str, Slot], name: str) -> Slot:
    try:
        return slots[name]
    except KeyError:
        raise ModelError(f"the model has no weight '{name}'", remedy=f"Its weights are {names(list(slots))}") from None


def names(items: Sequence[str], most: int = 5) -> str:
    """Return a short list of names for a message."""
    return ", ".join(f"'{n}'" for n in items[:most]) + (" ..." if len(items) > most else "")
