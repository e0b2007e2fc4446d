"""IDX files, the format of MNIST and Fashion-MNIST, plain or compressed by gzip."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np

from kppstat.errors import DataError
from kppstat.user_code import in_short

#: Codes of the third byte (Y. LeCun, "The MNIST database of handwritten digits", section "The IDX file format").
_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_GZIP = b"\x1f\x8b"


def is_idx(path: Path) -> bool:
    """Say whether a file begins like an IDX file."""
    try:
        start = _start(path, 4)
    except (OSError, EOFError, ValueError):
        return False
    return len(start) == 4 and start[:2] == b"\0\0" and start[2] in _DTYPES


def labels_beside(path: Path) -> Path | None:
    """Return the labels file that belongs to an images file by the usual names, if it is there."""
    for images, labels in (("images-idx3", "labels-idx1"), ("images.idx3", "labels.idx1")):
        partner = path.with_name(path.name.replace(images, labels))
        if partner != path and partner.is_file():
            return partner
    return None


def read(path: Path) -> np.ndarray:
    """Read one array.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    try:
        with path.open("rb") as file:
            raw = file.read()
        raw = gzip.decompress(raw) if raw[:2] == _GZIP else raw
    except Exception as problem:  # gzip fails in many ways
        raise DataError(
            f"the file is damaged ({in_short(problem)})", where=str(path), remedy="Download it again"
        ) from None
    dtype, rank = np.dtype(_DTYPES[raw[2]]), raw[3]
    start = 4 + 4 * rank
    shape = tuple(int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank))
    if len(raw) != start + dtype.itemsize * math.prod(shape) or not rank:
        raise DataError(
            f"the file has {len(raw)} bytes, which is not what its header says (shape {shape})",
            where=str(path),
            remedy="Download it again",
        )
    return np.frombuffer(raw, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _start(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        start = file.read(count)
    if start[:2] != _GZIP:
        return start
    with gzip.open(path) as unpacked:
        return unpacked.read(count)
