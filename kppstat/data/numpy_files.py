"""NumPy files, read without pickle; large arrays are memory-mapped, inside uncompressed .npz files too."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from kppstat.errors import DataError
from kppstat.user_code import in_short

#: From this size on, arrays are mapped instead of read.
_MAPPED = 1 << 26


def read_npy(path: Path) -> np.ndarray:
    """Read or map one array.

    Raises
    ------
    DataError
        If the file is damaged or holds Python objects.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path, path.stat().st_size)
    except DataError:
        raise
    except Exception as problem:  # damaged headers fail in many ways
        raise _damaged(problem, str(path)) from None


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read or map all arrays by name.

    Raises
    ------
    DataError
        If the file is damaged or holds Python objects.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
            for info in archive.infolist():
                if not info.filename.endswith(".npy"):
                    continue
                name = info.filename.removesuffix(".npy")
                if info.compress_type == zipfile.ZIP_STORED and info.file_size >= _MAPPED:
                    start = _start_of(info, raw)
                    raw.seek(start)
                    arrays[name] = _read(raw, path, start + info.file_size, name)
                else:
                    with archive.open(info) as member:
                        arrays[name] = _read(member, None, info.file_size, name)
    except DataError as error:
        raise DataError(error.what, where=str(path), remedy=error.remedy) from None
    except Exception as problem:  # damaged archives fail in many ways
        raise _damaged(problem, str(path)) from None
    return arrays


def _start_of(info: zipfile.ZipInfo, raw: IO[bytes]) -> int:
    """Return where the bytes of a member begin: behind its local header, whose name and extra field vary in length."""
    raw.seek(info.header_offset)
    header = raw.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise ValueError("a member has no local header")
    return info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


def _read(file: IO[bytes], mapped: Path | None, end: int, name: str = "") -> np.ndarray:
    """Read an array at the place of `file`; map it if `mapped` is given and it is large."""
    start = file.tell()
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = npy.read_array_header_2_0(file)
    else:
        raise ValueError(f"format version {version}")
    label = f"array '{name}'" if name else "the array"
    if dtype.hasobject:
        raise DataError(
            f"{label} holds Python objects, which are never unpickled",
            where=str(mapped or ""),
            remedy="Save plain numbers: np.savez(file, x=np.asarray(x, np.float32), y=y)",
        )
    size = dtype.itemsize * int(np.prod([int(n) for n in shape], dtype=object))
    at = file.tell()
    if min(shape, default=0) < 0 or size > end - at:
        raise ValueError(f"{label} is cut off")
    if mapped is not None and size >= _MAPPED:
        order = "F" if fortran else "C"
        return np.memmap(mapped, dtype, "r", at, shape, order)  # type: ignore[call-overload]
    file.seek(start)
    return npy.read_array(file, allow_pickle=False)


def _damaged(problem: Exception, where: str) -> DataError:
    return DataError(f"the file is damaged or no NumPy file ({in_short(problem)})", where=where, remedy="Save it again")
