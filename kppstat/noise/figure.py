"""The figure of a noise model: where the programmed weight lies for each intended one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kppstat.noise.page import QUANTILES, Page
from kppstat.style import ACCENT, FILL, INK, MUTED, THIN, TINT, Columns, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BANDS = ((0.01, 0.99, TINT), (0.25, 0.75, FILL))


def law(page: Page, *, columns: Columns = 1) -> Figure:
    """Draw the programmed weight (median and bands of 50 % and 98 %) and its standard deviation by intended weight.

    Parameters
    ----------
    page : Page
    columns : {1, 2}
        Width in columns of a paper.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SettingError
        If matplotlib is not installed.

    Examples
    --------
    >>> from kppstat.noise.page import page
    >>> figure = law(page("gaussian", levels=11, draws=200))
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['programmed weight / max|W|', 'sd / max|W|']
    """
    with house_style():
        figure = new_figure(columns, 3.3)
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        above.plot(page.intended, page.intended, color=MUTED, linewidth=THIN, linestyle=(0, (4, 3)))
        for low, high, colour in _BANDS:
            ends = (page.quantiles[QUANTILES.index(low)], page.quantiles[QUANTILES.index(high)])
            above.fill_between(page.intended, *ends, color=colour, linewidth=0, label=f"{100 * (high - low):.0f} %")
        above.plot(page.intended, page.quantiles[QUANTILES.index(0.5)], color=INK, label="median")
        above.set_ylabel("programmed weight / max|W|")
        above.legend(frameon=False, loc="upper left")
        below.plot(page.intended, page.sd, color=ACCENT)
        below.set_ylim(bottom=0)
        below.set_ylabel("sd / max|W|")
        below.set_xlabel("intended weight / max|W|")
        figure.align_ylabels()
        return figure
