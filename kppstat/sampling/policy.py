"""Which method answers a question best: a rule of a few lines, and what a run was worth against plain Monte Carlo."""

from __future__ import annotations

import math

import numpy as np

from kppstat.sampling.question import Method, Question
from kppstat.stats.plan import local_spread, planned_size

__all__ = ["chosen", "saving"]

#: Up to this share of instances on the rare side of the percentile, tilting has paid (`benchmarks.tilted_replay`).
RARE = 0.01


def chosen(question: Question, *, bounded: bool) -> tuple[Method, str]:
    """Return the method to use and why.

    Tilted sampling is only taken where it is asked for. It is the cheapest for rare percentiles of networks whose
    failures gradients point at, and not of others (`benchmarks.tilted_replay`), which nothing tells beforehand; audits
    come near to what theory allows on all (`benchmarks.efficiency`), and what is chosen unasked has to hold.

    Parameters
    ----------
    question : Question
    bounded : bool
        Whether scores have bounds; audits and tilted sampling need them.

    Examples
    --------
    >>> chosen(Question(k=0.1), bounded=True)[0]
    'audited'
    >>> chosen(Question(), bounded=False)
    ('mc', 'scores have no bounds, which all other methods need')
    """
    if question.method != "auto":
        return question.method, "asked for"
    if not bounded:
        return "mc", "scores have no bounds, which all other methods need"
    if question.guarantee == "asymptotic" and question.p <= RARE:
        return "audited", "an interval that holds for any network; --method tilted may be cheaper, and promises less"
    return "audited", "the interval holds for any network, and audits reach that at the least cost"


def saving(values: np.ndarray, question: Question, half_width: float, evaluations: float) -> float:
    """Return how many times the cost plain Monte Carlo would take for an exact interval of this half-width.

    Its size is planned from the distribution found; NaN where that or the interval says too little.

    Parameters
    ----------
    values : ndarray
        Performances of instances, as scores.
    question : Question
    half_width : float
        That was reached, in the unit of the scores.
    evaluations : float
        The cost.
    """
    if not (math.isfinite(half_width) and half_width > 0 and evaluations > 0) or values.size < 30:
        return math.nan
    spread = local_spread(values, question.p)
    return planned_size(question.p, question.confidence, half_width, spread) / evaluations if spread > 0 else math.nan
