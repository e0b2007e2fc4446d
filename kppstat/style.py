"""The look of every figure: sizes, fonts, colours by role, and how a figure is saved.

matplotlib is loaded when a figure is drawn, never before.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from kppstat.errors import WRITABLE, SettingError

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

Columns = Literal[1, 2]
WIDTH: dict[int, float] = {1: 3.5, 2: 7.16}  # inches: one and two columns of a two-column paper

# Colours by role. Ink, accent and fill differ in lightness too, so they stay apart in greyscale and for every kind of
# colour vision. The report translates them by name for a dark page, so figures use no other colour.
INK = "#1b2430"
MUTED = "#5c6877"
FILL = "#b9c2cd"
ACCENT = "#0b5cad"
TINT = "#cfe1f4"
ROLES = {"ink": INK, "muted": MUTED, "fill": FILL, "accent": ACCENT, "tint": TINT}

SMALL, NORMAL = 7.0, 8.0  # points
THIN, LINE = 0.6, 1.2
_FONTS = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "Nimbus Sans", "DejaVu Sans")
_DPI = 300


def need(module: str) -> Any:
    """Return a module of the extra ``report``.

    Raises
    ------
    SettingError
        If it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        remedy = "Install it with pip install 'kppstat[report]'"
        raise SettingError(f"figures and reports need {package}, which is not installed", remedy=remedy) from None


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the look of kppstat, whatever the user's own matplotlib settings are."""
    matplotlib = need("matplotlib")
    installed = set(need("matplotlib.font_manager").get_font_names())
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A name in a script that the fonts lack is drawn as boxes; the page beside it has the name in text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_settings([name for name in _FONTS if name in installed]))
        yield


def _settings(fonts: list[str]) -> dict[str, Any]:
    return {
        # Concrete names: the generic "sans-serif" would be looked up again in the user's settings when saving.
        "font.family": fonts,
        "font.size": NORMAL,
        "axes.labelsize": NORMAL,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.linewidth": THIN,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": False,
        "axes.formatter.useoffset": False,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.major.width": THIN,
        "ytick.major.width": THIN,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "text.color": INK,
        "text.parse_math": False,  # names come from the user, and a dollar sign in one is no formula
        "lines.linewidth": LINE,
        "lines.solid_capstyle": "butt",
        "figure.dpi": _DPI,
        "savefig.dpi": _DPI,
        "svg.fonttype": "path",
        "svg.hashsalt": "kppstat",  # equal figures give equal files
        "pdf.fonttype": 42,
    }


