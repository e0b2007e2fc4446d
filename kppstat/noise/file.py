"""Noise files: a variation written down in TOML, and measurements read from CSV."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kppstat.errors import NoiseError
from kppstat.noise.registry import from_dict
from kppstat.noise.variation import Variation


def read(path: str | Path) -> Variation:
    """Read a variation from a TOML file.

    Parameters
    ----------
    path : path
        The file names a ``model`` and its parameters, and under ``[layers."PATTERN"]`` others for the weights whose
        names match; the first pattern wins. A model ``table`` may name a CSV ``file``, as seen from the TOML file.
        Under ``[verified]`` stands the noise left on weights programmed by write-verify, and under
        ``[verified.masks]`` which these are, by tensor: `kppstat verify` writes them.

    Returns
    -------
    Variation

    Raises
    ------
    NoiseError
        If the file cannot be read or parsed, or describes no noise model.

    Examples
    --------
    A file that gives all weights sigma 0.1 in NeFT's unit, but those of the first layer half as much::

        model = "gaussian"
        sigma = 0.1
        unit = "neft-8-2"

        [layers."conv1*"]
        model = "gaussian"
        sigma = 0.05
        unit = "neft-8-2"
    """
    where = f"noise file {path}"
    try:
        text = Path(path).read_bytes().decode()
    except OSError as error:
        raise NoiseError(f"cannot be read ({error.strerror})", where=where, remedy="Give a TOML file") from None
    except UnicodeDecodeError:
        raise NoiseError("is not text in UTF-8", where=where, remedy="Give a TOML file") from None
    try:
        description = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise NoiseError(f"is not TOML: {error}", where=where, remedy="Mend the line named") from None
    except (RecursionError, ValueError) as error:  # nested too deeply, or an integer of thousands of digits
        raise NoiseError(f"is beyond reason: {error}", where=where, remedy="Write it more plainly") from None
    try:
        return from_dict(_with_columns(description, Path(path).parent), where=where)
    except RecursionError:
        raise NoiseError("is nested too deeply", where=where, remedy="Write it more plainly") from None


def _with_columns(value: Any, folder: Path) -> Any:
    """Replace, in tables of ``model = "table"``, the key ``file`` by the columns of that CSV file."""
    if isinstance(value, list):
        return [_with_columns(v, folder) for v in value]
    if not isinstance(value, dict):
        return value
    value = {k: _with_columns(v, folder) for k, v in value.items()}
    if value.get("model") == "table" and isinstance(value.get("file"), str):
        value.update(read_columns(folder / value.pop("file")))
    return value


def read_columns(path: str | Path) -> dict[str, list[float]]:
    """Read measurements from a CSV file.

    Parameters
    ----------
    path : path
        A first line that names the columns level, mean and sd, in any order and among others, then a line of numbers
        for each level.

    Returns
    -------
    dict
        ``levels``, ``means`` and ``sds``: the parameters of `kppstat.noise.Table`.

    Raises
    ------
    NoiseError
        If the file cannot be read or lacks a column or a number.
    """
    where = f"table {path}"
    try:
        lines = Path(path).read_bytes().decode("utf-8-sig").splitlines()
    except OSError as error:
        raise NoiseError(f"cannot be read ({error.strerror})", where=where, remedy="Give a CSV file") from None
    except UnicodeDecodeError:
        raise NoiseError("is not text in UTF-8", where=where, remedy="Give a CSV file") from None
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise NoiseError(f"is not CSV: {error}", where=where, remedy="Give a CSV file") from None
    names = [name.lower() for name in rows[0]] if rows else []
    columns: dict[str, list[float]] = {}
    for name in ("level", "mean", "sd"):
        if name not in names:
            remedy = "Begin it with a line level,mean,sd"
            raise NoiseError(f"has no column {name}", where=where, remedy=remedy)
        at = names.index(name)
        columns[f"{name}s"] = []
        for number, row in enumerate(rows[1:], start=2):
            try:
                columns[f"{name}s"].append(float(row[at]))
            except (IndexError, ValueError):
                cell = repr(row[at]) if at < len(row) else "nothing"
                what = f"row {number} has {cell} for {name}"
                raise NoiseError(what, where=where, remedy="Give a number") from None
    return columns


def write(variation: Variation, path: str | Path) -> None:
    """Write a variation to a TOML file that `read` reads.

    Parameters
    ----------
    variation : Variation
    path : path

    Raises
    ------
    NoiseError
        If the file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from kppstat.noise import Gaussian
    >>> with TemporaryDirectory() as folder:
    ...     write(Variation(Gaussian(0.1), {"conv1*": Gaussian(0.05)}), f"{folder}/noise.toml")
    ...     read(f"{folder}/noise.toml").of("conv1.weight")
    Gaussian(sigma=0.05)
    """
    description = variation.to_dict()
    layers, verified = description.pop("layers"), description.pop("verified", {})
    masks = verified.pop("masks", {})
    tables = [("", description), *((f"layers.{_key(pattern)}", table) for pattern, table in layers.items())]
    tables += [("verified", verified)] * bool(verified) + [("verified.masks", masks)] * bool(verified)
    lines = [line for name, table in tables for line in _table(name, table)]
    try:
        Path(path).write_text("\n".join(lines) + "\n", "utf-8")
    except OSError as error:
        raise NoiseError(f"cannot be written ({error.strerror})", where=f"noise file {path}") from None


def _table(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    if name:
        yield f"\n[{name}]"
    for key, value in table.items():
        yield f"{_key(key)} = {_toml(value)}"


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("_", "").isalnum() else _toml(name)


def _toml(value: Any) -> str:
    """Return a value in TOML; strings are written as in JSON, but for DEL, which TOML wants escaped."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)  # inf and nan as TOML spells them
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
