"""Figures of an estimate: performance over instances, and how the interval narrowed with the cost.

Each is one column of a paper wide (3.5 inches) or two, and says what it shows in labels, not in a legend.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from kppstat.sampling.result import Estimate
from kppstat.sampling.scale import Scale, interval
from kppstat.style import (
    ACCENT,
    FILL,
    INK,
    LINE,
    MUTED,
    SMALL,
    THIN,
    TINT,
    Columns,
    house_style,
    label_above,
    label_right,
    need,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TAIL = 30.0  # percent; a KPP further out is read off a logarithmic axis, on which the tail has room
_BINS = 48


def distribution(estimate: Estimate, *, columns: Columns = 1) -> Figure:
    """Draw performance over instances: how often each occurs, and what share of the instances does no better.

    The KPP is read off the second panel at k %. Of a run that audits instances, each value is the best guess of one
    instance, so the curve may pass beside the KPP, which rests on what is certain.

    Parameters
    ----------
    estimate : Estimate
    columns : {1, 2}
        Columns of a paper: 1 puts the panels one above the other, 2 side by side.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SettingError
        If matplotlib is not installed or `columns` is neither 1 nor 2.

    Examples
    --------
    >>> from kppstat import estimate
    >>> from kppstat.demo import MODEL
    >>> result = estimate(MODEL, sigma=0.1, k=5, method="mc", max_evaluations=20, workers=1)
    >>> [float(inches) for inches in distribution(result).get_size_inches()]
    [3.5, 3.3]
    """
    scale = Scale.of(estimate)
    values = scale.worst_first(np.asarray(estimate.values, dtype=float))
    drawn = values[np.isfinite(values)]
    with house_style():
        figure = new_figure(columns, 3.3 if columns == 1 else 2.3)
        if columns == 1:
            above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.35])
            above.tick_params(labelbottom=False)
        else:
            above, below = figure.subplots(1, 2, sharex=True)
            above.set_xlabel(scale.label())
        above.set_xlim(_limits(estimate, scale, drawn))
        _histogram(above, estimate, scale, drawn)
        _cumulative(below, estimate, scale, values)
        _lines(above, estimate, scale)
        for axes in (above, below):
            _kpp(axes, estimate, scale)
        below.set_xlabel(scale.label())
        figure.draw_without_rendering()  # the labels need to know where the axes came to lie
        _read_off(below, estimate, scale)
        label_above(above, _marks(estimate, scale))
        figure.draw_without_rendering()
    return figure


def convergence(estimate: Estimate, *, columns: Columns = 1) -> Figure:
    """Draw the interval against the cost spent, and the width that was wanted.

    Parameters
    ----------
    estimate : Estimate
    columns : {1, 2}
        Columns of a paper.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SettingError
        If matplotlib is not installed or `columns` is neither 1 nor 2.
    """
    scale = Scale.of(estimate)
    sign = -1.0 if estimate.loss else 1.0
    rows = [(s.evaluations, sign * s.kpp, *sorted((sign * s.low, sign * s.high))) for s in estimate.trace]
    # The last state is the estimate itself, whose interval is also cut to the range of the performance.
    rows = [row for row in rows if 0 < row[0] < estimate.evaluations]
    rows.append((max(estimate.evaluations, 1e-9), estimate.kpp, estimate.ci_low, estimate.ci_high))
    cost, kpp, low, high = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    kpp, low, high = scale.factor * kpp, scale.factor * low, scale.factor * high
    drawn = scale.worst_first(np.asarray(estimate.values, dtype=float))
    drawn = drawn[np.isfinite(drawn)]
    with house_style():
        figure = new_figure(columns, 2.5)
        axes = figure.subplots()
        bottom, top = _window(estimate, scale, drawn)
        axes.set_ylim(bottom, top)
        below, above = bottom - (top - bottom), top + (top - bottom)  # an unknown end lies outside the picture
        low = np.nan_to_num(low, nan=below, neginf=below, posinf=above)
        high = np.nan_to_num(high, nan=above, neginf=below, posinf=above)
        _cost_axis(axes, cost)
        axes.set_ylabel(scale.label("KPP of "))
        axes.fill_between(cost, low, high, step="post", color=TINT, linewidth=0)
        for end in (low, high):
            axes.step(cost, end, where="post", color=ACCENT, linewidth=THIN)
        axes.step(cost, kpp, where="post", color=ACCENT)
        axes.plot([cost[-1]] * 2, [low[-1], high[-1]], color=ACCENT)
        axes.plot(cost[-1:], kpp[-1:], "o", color=ACCENT, markersize=3.5)
        wanted = _wanted(estimate, scale)
        for height in wanted:
            axes.axhline(height, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
        figure.draw_without_rendering()
        size = f"{scale.factor * estimate.half_width:.3g} wanted"
        marks = [
            (kpp[-1], f"KPP {estimate.show(estimate.kpp)}", ACCENT),
            (scale.factor * estimate.ci_low, estimate.show(estimate.ci_low), ACCENT),
            (scale.factor * estimate.ci_high, estimate.show(estimate.ci_high), ACCENT),
            (wanted[0], f"\N{MINUS SIGN}{size}", INK),
            (wanted[1], f"+{size}", INK),
        ]
        label_right(axes, [mark for mark in marks if math.isfinite(mark[0])])
        figure.draw_without_rendering()
    return figure


def _limits(estimate: Estimate, scale: Scale, drawn: np.ndarray) -> tuple[float, float]:
    """Return limits that hold all instances, and the clean performance and interval where they lie near."""
    own = scale.factor * np.array([estimate.kpp, estimate.mean])
    core = np.concatenate([drawn, own[np.isfinite(own)]])
    if not len(core):
        core = np.zeros(1)
    low, high = float(core.min()), float(core.max())
    least = max(8 * _step(estimate, scale), 1e-3 * abs(high), 1e-9)
    span = max(high - low, least)
    near = [scale.factor * x for x in (estimate.clean, estimate.ci_low, estimate.ci_high)]
    near = [x for x in near if low - span <= x <= high + span]
    low, high = min([low, *near]), max([high, *near])
    room = max(0.04 * (high - low), (least - (high - low)) / 2)
    return low - room, high + room


def _step(estimate: Estimate, scale: Scale) -> float:
    """Return the step between possible performances; 0 where there is none."""
    return scale.factor / estimate.inputs if scale.factor == 100 else 0.0


def _histogram(axes: Axes, estimate: Estimate, scale: Scale, drawn: np.ndarray) -> None:
    """Draw the histogram; bins of an accuracy are whole numbers of inputs wide, else they would beat with its steps."""
    axes.set_ylabel("instances")
    axes.yaxis.set_major_formatter(need("matplotlib.ticker").StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(need("matplotlib.ticker").MaxNLocator(3, integer=True))
    if not len(drawn):
        return
    low, high = float(drawn.min()), float(drawn.max())
    spread = np.subtract(*np.percentile(drawn, [75, 25]))
    # Freedman and Diaconis (1981): width 2 IQR n^(-1/3), within what a small panel can show.
    width = max(2 * spread * len(drawn) ** (-1 / 3), (high - low) / _BINS, 1e-12)
    step = _step(estimate, scale)
    if step:
        width = step * max(1, math.ceil(width / step - 1e-9))
    elif high == low:
        width = np.diff(axes.get_xlim())[0] / _BINS
    begin = low - (step / 2 if step else 0.0 if high > low else width / 2)
    edges = begin + width * np.arange(max(1, math.ceil((high - begin) / width + 1e-9)) + 1)
    axes.hist(drawn, bins=edges, color=FILL, linewidth=0)


def _cumulative(axes: Axes, estimate: Estimate, scale: Scale, values: np.ndarray) -> None:
    """Draw the share of instances that do no better, from the worst instance on."""
    axes.set_ylabel("instances at or above (%)" if scale.loss else "instances at or below (%)")
    smallest = min(100 / max(len(values), 1), estimate.k)
    ticker = need("matplotlib.ticker")
    if estimate.k < _TAIL:
        axes.set_yscale("log")
        # Low enough that below the level of k there is room to name it.
        floor = min(smallest / 2, 10 ** ((math.log10(estimate.k) - 0.3 * math.log10(140)) / 0.7))
        axes.set_ylim(floor, 140)
        axes.yaxis.set_major_locator(ticker.LogLocator(10, numticks=5))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f"{share:g}"))
    else:
        floor = 0.0
        axes.set_ylim(0, 104)
        axes.set_yticks([0, 25, 50, 75, 100])
    if not len(values):
        return
    share = 100 * np.arange(1, len(values) + 1) / len(values)
    last = np.append(values[1:] != values[:-1], True)  # of equal instances the last has the share of all
    known = last & np.isfinite(values)
    x, y = values[known], share[known]
    if not len(x):
        return
    edge = axes.get_xlim()[0 if scale.loss else 1]
    begin = max(floor, share[0] / 1e6, y[0] if np.isinf(values[0]) else floor)
    axes.step([x[0], *x, edge], [begin, *y, y[-1]], where="post", color=INK, linewidth=0.9)


def _lines(axes: Axes, estimate: Estimate, scale: Scale) -> None:
    """Draw mean and clean performance as lines."""
    left, right = axes.get_xlim()
    for value, colour, pattern in ((estimate.mean, MUTED, (0, (1, 1.5))), (estimate.clean, INK, (0, (4, 2)))):
        if left <= scale.factor * value <= right:
            axes.axvline(scale.factor * value, color=colour, linestyle=pattern, linewidth=0.8)


def _kpp(axes: Axes, estimate: Estimate, scale: Scale) -> None:
    """Draw the KPP as a line and its interval as a band; an end that is not known lies outside the picture."""
    left, right = axes.get_xlim()
    ends = np.nan_to_num([estimate.ci_low, estimate.ci_high], nan=-np.inf, neginf=-np.inf, posinf=np.inf)
    axes.axvspan(*np.clip(scale.factor * ends, left, right), color=TINT, linewidth=0, zorder=0)
    if left <= scale.factor * estimate.kpp <= right:
        axes.axvline(scale.factor * estimate.kpp, color=ACCENT)


def _marks(estimate: Estimate, scale: Scale) -> list[tuple[float, str, str]]:
    """Return what stands above the lines."""
    marks = (("KPP", estimate.kpp, ACCENT), ("mean", estimate.mean, MUTED), ("clean", estimate.clean, INK))
    return [
        (scale.factor * value, f"{name}\n{estimate.show(value)}", colour)
        for name, value, colour in marks
        if math.isfinite(value)
    ]


def _read_off(axes: Axes, estimate: Estimate, scale: Scale) -> None:
    """Mark the KPP at k % with its interval, and name the interval in the corner that a monotone curve leaves free."""
    left, right = axes.get_xlim()
    x = scale.factor * estimate.kpp
    if not math.isfinite(x):
        return
    ends = np.clip(np.nan_to_num(scale.factor * np.array([estimate.ci_low, estimate.ci_high])), left, right)
    axes.plot([right if scale.loss else left, x], [estimate.k] * 2, color=ACCENT, linewidth=THIN, linestyle=(0, (2, 2)))
    axes.plot(ends, [estimate.k] * 2, color=ACCENT, linewidth=LINE)
    axes.plot([x], [estimate.k], "o", color=ACCENT, markersize=3.5, clip_on=False)
    # Worse than the KPP the curve lies below k %, better than it above: the other two corners are free.
    better = (x - left) / (right - left)
    better = better if scale.loss else 1 - better
    under = better >= 0.45
    to_right = under != scale.loss
    end = max(ends) if to_right else min(ends)
    room = (right - end if to_right else end - left) / (right - left)
    axes.annotate(
        f"k = {estimate.k:g} %\n{100 * estimate.confidence:.12g} % interval\n{interval(estimate)}",
        (end if room >= 0.4 else x, estimate.k),
        xytext=(4 if to_right else -4, -3 if under else 3),
        textcoords="offset points",
        ha="left" if to_right else "right",
        va="top" if under else "bottom",
        color=ACCENT,
        fontsize=SMALL,
        linespacing=1.25,
    )


def _window(estimate: Estimate, scale: Scale, drawn: np.ndarray) -> tuple[float, float]:
    """Return limits in which both the last interval and the wanted width are plain to see.

    An end of the interval further off than the instances are spread says nothing yet, and is left outside.
    """
    known = [scale.factor * x for x in (estimate.kpp, estimate.ci_low, estimate.ci_high) if math.isfinite(x)]
    if not known:
        return 0.0, scale.factor
    wanted = scale.factor * estimate.half_width
    reach = max(4 * wanted, float(np.ptp(drawn)) if len(drawn) else 0.0)
    near = [x for x in known if abs(x - known[0]) <= reach]
    low, high = min(*near, known[0] - wanted), max(*near, known[0] + wanted)
    room = 0.8 * (high - low)
    if scale.factor == 100:
        return max(low - room, 0.0), min(high + room, 100.0)
    return low - room, high + room


def _cost_axis(axes: Axes, cost: np.ndarray) -> None:
    """Show a cost that spans more than a factor of 20 as a logarithm, on which the early states have room."""
    ticker = need("matplotlib.ticker")
    axes.set_xlabel("cost (evaluations)")
    if cost[-1] > 20 * cost[0]:
        axes.set_xscale("log")
        axes.set_xlim(cost[0], cost[-1] * (cost[-1] / cost[0]) ** 0.02)
        axes.xaxis.set_major_locator(ticker.LogLocator(10, (1, 2, 5) if cost[-1] < 200 * cost[0] else (1,), numticks=8))
    else:
        axes.set_xlim(0, 1.02 * cost[-1])
        axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))


def _wanted(estimate: Estimate, scale: Scale) -> tuple[float, float]:
    """Return the wanted width around the KPP, or around the middle of an interval that fits into it."""
    middle = (estimate.ci_low + estimate.ci_high) / 2 if estimate.converged else estimate.kpp
    return scale.factor * (middle - estimate.half_width), scale.factor * (middle + estimate.half_width)
