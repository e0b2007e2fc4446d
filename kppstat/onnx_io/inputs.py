"""Random inputs of a size that a model accepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kppstat.graph import Port
from kppstat.onnx_io.session import Session

# Sizes tried for a free axis that is not the batch: of images, of windows of sound, of sequences.
SIZES = (32, 64, 224, 16, 128, 48, 28, 96, 256, 512, 1024, 8, 4, 1, 16000)
LARGEST = 1 << 24  # elements of one input


@dataclass(frozen=True, eq=False)
class Trial:
    """Random inputs, and what the model makes of them."""

    feeds: dict[str, np.ndarray]
    outputs: list[np.ndarray]


def trial(session: Session, ports: Sequence[Port], batch: int) -> Trial | None:
    """Return random inputs that the model runs on, or None if none of the sizes tried fits."""
    tried: set[tuple[tuple[int, ...], ...]] = set()
    for shapes in _candidates(ports, batch):
        if shapes in tried or any(np.prod(s, dtype=float) > LARGEST for s in shapes):
            continue
        tried.add(shapes)
        feeds = random(ports, shapes)
        if feeds is None:
            return None
        outputs = session.run(feeds)
        if outputs is not None:
            return Trial(feeds, outputs)
    return None


def _candidates(ports: Sequence[Port], batch: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Yield shapes for all inputs; axis 1 of a state [layers, batch, units] is a batch as well."""
    for state in (True, False):
        for size in SIZES:
            yield tuple(_shape(port, batch, size, state=state) for port in ports)


def _shape(port: Port, batch: int, size: int, *, state: bool) -> tuple[int, ...]:
    shape = port.shape or ()
    batch_axis = 1 if state and len(shape) == 3 and shape[0] is not None and shape[1] is None else 0
    return tuple(n if n is not None else batch if axis == batch_axis else size for axis, n in enumerate(shape))


def random(ports: Sequence[Port], shapes: Sequence[tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray] | None:
    """Return random inputs of these shapes, or None if a type is unknown. Integers are 0 or 1: valid as indices."""
    rng = np.random.default_rng(seed)
    feeds: dict[str, np.ndarray] = {}
    for port, shape in zip(ports, shapes, strict=True):
        if port.dtype == "object":
            feeds[port.name] = np.full(shape, "a", object)
        elif port.dtype in ("float32", "float64", "float16"):
            feeds[port.name] = rng.standard_normal(shape).astype(port.dtype)
        elif np.dtype(port.dtype if hasattr(np, port.dtype) else object).kind in "iub":
            feeds[port.name] = rng.integers(0, 2, shape).astype(port.dtype)
        else:
            return None
    return feeds


def again(feeds: Mapping[str, np.ndarray], names: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Return other inputs of the same shapes, in which only those named differ."""
    ports = [Port(name, values.dtype.name, values.shape) for name, values in feeds.items() if name in names]
    other = random(ports, [feeds[p.name].shape for p in ports], seed)
    return dict(feeds) | (other or {})


def joined(groups: Sequence[Mapping[str, np.ndarray]], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the inputs of several groups as one: those named are put one behind the other."""
    first = dict(groups[0])
    return first | {name: np.concatenate([g[name] for g in groups]) for name in names}
