"""Interpreters of the graph: arrays in, arrays out; moments in, moments out."""

from kppstat.propagate.calibration import Calibration, calibrate
from kppstat.propagate.forward import describe, forward, last_uses, unsupported
from kppstat.propagate.moments import Passage, Spread, moments, passages, without_rule

__all__ = [
    "Calibration",
    "Passage",
    "Spread",
    "calibrate",
    "describe",
    "forward",
    "last_uses",
    "moments",
    "passages",
    "unsupported",
    "without_rule",
]
