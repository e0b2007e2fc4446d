"""What a report says in words: the facts, the promise of the interval, and what the figures show."""

from __future__ import annotations

import math

from kppstat.sampling.result import Estimate
from kppstat.sampling.scale import interval

_PROMISES = {
    "exact": (
        "It assumes nothing about the network or about the shape of the distribution: it follows from counting "
        "instances drawn at random, and the moments at which the run may stop were planned before it began."
    ),
    "anytime": (
        "It assumes nothing about the network or about the shape of the distribution, and it holds whenever and for "
        "whatever reason the run was stopped, also by looking at the interval."
    ),
    "asymptotic": (
        "It holds in the limit of many instances; at this number of instances the true confidence may differ a little "
        "from the one stated. For an interval without this reservation ask for the guarantee exact or anytime."
    ),
    "none": "The interval is a prediction, and nothing promises that it holds the KPP so often.",
}


def facts(estimate: Estimate) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return groups of (name, value) pairs, each group with its heading."""
    e = estimate
    reached = "reached" if e.converged else "not reached"
    got = (e.ci_high - e.ci_low) / 2
    order = "larger is worse" if e.loss else "larger is better"
    answer = [
        (f"KPP at k = {e.k:g} %", e.show(e.kpp)),
        (f"{100 * e.confidence:.12g} % interval", interval(e)),
        ("Half-width", _width(e, got)),
        ("Wanted half-width", f"{_width(e, e.half_width)}, {reached}"),
        ("Guarantee", e.guarantee),
        ("Mean over instances", e.show(e.mean)),
        ("Standard deviation", _width(e, e.sd)),
        ("Clean performance", e.show(e.clean)),
    ]
    question = [
        ("Performance", f"{e.performance}, {order}"),
        ("Inputs", f"{e.inputs:,}"),
        (
            "Sigma",
            "differs, see the tensors" if e.sigma is None else f"{e.sigma:g} of the max abs weight of each tensor",
        ),
        ("Method", e.method),
    ]
    effort = [
        ("Instances", f"{e.instances:,}"),
        ("Cost", f"{_count(e.evaluations)} evaluations"),
        ("Time", duration(e.seconds)),
        ("Stopped because", e.stop_reason),
    ]
    return [("Answer", answer), ("Question", question), ("Effort", effort)]


def promise(estimate: Estimate) -> list[str]:
    """Return in plain words what the interval promises and what it does not, one paragraph each."""
    paragraphs = []
    if estimate.guarantee != "none":
        how_many = "about" if estimate.guarantee == "asymptotic" else "at least"
        paragraphs.append(
            f"If this run were repeated many times with other seeds, {how_many} {100 * estimate.confidence:.12g} "
            "of 100 intervals would hold the true KPP. " + _PROMISES[estimate.guarantee]
        )
    else:
        paragraphs.append(_PROMISES["none"])
    paragraphs.append(
        f"The promise is about instances drawn from the noise model below, measured on these {estimate.inputs:,} "
        "inputs. It covers neither other inputs nor a device that deviates in another way than the noise model says."
    )
    return paragraphs


def caption(estimate: Estimate, figure: str) -> str:
    """Return what stands below a figure of this name."""
    if figure == "convergence":
        scale = "percentage points" if estimate.show(1.0).endswith("%") else "the unit of the performance"
        return (
            "How the estimate (line) and its interval (band) narrowed with the cost, and where they ended (bar). "
            f"Dashed: the width that was wanted, in {scale}. One evaluation is one instance run on all inputs."
        )
    worse = "this loss or a larger one" if estimate.loss else "this performance or a lower one"
    text = f"Performance of {estimate.values.size:,} instances, and the share of them with {worse}."
    if estimate.method != "mc":
        text += " Most instances were judged by a part of the inputs: their values are best guesses, the band is not."
    return text


def description(estimate: Estimate, figure: str) -> str:
    """Return a figure of this name in one sentence, for those who cannot see it."""
    kpp = f"KPP {estimate.show(estimate.kpp)}, interval {interval(estimate)}"
    if figure == "convergence":
        return f"Interval for the KPP against cost, ending after {_count(estimate.evaluations)} evaluations at {kpp}."
    return (
        f"Distribution of {' '.join(estimate.performance.split())} over {estimate.values.size:,} instances: {kpp}, "
        f"mean {estimate.show(estimate.mean)}, clean {estimate.show(estimate.clean)}."
    )


def duration(seconds: float) -> str:
    """Return a time in words.

    Examples
    --------
    >>> duration(8.24), duration(754), duration(7322)
    ('8.2 s', '12 min 34 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def _width(estimate: Estimate, width: float) -> str:
    """Return a difference of performances; of percentages it counts in points."""
    if not math.isfinite(width):
        return "not known yet"
    return f"{100 * width:.2f} points" if estimate.show(1.0).endswith("%") else f"{width:.3g}"


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
