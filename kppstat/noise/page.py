"""The page of a noise model: what it is, its parameters, and its law as numbers for a figure."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from kppstat.noise.model import NoiseModel
from kppstat.noise.parameters import unknown
from kppstat.noise.registry import model_from_dict, models

#: Quantiles of the programmed weight that a figure shows.
QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)


@dataclass(frozen=True, eq=False)
class Page:
    """What there is to say about a noise model.

    Attributes
    ----------
    name, summary, formula, unit, source : str
    parameters : tuple of (name, meaning, default)
        The default is None where one must be given.
    shown : mapping
        The parameters that the numbers below belong to, as a noise file would give them.
    intended : ndarray, shape (levels,)
        Intended weights, from -1 to 1 in units of max|W|.
    mean, sd : ndarray, shape (levels,)
        Moments of the programmed weight by the model's own formulas.
    quantiles : ndarray, shape (len(QUANTILES), levels)
        Of the programmed weight, by sampling.
    """

    name: str
    summary: str
    formula: str
    unit: str
    source: str
    parameters: tuple[tuple[str, str, Any], ...]
    shown: Mapping[str, Any]
    intended: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    quantiles: np.ndarray


def devices() -> dict[str, str]:
    """Return the devices whose published numbers a noise model knows, each with the name of that model.

    Of a device that several know, as its programming and its retention, it is the last by name: programming.

    Examples
    --------
    >>> devices()["RRAM1"]
    'four-level'
    """
    found: dict[str, str] = {}
    for model, cls in models().items():
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            if field.name == "device":
                found |= {device: model for device in field.metadata.get("names", ())}
    return found


def page(name: str | NoiseModel, *, levels: int = 41, draws: int = 4000, seed: int = 0) -> Page:
    """Return the page of a noise model.

    Parameters
    ----------
    name : str or NoiseModel
        A name of `models` or of `devices`, in any case, shown with its example's parameters, or an instance with yours.
    levels : int
        Number of intended weights between -1 and 1.
    draws : int
        Samples of each for the quantiles.
    seed : int

    Returns
    -------
    Page

    Raises
    ------
    NoiseError
        If the name is not known.

    Examples
    --------
    >>> gaussian = page("gaussian")
    >>> gaussian.formula, round(float(gaussian.sd[0]), 3)
    ('w + sigma * max|W| * z', 0.1)
    """
    if isinstance(name, str):
        known = {each.lower(): {"model": model, "device": each} for each, model in devices().items()}
        known |= {each: {"model": each} for each in models()}
        if name.lower() not in known:
            raise unknown("noise model", name, [*models(), *devices()])
        asked = known[name.lower()]
        model = model_from_dict({**models()[asked["model"]].example, **asked})
    else:
        model = name
    intended = np.linspace(-1.0, 1.0, levels)
    w = np.repeat(intended[:, None], draws, axis=1)
    normals = import_module("kppstat.noise.philox").normals
    programmed = model.weights(w, normals(seed, 0, 0, model.draws(w.shape)))
    mean, variance = model.moments(intended)
    return Page(
        name=model.name,
        summary=_summary(model),
        formula=model.formula,
        unit=model.unit,
        source=model.source,
        parameters=tuple(_parameter(field) for field in dataclasses.fields(model)),  # type: ignore[arg-type]
        shown=model.to_dict(),
        intended=intended,
        mean=np.asarray(mean),
        sd=np.sqrt(np.asarray(variance)),
        quantiles=np.quantile(programmed, QUANTILES, axis=1),
    )


def table() -> str:
    """Return all noise models as a table in Markdown: what the README shows.

    Examples
    --------
    >>> print(table().splitlines()[0])
    | noise model | what it is | programmed weight | source |
    """
    rows = [("noise model", "what it is", "programmed weight", "source"), ("---",) * 4]
    for name, cls in models().items():
        formula = cls.formula.replace("|", "\\|")
        rows.append((f"`{name}`", _summary(cls), f"`{formula}`", cls.source))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _summary(model: object) -> str:
    """Return the first paragraph of what is written about a noise model."""
    return (inspect.getdoc(model) or "").split("\n\n")[0].replace("\n", " ")


def _parameter(field: dataclasses.Field[Any]) -> tuple[str, str, Any]:
    default = None if field.default is dataclasses.MISSING else field.default
    return field.name, field.metadata.get("meaning", ""), default
