"""The page of a search for the worst case."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kppstat.report.facts import duration
from kppstat.report.files import check
from kppstat.report.page import write_page
from kppstat.report.tensors import words

if TYPE_CHECKING:
    from kppstat.worst_case import DesignPoint, Probability, WorstCase

_PROMISE = (
    "The weights are exhibited: they lie within the bound to the last bit, and were evaluated on all inputs as they "
    "are stored. So the true worst case within the bound, on these inputs, is this low or lower; how much lower, no "
    "search can say."
)
_CHANCE = (
    "The interval for the probability counts chips drawn at random from the noise model and assumes nothing about the "
    "network. Its upper end bounds the probability of the true worst case too, to which chips get more seldom still."
)

_UNITS = {"linf": "of max abs", "l2": "of max abs", "density": "standard deviations"}


def write_worst(
    result: WorstCase,
    chance: Probability | None,
    path: str | Path,
    *,
    point: DesignPoint | None = None,
    command: str = "",
) -> list[Path]:
    """Write the report of a worst case: a self-contained HTML page, and its figure as SVG and PNG beside it.

    Parameters
    ----------
    result : WorstCase
        With its curve.
    chance : Probability or None
        How likely a chip is to be as bad.
    path : path
        Name of the page, ending in ``.html``.
    point : DesignPoint, optional
        The nearest point at which a limit is reached.
    command : str, optional
        The command that gave the result, to be shown under how to reproduce it.

    Returns
    -------
    list of Path
        The files written, the page first.

    Raises
    ------
    SettingError
        If matplotlib or jinja2 is not installed, or a file cannot be written; then no file is left half-written.
    """
    from kppstat.worst_case.figures import against_bound

    said = f"Lowest {result.performance} exhibited against the bound, from {result.show(result.clean)} down to "
    said += f"{result.show(result.performance_worst)} at {result.bound:g}."
    caption = (
        "Accuracy of the worst weights found, scaled down to each smaller bound: within each of them the worst case is "
        "this low or lower. Thin line: the intended weights."
        if result.curve
        else "Lowest accuracy exhibited against the gradient passes spent."
    )
    values = {
        "title": f"Worst case {result.show(result.performance_worst)} at bound {result.bound:g}",
        "facts": _facts(result, chance, point),
        "promise": [_PROMISE] if chance is None else [_PROMISE, _CHANCE],
        "said": [found.summary() for found in (result, chance, point) if found is not None],
        "command": command,
    }
    return write_page(check(path), "worst.html.j2", result, [("curve", against_bound(result), said, caption)], values)


def _facts(
    result: WorstCase, chance: Probability | None, point: DesignPoint | None
) -> list[tuple[str, list[tuple[str, str]]]]:
    answer = [
        (f"Worst {result.performance} found", result.show(result.performance_worst)),
        (f"Clean {result.performance}", result.show(result.clean)),
        ("Guarantee", result.guarantee),
    ]
    if chance is not None:
        answer += [
            ("Chips that bad or worse", f"{chance.as_bad:,} of {chance.instances:,}"),
            (
                f"Share of such chips, {100 * chance.confidence:.12g} %",
                f"{100 * chance.low:.3g} % to {100 * chance.high:.3g} %",
            ),
        ]
    if chance is not None and chance.within is not None:
        answer.append(("Chip within the bound", f"probability {chance.staying}"))
    if point is not None:
        limit = f"Nearest point at {result.show(point.limit)}"
        answer.append((limit, f"{point.beta:.3g} standard deviations"))
    question = [
        ("Bound", f"{result.bound:g} {_UNITS[result.norm]}, {result.norm}"),
        ("Reached", f"{result.reached:.6g}"),
        ("Tensors attacked", f"{len(result.layers):,}"),
        ("Inputs", f"{result.inputs:,}"),
        ("Method", result.method),
    ]
    noise = result.noise if chance is None else chance.noise
    if noise is not None:
        more = {name for name in ("layers", "verified") if noise.get(name)}
        default = words({name: value for name, value in noise.items() if name not in ("layers", "verified")})
        question.append(("Noise model", f"{default}, others by tensor" if more else default))
    cost = result.evaluations + (chance.evaluations if chance else 0) + (3 * point.passes if point else 0)
    effort = [
        ("Gradient passes", f"{result.passes + (point.passes if point else 0):.1f}"),
        ("Cost", f"{cost:,.0f} evaluations"),
        ("Time", duration(result.seconds)),
        ("Stopped because", result.stop_reason),
    ]
    return [("Answer", answer), ("Question", question), ("Effort", effort)]
