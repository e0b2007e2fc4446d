"""A page from its template, with the figures inside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from kppstat.report.files import drawn, write_all
from kppstat.report.inline import inline_svg
from kppstat.style import need

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Name, figure, its description for those who cannot see it, and the caption below it.
Shown = tuple[str, "Figure", str, str]


def write_page(page: Path, template: str, result: Any, figures: list[Shown], values: Mapping[str, Any]) -> list[Path]:
    """Write a page and its figures beside it; return the files, the page first.

    Parameters
    ----------
    page : Path
        As `kppstat.report.check` returned it.
    template : str
        A file of this folder that fills the blocks of ``frame.html.j2``.
    result : Estimate or WorstCase
    figures : list of Shown
    values : mapping of str to object
        What else the template reads.
    """
    contents = {page: _rendered(template, result, figures, values)}
    for name, figure, _, _ in figures:
        for kind in ("svg", "png"):
            contents[page.with_name(f"{page.stem}-{name}.{kind}")] = drawn(figure, kind)
    write_all(contents)
    return list(contents)


def _rendered(template: str, result: Any, figures: list[Shown], values: Mapping[str, Any]) -> bytes:
    jinja2 = need("jinja2")
    here = files("kppstat.report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: here.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    markup = jinja2.utils.markupsafe.Markup
    text = environment.get_template(template).render(
        result=result,
        model=PurePath(result.model).name or result.model,
        figures=[(markup(inline_svg(figure, name, said)), caption) for name, figure, said, caption in figures],
        written=datetime.now().astimezone().strftime("%d %B %Y, %H:%M %Z").lstrip("0"),
        **values,
    )
    # Control characters have no place in HTML, and names of files need not be text.
    text = "".join(c if c >= " " or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text.encode("utf-8", "replace")
