"""Which tensors are attacked."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from kppstat.errors import ModelError, SettingError
from kppstat.onnx_io import Model
from kppstat.worst_case.region import Region


def chosen(model: Model, layers: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the weights that the patterns name, all if there are none.

    Raises
    ------
    SettingError
        If a pattern names none.
    """
    names = [w.name for w in model.weights]
    if not names:
        raise ModelError("no tensor carries device variation", where=str(model.path), remedy="See: kppstat check MODEL")
    if layers is None:
        return tuple(names)
    picked: set[str] = set()
    for pattern in [p.strip() for p in layers.split(",")] if isinstance(layers, str) else layers:
        found = {n for n in names if n == pattern or fnmatchcase(n, pattern)}
        if not found:
            listed = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
            raise SettingError(f"no weight is called '{pattern}'", where="--layers", remedy=f"There are {listed}")
        picked |= found
    return tuple(n for n in names if n in picked)


def deviating(model: Model, names: tuple[str, ...], region: Region) -> tuple[str, ...]:
    """Return the tensors with weights that can deviate in the region: under ``density`` some may have no variation.

    Raises
    ------
    SettingError
        If there are none.
    NoiseError
        If a pattern of the variation matches no weight.
    """
    if region.variation is None:
        return names
    region.variation.require_matches(w.name for w in model.weights)
    moving = tuple(n for n in names if region.unit(n, model.graph.constants[n]).any())
    if not moving:
        what = "no weight deviates, so there is no density"
        raise SettingError(what, where="--norm density", remedy="Give a sigma above 0")
    return moving
