"""Writing the page of an estimate and its figures, whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from importlib.resources import files
from io import BytesIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from kppstat.errors import SettingError
from kppstat.report.facts import caption, description, facts, promise
from kppstat.report.inline import inline_svg
from kppstat.report.tensors import Tensors
from kppstat.sampling.figures import convergence, distribution
from kppstat.sampling.result import Estimate
from kppstat.style import need, save_to

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write(estimate: Estimate, tensors: Tensors, path: str | Path, *, command: str = "") -> list[Path]:
    """Write the report of an estimate: a self-contained HTML page, and its figures as SVG and PNG beside it.

    Parameters
    ----------
    estimate : Estimate
    tensors : Tensors
        What device variation did to the model: ``Tensors.of(model, variation)``.
    path : path
        Name of the page, ending in ``.html``; folders that are missing are made. The figures of ``out.html`` are
        ``out-distribution.svg`` and so on.
    command : str, optional
        The command that gave the estimate, to be shown under how to reproduce it.

    Returns
    -------
    list of Path
        The files written, the page first.

    Raises
    ------
    SettingError
        If matplotlib or jinja2 is not installed, or a file cannot be written; then no file is left half-written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from kppstat import Gaussian, Variation, estimate, load
    >>> from kppstat.demo import MODEL
    >>> result = estimate(MODEL, sigma=0.1, k=5, method="mc", max_evaluations=20, workers=1)
    >>> with TemporaryDirectory() as folder:
    ...     written = write(result, Tensors.of(load(MODEL), Variation(Gaussian(0.1))), f"{folder}/out.html")
    >>> [file.name for file in written[:2]]
    ['out.html', 'out-distribution.svg']
    """
    page = check(path)
    figures = {"distribution": distribution(estimate), "convergence": convergence(estimate)}
    contents = {page: _page(estimate, tensors, figures, command)}
    for name, figure in figures.items():
        for kind in ("svg", "png"):
            contents[page.with_name(f"{page.stem}-{name}.{kind}")] = _drawn(figure, kind)
    _write_all(contents)
    return list(contents)


def check(path: str | Path) -> Path:
    """Return the path of a report after making sure, before a long run, that it can be written.

    Raises
    ------
    SettingError
        If matplotlib or jinja2 is not installed, the name is not that of a page, or the folder cannot be written.
    """
    page = Path(path)
    need("matplotlib")
    need("jinja2")
    if page.suffix.lower() not in (".html", ".htm"):
        remedy = (
            f"Name it {page.name or 'report'}.html" if not os.path.isdir(page) else f"Name it {page / 'report.html'}"
        )
        raise SettingError("a report is an HTML page", where=str(path), remedy=remedy)
    if os.path.isdir(page):
        raise SettingError("this is a folder", where=str(path), remedy="Name a file that ends in .html")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        probe = _unfinished(page.with_name(f"{page.stem}-distribution.svg"))  # the longest name of all
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as e:
        raise _unwritable(page, e) from None
    return page


def _page(estimate: Estimate, tensors: Tensors, figures: dict[str, Figure], command: str) -> bytes:
    jinja2 = need("jinja2")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(files("kppstat.report").joinpath("page.html.j2").read_text("utf-8"))
    markup = jinja2.utils.markupsafe.Markup
    text = template.render(
        estimate=estimate,
        tensors=tensors,
        model=PurePath(estimate.model).name or estimate.model,
        facts=facts(estimate),
        promise=promise(estimate),
        figures=[
            (markup(inline_svg(figure, name, description(estimate, name))), caption(estimate, name))
            for name, figure in figures.items()
        ],
        command=command,
        written=datetime.now().astimezone().strftime("%d %B %Y, %H:%M %Z").lstrip("0"),
    )
    # Control characters have no place in HTML, and names of files need not be text.
    text = "".join(c if c >= " " or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text.encode("utf-8", "replace")


def _drawn(figure: Figure, kind: str) -> bytes:
    file = BytesIO()
    save_to(figure, file, kind)
    return file.getvalue()


def _write_all(contents: dict[Path, bytes]) -> None:
    """Write every file under another name first; only when all are on disk do they get their names, the page last."""
    unfinished = {path: _unfinished(path) for path in reversed(contents)}
    path = next(iter(contents))
    try:
        for path, other in unfinished.items():
            with other.open("wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for path, other in unfinished.items():
            other.replace(path)
    except OSError as e:
        raise _unwritable(path, e) from None
    finally:
        for other in unfinished.values():
            with suppress(OSError):
                other.unlink(missing_ok=True)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.unfinished")


def _unwritable(path: Path, error: Exception) -> SettingError:
    reason = getattr(error, "strerror", None) or error
    return SettingError(
        f"the report cannot be written ({reason})",
        where=str(path),
        remedy="Name a file in a folder with room that you may write",
    )
