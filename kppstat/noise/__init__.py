"""Device variation: maps from standard normals to weights, and the numbers that they take.

The generator of random numbers is compiled by numba, which is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from kppstat.noise.chain import Chain as Chain
from kppstat.noise.choice import variation_of as variation_of
from kppstat.noise.correlated import Correlated as Correlated
from kppstat.noise.encoded import Encoded as Encoded
from kppstat.noise.encoding import Asymmetric as Asymmetric
from kppstat.noise.encoding import Encoding as Encoding
from kppstat.noise.encoding import Offset as Offset
from kppstat.noise.encoding import Pair as Pair
from kppstat.noise.encoding import Quantise as Quantise
from kppstat.noise.encoding import Slices as Slices
from kppstat.noise.encoding import Steps as Steps
from kppstat.noise.encoding import encodings as encodings
from kppstat.noise.faults import Flip as Flip
from kppstat.noise.faults import StuckAt as StuckAt
from kppstat.noise.file import read as read
from kppstat.noise.file import write as write
from kppstat.noise.gaussian import Conductance as Conductance
from kppstat.noise.gaussian import Gaussian as Gaussian
from kppstat.noise.gaussian import RightCensored as RightCensored
from kppstat.noise.instance import instance_normals as instance_normals
from kppstat.noise.law import Law as Law
from kppstat.noise.model import NoiseModel as NoiseModel
from kppstat.noise.normal_law import NormalLaw as NormalLaw
from kppstat.noise.page import Page as Page
from kppstat.noise.page import page as page
from kppstat.noise.presets import convert as convert
from kppstat.noise.programming import Programming as Programming
from kppstat.noise.registry import from_dict as from_dict
from kppstat.noise.registry import model_from_dict as model_from_dict
from kppstat.noise.registry import models as models
from kppstat.noise.registry import noise_model as noise_model
from kppstat.noise.relative import LogNormal as LogNormal
from kppstat.noise.relative import Proportional as Proportional
from kppstat.noise.retention import CmoRead as CmoRead
from kppstat.noise.retention import CmoRelaxation as CmoRelaxation
from kppstat.noise.retention import Drift as Drift
from kppstat.noise.retention import PcmRetention as PcmRetention
from kppstat.noise.selective import Mask as Mask
from kppstat.noise.selective import Selective as Selective
from kppstat.noise.selective import Verified as Verified
from kppstat.noise.state import FourLevel as FourLevel
from kppstat.noise.state import Table as Table
from kppstat.noise.variation import Variation as Variation
from kppstat.noise.verified import WriteVerify as WriteVerify

if TYPE_CHECKING:
    from kppstat.noise.philox import normals as normals
    from kppstat.noise.philox import permutation as permutation
    from kppstat.noise.philox import words as words

_COMPILED = ("normals", "permutation", "words")


def __getattr__(name: str) -> object:
    if name in _COMPILED:
        return getattr(import_module("kppstat.noise.philox"), name)
    raise AttributeError(f"module 'kppstat.noise' has no attribute {name!r}")
