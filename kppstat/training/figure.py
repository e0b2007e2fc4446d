"""The figures of a training, performance epoch by epoch, and of a judgement, accuracy over instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kppstat.style import ACCENT, INK, LINE, MUTED, SMALL, THIN, Columns, house_style, label_right, need, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kppstat.training.judgement import Judgement
    from kppstat.training.result import Training


def by_epoch(training: Training, *, columns: Columns = 1) -> Figure:
    """Draw KPP, mean and clean performance against the epoch, and mark the epoch that was kept.

    Parameters
    ----------
    training : Training
    columns : {1, 2}
        Width in columns of a paper.

    Raises
    ------
    SettingError
        If matplotlib is not installed.
    """
    factor = (-1.0 if training.loss else 1.0) * (100.0 if training.fraction else 1.0)
    with house_style():
        figure = new_figure(columns, 2.4)
        axes = figure.subplots()
        epochs = [e.number for e in training.history]
        marks: list[tuple[float, str, str]] = []
        for name, text, colour, width in (
            ("clean", "clean", MUTED, THIN),
            ("mean", "mean", INK, LINE),
            ("kpp", f"KPP({training.plan['k']:g})", ACCENT, LINE),
        ):
            values = factor * np.array([getattr(e, name) for e in training.history])
            # A score may be minus infinity where outputs are not finite: a gap.
            shown = np.where(np.isfinite(values), values, np.nan)
            axes.plot(epochs, shown, color=colour, linewidth=width, marker="o" if len(epochs) < 3 else None)
            if np.isfinite(shown[-1]):
                marks.append((float(shown[-1]), text, colour))
        if np.isfinite(training.best.kpp):
            axes.plot(training.best.number, factor * training.best.kpp, "o", color=ACCENT, markersize=4, clip_on=False)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{training.performance} in validation" + (" (%)" if training.fraction else ""))
        axes.xaxis.set_major_locator(need("matplotlib.ticker").MaxNLocator(integer=True))
        figure.draw_without_rendering()
        label_right(axes, marks)
        return figure


def over_instances(judgement: Judgement, *, columns: Columns = 1) -> Figure:
    """Draw the share of instances below each accuracy, and mark the clean one.

    Parameters
    ----------
    judgement : Judgement
    columns : {1, 2}
        Width in columns of a paper.

    Raises
    ------
    SettingError
        If matplotlib is not installed.
    """
    values = 100 * np.sort(judgement.accuracies)
    with house_style():
        figure = new_figure(columns, 2.4)
        axes = figure.subplots()
        axes.step(values, 100 * np.arange(1, values.size + 1) / values.size, where="post", color=ACCENT, linewidth=LINE)
        axes.axvline(100 * judgement.clean, color=MUTED, linewidth=THIN)
        axes.annotate(
            "clean", (100 * judgement.clean, 1), (-2, -2), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=SMALL, color=MUTED, ha="right", va="top",
        )  # fmt: skip
        axes.set_xlabel("top-1 accuracy (%)")
        axes.set_ylabel("instances with that or less (%)")
        axes.set_ylim(0, 100)
        return figure
