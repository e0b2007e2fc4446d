"""Figures as SVG inside a page: in its colours, with names of their own, and nothing that points outside."""

from __future__ import annotations

import re
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from kppstat.style import ROLES, save_to

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an ``svg`` element for an HTML page.

    Parameters
    ----------
    figure : Figure
        Drawn in the colours of `kppstat.style`; the page gives each as a CSS variable such as ``--ink``.
    name : str
        Precedes every id, so that two figures on one page do not share any.
    description : str
        What it shows, for those who cannot see it.
    """
    file = BytesIO()
    save_to(figure, file, "svg", transparent=True)
    svg = file.getvalue().decode()
    svg = svg[svg.index("<svg") :]
    # Comments hold the text of labels, metadata and namespaces hold addresses; HTML needs none of them.
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", svg)
    for role, colour in ROLES.items():
        svg = svg.replace(colour, f"var(--{role})")
    box = re.search(r'viewBox="[^"]*"', svg)
    opening = f'<svg {box[0] if box else ""} role="img" aria-label="{escape(description)}">'
    return re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1)
