"""The figure of a sweep: KPP against sigma, with bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kppstat.style import ACCENT, INK, MUTED, SMALL, THIN, Columns, house_style, label_right, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kppstat.sampling.sweep import Sweep

_DASHES: tuple[object, ...] = ("-", (0, (5, 1.5)), (0, (3, 1.5, 1, 1.5)), (0, (1, 1.2)))


def against_sigma(sweep: Sweep, *, columns: Columns = 1) -> Figure:
    """Draw the KPP of each k against sigma, its interval as a band, and the clean performance.

    A k for which there are too few instances to bound the KPP on both sides has open markers and no band.

    Parameters
    ----------
    sweep : Sweep
    columns : {1, 2}
        Width in columns of a paper.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SettingError
        If matplotlib is not installed.
    """
    factor = 100.0 if sweep.fraction else 1.0
    with house_style():
        figure = new_figure(columns, 2.6)
        axes = figure.subplots()
        marks: list[tuple[float, str, str]] = []
        ks = sorted({p.k for p in sweep.points}, reverse=not sweep.loss)
        for i, k in enumerate(ks):
            points = sorted((p for p in sweep.points if p.k == k), key=lambda p: p.sigma)
            sigma = [p.sigma for p in points]
            kpp, low, high = (factor * np.array([getattr(p, n) for p in points]) for n in ("kpp", "ci_low", "ci_high"))
            colour = INK if k == 50 else ACCENT
            bounded = sweep.instances >= sweep.instances_for(k)
            if bounded:
                axes.fill_between(sigma, low, high, color=colour, alpha=0.15, linewidth=0)
            face = colour if bounded else "white"  # open: too few instances for an interval
            dashes = _DASHES[i % len(_DASHES)]
            axes.plot(
                sigma,
                kpp,
                color=colour,
                linestyle=dashes,
                marker="o",
                markersize=2.5,
                mfc=face,
                mew=THIN,
                clip_on=False,
            )
            marks.append((float(kpp[-1]), f"k = {k:g} %", colour))
        axes.axhline(factor * sweep.clean, color=MUTED, linewidth=THIN)
        axes.annotate(
            "clean", (0, factor * sweep.clean), (2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
            fontsize=SMALL, color=MUTED,
        )  # fmt: skip
        axes.set_xlabel("sigma (of the max abs weight of each tensor)")
        axes.set_ylabel(f"KPP of {sweep.performance}" + (" (%)" if sweep.fraction else ""))
        figure.draw_without_rendering()
        label_right(axes, marks)
        return figure
