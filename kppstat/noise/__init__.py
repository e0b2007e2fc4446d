"""Device variation: maps from standard normals to weights, and the numbers that they take.

The generator of random numbers is compiled by numba, which is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from kppstat.noise.file import read as read
from kppstat.noise.gaussian import Gaussian as Gaussian
from kppstat.noise.gaussian import RightCensored as RightCensored
from kppstat.noise.law import Law as Law
from kppstat.noise.model import NoiseModel as NoiseModel
from kppstat.noise.model import Variation as Variation
from kppstat.noise.presets import convert as convert
from kppstat.noise.registry import from_dict as from_dict
from kppstat.noise.registry import model_from_dict as model_from_dict
from kppstat.noise.registry import models as models
from kppstat.noise.registry import noise_model as noise_model

if TYPE_CHECKING:
    from kppstat.noise.philox import normals as normals
    from kppstat.noise.philox import permutation as permutation
    from kppstat.noise.philox import words as words

_COMPILED = ("normals", "permutation", "words")


def __getattr__(name: str) -> object:
    if name in _COMPILED:
        return getattr(import_module("kppstat.noise.philox"), name)
    raise AttributeError(f"module 'kppstat.noise' has no attribute {name!r}")
