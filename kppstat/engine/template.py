"""The model as onnxruntime has optimised it, with places for the weights.

Most of the time that a session takes to build goes into optimising the graph anew, although only weights have changed.
So the graph is optimised once, and the programmed weights are written straight into the result. Where onnxruntime puts
each element, and what it multiplies it with (batch normalisation folded into a convolution), is found by optimising
models with known weights. The map is used only if, for random weights, it gives all nodes and constants of the
optimised model byte for byte, and the sessions agree bit for bit; or else sessions are built from the model as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kppstat.engine.session import build, optimise
from kppstat.engine.wire import computation, initializers
from kppstat.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from onnxruntime import InferenceSession

#: ONNX data types of weights that can be mapped.
_DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype(np.float32), 11: np.dtype(np.float64)}
#: Above this many bytes, finding the map costs more memory and time than it saves.
_LARGEST = 1 << 28
#: float32 counts exactly up to here, so longer tensors are numbered in two digits.
_DIGIT = 1 << 12


class Patchable(Protocol):
    """What `kppstat.onnx_io.Model.image` returns."""

    def patched(self, weights: Mapping[str, np.ndarray]) -> bytes | Path:
        """Return the model with these weights, or its file."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a weight goes: into piece `piece`, element by element from `order` (None: in order) times `factor`.

    `padding` are elements that the optimiser adds, which are 0.
    """

    weight: str
    piece: int
    order: np.ndarray | None
    factor: np.ndarray | None
    padding: np.ndarray | None

    def filled(self, values: np.ndarray) -> memoryview:
        """Return the bytes of the piece for these weights."""
        flat = np.ascontiguousarray(values).reshape(-1)
        if self.order is not None:
            flat = flat.take(self.order, mode="clip")
        if self.factor is not None:
            flat = flat * self.factor
        if self.padding is not None:
            flat[self.padding] = 0  # taken through `order` before, so this is a copy
        return flat.view(np.uint8).data


class Template:
    """Makes models with given weights.

    Attributes
    ----------
    optimised : bool
        Whether they are optimised already.
    """

    def __init__(self, image: Patchable, pieces: list[bytes], places: list[Place]) -> None:
        self._image, self._pieces, self._places = image, pieces, places
        self.optimised = bool(pieces)

    @classmethod
    def of(
        cls,
        image: Patchable,
        intended: Mapping[str, np.ndarray],
        agree: Callable[[InferenceSession, InferenceSession], bool],
    ) -> Template:
        """Return the quickest template that gives the same bits as building each session from the model itself.

        Parameters
        ----------
        image : Image
        intended : mapping of str to ndarray
            The intended weights.
        agree : callable
            Says whether two sessions give the same bits.
        """
        plain = cls(image, [], [])
        model = image.patched({})
        if not isinstance(model, bytes) or len(model) > _LARGEST:
            return plain
        try:
            mapped = _mapped(image, intended)
            if mapped is None:
                return plain
            template = cls(image, *mapped)
            rng = np.random.default_rng(0)
            for _ in range(2):
                random = {name: _like(w, rng.standard_normal(w.shape)) for name, w in intended.items()}
                direct = image.patched(random)
                patched = template.patched(random)
                assert isinstance(direct, bytes)
                assert isinstance(patched, bytes)
                same = computation(patched) == computation(optimise(direct))
                if not (same and agree(build(direct), build(patched, optimised=True))):
                    return plain
        except (ModelError, ValueError, IndexError, OSError):
            # Weights that no real model has may be more than the optimiser can take.
            return plain
        return template

    def patched(self, weights: Mapping[str, np.ndarray]) -> bytes | Path:
        """Return the model with these weights."""
        if not self.optimised:
            return self._image.patched(weights)
        pieces: list[bytes | memoryview] = list(self._pieces)
        for place in self._places:
            pieces[place.piece] = place.filled(weights[place.weight])
        return b"".join(pieces)


def _mapped(image: Patchable, intended: Mapping[str, np.ndarray]) -> tuple[list[bytes], list[Place]] | None:
    """Find where each weight goes by giving all elements known values: which tensor, which element, which factor."""
    if any(w.dtype not in _DTYPES.values() for w in intended.values()):
        return None

    def traced(value: Callable[[int, np.ndarray], np.ndarray]) -> bytes:
        model = image.patched({name: _like(w, value(i, w)) for i, (name, w) in enumerate(intended.items())})
        assert isinstance(model, bytes)
        return optimise(model)

    def number(w: np.ndarray) -> np.ndarray:
        return np.arange(w.size).reshape(w.shape)

    ones = traced(lambda i, w: np.ones(w.shape))
    tensors = traced(lambda i, w: np.full(w.shape, i + 2))
    low = traced(lambda i, w: number(w) % _DIGIT + 2)
    high = traced(lambda i, w: number(w) // _DIGIT + 2)
    others = [{e.name: t[e.start : e.stop] for e in initializers(t)} for t in (tensors, low, high)]
    names = list(intended)
    pieces, places, end = [], [], 0
    for entry in initializers(ones):
        dtype = _DTYPES.get(entry.kind)
        raws = [ones[entry.start : entry.stop], *(values.get(entry.name, b"") for values in others)]
        if dtype is None or raws[0] == raws[1]:
            continue
        factor, *codes = (np.frombuffer(raw, dtype).astype(np.float64) for raw in raws)
        if any(code.size != factor.size or not np.isfinite(code).all() for code in [factor, *codes]):
            return None
        used = factor != 0
        divisor = np.where(used, factor, 1)
        which, lows, highs = (np.rint(code / divisor).astype(np.int64) - 2 for code in codes)
        if not used.any() or (which[used] != which[used][0]).any() or not 0 <= which[used][0] < len(names):
            return None
        name = names[int(which[used][0])]
        order = np.where(used, highs * _DIGIT + lows, 0)
        size = intended[name].size
        if order.min() < 0 or order.max() >= size:
            return None
        in_order = used.all() and order.size == size and bool((order == np.arange(size)).all())
        pieces += [ones[end : entry.start], b""]
        end = entry.stop
        scaled = not (factor[used] == 1).all()
        places.append(
            Place(
                name,
                len(pieces) - 1,
                order=None if in_order else order,
                factor=factor.astype(dtype) if scaled else None,
                padding=None if used.all() else np.flatnonzero(~used),
            )
        )
    return ([*pieces, ones[end:]], places) if places else None


def _like(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    return values.astype(weight.dtype)
