"""How the performances and the interval of an estimate are written in figures and reports."""

from __future__ import annotations

import math
from dataclasses import dataclass
from textwrap import wrap

import numpy as np

from kppstat.sampling.result import Estimate


@dataclass(frozen=True)
class Scale:
    """How performances of one measure stand on an axis.

    Attributes
    ----------
    factor : float
        100 where performance is shown in percent, else 1.
    name : str
        Name of the measure with its unit.
    loss : bool
        Whether larger is worse.
    """

    factor: float
    name: str
    loss: bool

    @classmethod
    def of(cls, estimate: Estimate) -> Scale:
        """Return the scale of an estimate's performance measure."""
        percent = estimate.show(1.0).endswith("%")
        # A font draws neither control characters nor halves of surrogate pairs.
        performance = "".join(c if c.isprintable() else "?" for c in " ".join(estimate.performance.split()))
        name = f"{performance}{' (%)' if percent else ' (loss)' if estimate.loss else ''}"
        return cls(100.0 if percent else 1.0, name, estimate.loss)

    def label(self, before: str = "") -> str:
        """Return the label of an axis, broken into lines that fit the smallest figure."""
        return "\n".join(wrap(before + self.name, 40, max_lines=2, placeholder=" …"))

    def worst_first(self, values: np.ndarray) -> np.ndarray:
        """Return the values in the unit of the axis, worst first; those that are no number are left out."""
        ordered = np.sort(self.factor * values[~np.isnan(values)])
        return ordered[::-1] if self.loss else ordered


def interval(estimate: Estimate) -> str:
    """Return the interval of an estimate in words; an end that is not known is named as such.

    Parameters
    ----------
    estimate : Estimate

    Returns
    -------
    str
        Such as ``83.92 % to 84.41 %``, ``at most 84.41 %`` or ``not known yet``.
    """
    low, high = math.isfinite(estimate.ci_low), math.isfinite(estimate.ci_high)
    if low and high:
        return f"{estimate.show(estimate.ci_low)} to {estimate.show(estimate.ci_high)}"
    if low or high:
        return f"at least {estimate.show(estimate.ci_low)}" if low else f"at most {estimate.show(estimate.ci_high)}"
    return "not known yet"
