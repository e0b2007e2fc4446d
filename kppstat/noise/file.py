"""Noise files: a variation written down in TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path

from kppstat.errors import NoiseError
from kppstat.noise.model import Variation
from kppstat.noise.registry import from_dict


def read(path: str | Path) -> Variation:
    """Read a variation from a TOML file.

    Parameters
    ----------
    path : path
        The file names a ``model`` and its parameters, and under ``[layers."PATTERN"]`` others for the weights whose
        names match; the first pattern wins.

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
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = str(error) or "nested too deeply"
        raise NoiseError(f"is not TOML: {reason}", where=where, remedy="Mend the line named") from None
    return from_dict(description, where=where)
