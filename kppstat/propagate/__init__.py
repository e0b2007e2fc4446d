"""Interpreters of the graph: arrays in, arrays out; moments in, moments out."""

from kppstat.propagate.calibration import Calibration, calibrate
from kppstat.propagate.forward import describe, forward, last_uses, unsupported
from kppstat.propagate.moments import moments, passages, without_rule
from kppstat.propagate.passage import Passage, Share, Spread

__all__ = [
    "Calibration",
    "Passage",
    "Share",
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