def new_figure(columns: Columns, height: float) -> Figure:
    """Return an empty figure of the width of `columns` columns and the given height in inches.

    Raises
    ------
    SettingError
        If `columns` is neither 1 nor 2.
    """
    if columns not in WIDTH:
        raise SettingError(f"columns is {columns}", where="columns", remedy="Give 1 or 2")
    figure: Figure = need("matplotlib.figure").Figure(figsize=(WIDTH[columns], height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)  # type: ignore[union-attr, call-arg]
    return figure


def spread(wanted: ArrayLike, sizes: ArrayLike, low: float, high: float) -> np.ndarray:
    """Return places for labels in a row: in their order, none on another, moved as little as possible.

    Parameters
    ----------
    wanted : array_like, shape (n,)
        Where their middles should lie, in ascending order.
    sizes : array_like, shape (n,)
        Their lengths along the row.
    low, high : float
        Ends of the row; labels that do not fit run over its upper end.

    Returns
    -------
    ndarray, shape (n,)
        Least squares moves: a monotone fit to the wanted places less the room that the labels before them take.

    Examples
    --------
    >>> spread([5, 5, 9], [2, 2, 2], 0, 10).tolist()
    [4.0, 6.0, 9.0]
    """
    import numpy as np
    from scipy.optimize import isotonic_regression

    length = np.asarray(sizes, dtype=float)
    before = np.cumsum(length) - length / 2
    fitted: np.ndarray = isotonic_regression(np.asarray(wanted, dtype=float) - before).x
    return fitted.clip(low, max(low, high - length.sum())) + before


def label_above(axes: Axes, marks: list[tuple[float, str, str]]) -> None:
    """Name vertical lines above the axes, each label joined to its line; the layout must have been made.

    Parameters
    ----------
    axes : Axes
    marks : list of (x, text, colour)
        An `x` outside the axes puts the label at that edge, with an arrow.
    """
    left, right = axes.get_xlim()
    marks = sorted(marks, key=lambda mark: mark[0])
    style: dict[str, Any] = {"transform": axes.transAxes, "fontsize": SMALL, "ha": "center", "va": "bottom"}
    labels = []
    for x, text, colour in marks:
        head, _, value = text.rpartition("\n")
        value = f"← {value}" if x < left else f"{value} →" if x > right else value
        labels.append(axes.text(0, 1.09, f"{head}\n{value}" if head else value, color=colour, **style))
    box = axes.get_window_extent()
    gap = 0.02
    widths = [label.get_window_extent().width / box.width + gap for label in labels]
    lines = [min(max(axes.transLimits.transform((x, 0))[0], 0.0), 1.0) for x, *_ in marks]
    for label, line, place in zip(labels, lines, spread(lines, widths, -gap, 1 + gap), strict=True):
        label.set_x(place)
        axes.plot(
            [line, place], [1, 1.07], transform=axes.transAxes, color=label.get_color(), linewidth=THIN, clip_on=False
        )


def label_right(axes: Axes, marks: list[tuple[float, str, str]]) -> None:
    """Name heights at the right of the axes, each label joined to its height; the layout must have been made.

    Parameters
    ----------
    axes : Axes
    marks : list of (y, text, colour)
        A `y` outside the axes puts the label at that edge, with an arrow.
    """
    bottom, top = axes.get_ylim()
    marks = sorted(marks, key=lambda mark: mark[0])
    tall = axes.get_window_extent().height / axes.get_figure(root=True).dpi * 72  # type: ignore[union-attr]
    size = 1.3 * SMALL / tall
    heights = [min(max((y - bottom) / (top - bottom), 0.0), 1.0) for y, *_ in marks]
    places = spread(heights, [size] * len(marks), -size / 2, 1 + size / 2)
    for (y, text, colour), height, place in zip(marks, heights, places, strict=True):
        style: dict[str, Any] = {"transform": axes.transAxes, "color": colour, "clip_on": False}
        shown = f"{text} ↓" if y < bottom else f"{text} ↑" if y > top else text
        axes.plot([1.01, 1.04], [height, place], linewidth=THIN, **style)
        axes.text(1.05, place, shown, fontsize=SMALL, va="center", **style)


def save_to(figure: Figure, file: IO[bytes], kind: str, *, transparent: bool = False) -> None:
    """Write a figure into an open file as ``svg``, ``pdf`` or ``png``; equal figures give equal bytes."""
    undated = {"svg": "Date", "pdf": "CreationDate"}
    with house_style():
        figure.savefig(
            file, format=kind, transparent=transparent, metadata={undated[kind]: None} if kind in undated else None
        )


def save(figure: Figure, path: str | Path) -> None:
    """Save a figure; the ending of the name says the format.

    Raises
    ------
    SettingError
        If the ending is not .svg, .pdf or .png, or the file cannot be written.
    """
    kind = figure_kind(path)
    try:
        with Path(path).open("wb") as file:
            save_to(figure, file, kind)
    except OSError as e:
        raise SettingError(
            f"the figure cannot be written ({e.strerror or e})", where=str(path), remedy=WRITABLE
        ) from None


class Drawable(ABC):
    """A result that has a figure."""

    @abstractmethod
    def _drawn(self) -> Figure:
        """Return the figure."""

    def plot(self, path: str | None = None) -> Figure:
        """Draw the result.

        Parameters
        ----------
        path : str, optional
            Where to save the figure; the ending names the format.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        SettingError
            If matplotlib is not installed or the file cannot be written.
        """
        figure = self._drawn()
        if path is not None:
            save(figure, path)
        return figure


def figure_kind(path: str | Path) -> str:
    """Return the kind of a figure by the ending of its name.

    Raises
    ------
    SettingError
        If the ending is not .svg, .pdf or .png.
    """
    kind = Path(path).suffix[1:].lower()
    if kind not in ("svg", "pdf", "png"):
        raise SettingError("the name has no ending of a figure", where=str(path), remedy="Name it .svg, .pdf or .png")
    return kind
