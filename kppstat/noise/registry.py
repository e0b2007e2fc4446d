"""The one table of noise models: from the name in a noise file to the class, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from kppstat.errors import NoiseError
from kppstat.noise.model import NoiseModel
from kppstat.noise.parameters import unknown
from kppstat.noise.presets import convert
from kppstat.noise.selective import Mask, Verified
from kppstat.noise.variation import Variation

_MODELS: dict[str, type[NoiseModel]] = {}

_Class = TypeVar("_Class", bound=type[NoiseModel])


def noise_model(name: str) -> Callable[[_Class], _Class]:
    """Enter a class into the table under the name that noise files use.

    A noise model is a frozen dataclass below this decorator, in a module that ``kppstat.noise`` imports.
    """

    def enter(cls: _Class) -> _Class:
        if name in _MODELS:
            raise TypeError(f"two noise models are called {name!r}")
        cls.name = name
        _MODELS[name] = cls
        return cls

    return enter


def models() -> dict[str, type[NoiseModel]]:
    """Return the noise model classes by name, sorted.

    Examples
    --------
    >>> import kppstat.noise
    >>> models()["gaussian"]
    <class 'kppstat.noise.gaussian.Gaussian'>
    """
    return dict(sorted(_MODELS.items()))


def model_from_dict(description: Mapping[str, Any], *, where: str = "noise model") -> NoiseModel:
    """Build a noise model from its description, as `NoiseModel.to_dict` gives it or a TOML file holds it.

    Parameters
    ----------
    description : mapping
        ``model`` is a name of `models`; the other keys are its parameters. Where sigma is a
        fraction of max|W|, the key ``unit`` names a published unit to convert it from (`kppstat.noise.presets`).
    where : str, optional
        The place to name in errors.

    Raises
    ------
    NoiseError
        If a name or key is not known, a parameter is missing or out of range.

    Examples
    --------
    >>> import kppstat.noise
    >>> model_from_dict({"model": "gaussian", "sigma": 0.1})
    Gaussian(sigma=0.1)
    """
    if not isinstance(description, Mapping):
        raise NoiseError(f"{description!r} is not a table", where=where, remedy="Give model = NAME and its parameters")
    given = dict(description)
    name = given.pop("model", None)
    if name is None:
        raise NoiseError("no model is named", where=where, remedy='Give one, such as model = "gaussian"')
    if not isinstance(name, str) or name not in _MODELS:
        raise unknown("noise model", name, _MODELS, where=where)
    cls = _MODELS[name]
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in given:
        if key not in fields and not (key == "unit" and cls.takes_unit):
            raise unknown(f"parameter of {name}", key, [*fields, "unit"] if cls.takes_unit else fields, where=where)
    for key, field in fields.items():
        if key not in given and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise NoiseError(f"{name} has no {key}", where=where, remedy=f"Give {key} = ...")
    try:
        if "unit" in given:
            given["sigma"] = convert(given["sigma"], given.pop("unit"))
        return cls(**given)
    except NoiseError as error:
        raise NoiseError(error.what, where=where, remedy=error.remedy) from None


def from_dict(description: Mapping[str, Any], *, where: str = "noise model") -> Variation:
    """Build a variation from its description.

    It is a noise model, with others by pattern under the key ``layers``. Under ``verified`` stands the noise model of
    weights programmed by write-verify, and under its key ``masks`` which weights these are, by tensor.

    Parameters
    ----------
    description : mapping
        As `Variation.to_dict` gives it.
    where : str, optional
        The place to name in errors.

    Raises
    ------
    NoiseError
        If a name or key is not known, a parameter is missing or out of range.

    Examples
    --------
    >>> import kppstat.noise
    >>> layers = {"fc*": {"model": "gaussian", "sigma": 0.0}}
    >>> from_dict({"model": "gaussian", "sigma": 0.1, "layers": layers}).of("fc1.weight")
    Gaussian(sigma=0.0)
    """
    if not isinstance(description, Mapping):
        raise NoiseError(f"{description!r} is not a table", where=where, remedy="Give model = NAME and its parameters")
    layers = description.get("layers", {})
    if not isinstance(layers, Mapping):
        raise NoiseError("layers is not a table", where=where, remedy='Give [layers."conv1*"] with a model')
    default = model_from_dict({k: v for k, v in description.items() if k not in ("layers", "verified")}, where=where)
    models = {p: model_from_dict(d, where=f"{where}, layers {p!r}") for p, d in layers.items()}
    verified = description.get("verified")
    return Variation(default, models, None if verified is None else _verified(verified, f"{where}, verified"))


def _verified(description: Any, where: str) -> Verified:
    if not isinstance(description, Mapping) or not isinstance(description.get("masks"), Mapping):
        raise NoiseError("no masks are given", where=where, remedy="Let kppstat verify write them")
    law = model_from_dict({k: v for k, v in description.items() if k != "masks"}, where=where)
    masks = description["masks"].items()
    return Verified(law, {name: Mask.from_text(text, where=f"{where}, mask {name!r}") for name, text in masks})
