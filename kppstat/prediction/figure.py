"""The figure of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from kppstat.style import ACCENT, FILL, INK, MUTED, SMALL, THIN, house_style, need, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kppstat.prediction.result import Prediction

_BINS = 48
_SHOWN = 12  # weights


def predicted(prediction: Prediction) -> Figure:
    """Draw the predicted distribution with its KPP, and what each weight costs or else how much it spreads."""
    need("matplotlib")
    unit = 100.0 if prediction.fraction else 1.0
    suffix = " (%)" if prediction.fraction else ""
    bars, label = _bars(prediction)
    with house_style():
        figure = new_figure(1, 2.2 + 0.16 * len(bars))
        top, bottom = figure.subplots(2, 1, height_ratios=[2.0, 0.16 * len(bars) + 0.2])
        counts, *_ = top.hist(unit * prediction.values, bins=_BINS, color=FILL)
        top.set_ylim(0, 1.25 * counts.max())  # room for the label
        top.axvline(unit * prediction.kpp, color=ACCENT)
        top.annotate(
            f"predicted KPP {prediction.show(prediction.kpp)} (k = {prediction.k:g})",
            (unit * prediction.kpp, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            va="top",
            color=ACCENT,
            fontsize=SMALL,
        )
        top.axvline(unit * prediction.clean, ymax=0.85, color=INK, linewidth=THIN, linestyle=":")  # below the label
        top.set(xlabel=f"{prediction.performance}{suffix}", ylabel="drawn instances")
        names = list(bars)[::-1]
        bottom.barh(np.arange(len(names)), [100 * bars[n] for n in names], color=FILL)
        bottom.set_yticks(np.arange(len(names)), names)
        bottom.tick_params(axis="y", length=0, labelcolor=MUTED)
        bottom.set_xlabel(label)
    return figure


def _bars(prediction: Prediction) -> tuple[dict[str, float], str]:
    """Return what is known of the dearest weights, and what it is."""
    if prediction.cost:
        return _largest(prediction.cost), "cost (points of KPP)"
    shares = {**_largest(prediction.by_weight), "nonlinear": prediction.nonlinear}
    return shares, "share in the variance of the logits (%)"


def _largest(values: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda item: -item[1])[:_SHOWN])
