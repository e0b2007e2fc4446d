"""The figure of the worst case: accuracy against bound, or against the passes spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kppstat.style import ACCENT, MUTED, SMALL, THIN, Columns, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kppstat.worst_case.result import WorstCase


def against_bound(result: WorstCase, *, columns: Columns = 1) -> Figure:
    """Draw the lowest accuracy exhibited within each bound; without a curve, against the gradient passes spent.

    Parameters
    ----------
    result : WorstCase
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
    relative = result.norm != "density"
    pairs = np.array(result.curve or result.trace) * [100 if result.curve and relative else 1, 100]
    with house_style():
        figure = new_figure(columns, 2.4)
        axes = figure.subplots()
        steps = "default" if result.curve else "steps-post"
        axes.plot(pairs[:, 0], pairs[:, 1], color=ACCENT, marker="o", markersize=2.5, drawstyle=steps, clip_on=False)
        axes.axhline(100 * result.clean, color=MUTED, linewidth=THIN)
        axes.annotate(
            "clean", (1, 100 * result.clean), (-2, 2), xycoords=("axes fraction", "data"), textcoords="offset points",
            fontsize=SMALL, color=MUTED, ha="right",
        )  # fmt: skip
        bound = "% of the max abs weight of each tensor" if relative else "root mean square of standard deviations"
        axes.set_xlabel(f"bound ({bound})" if result.curve else "gradient passes")
        axes.set_ylabel(f"worst {result.performance} found (%)")
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        return figure
