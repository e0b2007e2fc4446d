"""Files that a command writes: looked at before the work begins, and each written whatever becomes of the others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from kppstat.cli.console import err
from kppstat.errors import KppstatError, SettingError
from kppstat.style import figure_kind


class Drawable(Protocol):
    """A result that has a figure."""

    def plot(self, path: str | None = None) -> Any:
        """Draw it, and save it where a path is given."""


def check_outputs(model: Path | None = None, /, **places: Path | str | None) -> None:
    """Raise if a file cannot be written, as far as can be told without writing.

    Parameters
    ----------
    model : path, optional
        That of the command, which no result may overwrite.
    **places : path, str or None
        By the name of the option: ``json``, ``out``, ``figure``. None, and ``-`` for stdout, are no files.

    Raises
    ------
    SettingError
        If a place is a folder, lies in none, cannot be written to, or is the model; or a figure has no known kind.
    """
    for name, given in places.items():
        if given is None or str(given) == "-":
            continue
        path, option = Path(given), f"--{name}"
        if path.is_dir():
            raise SettingError(f"{path} is a folder", where=option, remedy="Name a file in it")
        if not path.parent.is_dir():
            raise SettingError(f"there is no folder {path.parent}", where=option, remedy="Make it, or name another")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise SettingError(f"{path} cannot be written", where=option, remedy="Name a file that may be")
        if model is not None and path.exists() and model.exists() and path.samefile(model):
            raise SettingError(f"{path} is the model itself", where=option, remedy="Name another file")
        if name == "figure":
            figure_kind(path)


def write_each(*writings: Callable[[], object]) -> None:
    """Write one file after another; the first error is raised when all have been tried.

    Raises
    ------
    KppstatError
        If a file cannot be written.
    """
    problem: KppstatError | None = None
    for writing in writings:
        try:
            writing()
        except KppstatError as e:
            problem = problem or e
    if problem is not None:
        raise problem


def draw(result: Drawable, path: Path | None) -> None:
    """Save the figure of a result, and say so; None draws nothing."""
    if path is not None:
        result.plot(str(path))
        err.print(f"wrote {path}", style="dim", soft_wrap=True)
