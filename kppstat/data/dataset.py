"""What `kppstat.data.load` returns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

#: Bytes looked at at a time in arrays that may be larger than memory.
BLOCK = 1 << 26
_TOGETHER = 1024  # inputs that are hashed at a time


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and targets, checked against a model.

    Attributes
    ----------
    inputs : mapping of str to ndarray
        By name of the model's inputs; the first axis counts the inputs, except where `whole` says otherwise. Large
        arrays are memory-mapped and keep the dtype of their file: feed what `batch` returns.
    dtypes : mapping of str to dtype
        What the model takes.
    whole : frozenset of str
        Inputs that are the same for all: settings, initial states.
    targets : ndarray or None
        None where the data has none: then the clean model's own answers take their place.
    source : str
        Where it came from.
    sha256 : str
        Hash of the content: the same arrays give the same hash from any kind of file.
    notes : tuple of str
        What was done to the data, one sentence each.
    """

    inputs: Mapping[str, np.ndarray]
    dtypes: Mapping[str, np.dtype]
    whole: frozenset[str]
    targets: np.ndarray | None
    source: str
    sha256: str
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return next(len(a) for name, a in self.inputs.items() if name not in self.whole)

    def batch(self, rows: slice | np.ndarray) -> dict[str, np.ndarray]:
        """Return the inputs of these numbers as the model takes them."""
        return {
            # Arrays mapped from inside a .npz file may begin at any byte.
            name: np.require(array if name in self.whole else array[rows], self.dtypes[name], ["C", "A"])
            for name, array in self.inputs.items()
        }

    def hashes(self) -> Iterator[bytes]:
        """Yield the SHA-256 of each input as the model takes it: the same input gives the same one in any data."""
        names = [name for name in self.inputs if name not in self.whole]
        for begin in range(0, len(self), _TOGETHER):
            batch = self.batch(slice(begin, begin + _TOGETHER))
            for i in range(len(batch[names[0]])):
                yield hashlib.sha256(b"".join(batch[name][i].tobytes() for name in names)).digest()

    def part(self, rows: slice | np.ndarray) -> Dataset:
        """Return the data of the inputs of these numbers alone."""
        inputs = {name: array if name in self.whole else array[rows] for name, array in self.inputs.items()}
        targets = None if self.targets is None else self.targets[rows]
        some = replace(self, inputs=inputs, targets=targets, sha256=content_hash(inputs, targets))
        return replace(some, source=f"{len(some)} inputs of {self.source}")


def content_hash(inputs: Mapping[str, np.ndarray], targets: np.ndarray | None) -> str:
    """Return the SHA-256 of names, dtypes, shapes and values."""
    digest = hashlib.sha256()
    for name, array in [*inputs.items(), *([] if targets is None else [("targets", targets)])]:
        little = array.dtype.newbyteorder("<")
        digest.update(f"{name}\0{little.str}\0{array.shape}\0".encode())
        for part in blocks(array):
            digest.update(np.ascontiguousarray(part, little).data.cast("B") if part.size else b"")
    return digest.hexdigest()


def blocks(array: np.ndarray) -> list[np.ndarray]:
    """Return views of an array, a bounded number of bytes each."""
    if not array.ndim:
        return [array.reshape(1)]
    step = max(1, BLOCK // max(1, array[:1].nbytes))
    return [array[i : i + step] for i in range(0, len(array), step)]
