"""The files of a report: checked before a long run, and written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from kppstat.errors import SettingError
from kppstat.style import need, save_to

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def drawn(figure: Figure, kind: str) -> bytes:
    """Return the file of a figure."""
    file = BytesIO()
    save_to(figure, file, kind)
    return file.getvalue()


def write_all(contents: dict[Path, bytes]) -> None:
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
