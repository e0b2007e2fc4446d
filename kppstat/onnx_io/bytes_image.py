"""The image of a model as bytes in memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import GraphProto, ModelProto

from kppstat.onnx_io.slots import Slot, slot_of
from kppstat.onnx_io.stored import tensor


class BytesImage:
    """A model below 2 GB, kept as pieces of bytes: the weights, and what lies between them.

    A protobuf message may come in parts, one after the other, which its reader merges (protobuf encoding guide, "Last
    One Wins" and embedded messages). So the model is written without its weights first, and then one part with one
    initializer for each weight; that part ends with the weight's values.
    """

    def __init__(self, skeleton: ModelProto, constants: Mapping[str, np.ndarray], weights: frozenset[str]) -> None:
        rest = ModelProto()
        rest.CopyFrom(skeleton)
        rest.graph.initializer.extend(tensor(name, v) for name, v in constants.items() if name not in weights)
        self._pieces: list[bytes] = [rest.SerializeToString()]
        self._slots: dict[str, Slot] = {}
        for name, values in constants.items():
            if name not in weights:
                continue
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
            slot = slot_of(self._slots, name)
            pieces[slot.place] = slot.stored(values).data
        return b"".join(pieces)
