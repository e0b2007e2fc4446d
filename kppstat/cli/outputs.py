"""Files that a command writes: looked at before the work begins, and each written whatever becomes of the others."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from kppstat.cli.console import err, give_up_stdout
from kppstat.errors import KppstatError, SettingError
from kppstat.style import Drawable, figure_kind


def check_outputs(
    model: Path, /, data: str | None = None, noise: Path | None = None, **places: Path | str | None
) -> None:
    """Raise if a file cannot be written, as far as can be told without writing.

    Parameters
    ----------
    model : path
        That of the command, which no result may overwrite.
    data : str, optional
        As for `kppstat.data.load`: files that it names are not overwritten either.
    noise : path, optional
        The noise file; likewise.
    **places : path, str or None
        By the name of the option: ``json``, ``out``, ``figure``, ``report``. None, and ``-`` for stdout, are no files.

    Raises
    ------
    SettingError
        If a place is a folder, lies in none, cannot be written to, or is read by the command; or a figure has no known
        kind.
    """
    sources = [(model, "the model"), *((Path(part), "the data") for part in (data or "").split(",") if part)]
    sources += [(model.with_suffix(".npz"), "the data")] if data is None else []
    sources += [] if noise is None else [(noise, "the noise file")]
    for name, given in places.items():
        if given is None or str(given) == "-":
            continue
        path, option = Path(given), f"--{name}"
        if path.is_dir():
            raise SettingError(f"{path} is a folder", where=option, remedy="Name a file in it")
        if name != "report" and not path.parent.is_dir():
            raise SettingError(f"there is no folder {path.parent}", where=option, remedy="Make it, or name another")
        if path.parent.is_dir() and not os.access(path if path.exists() else path.parent, os.W_OK):
            raise SettingError(f"{path} cannot be written", where=option, remedy="Name a file that may be")
        for source, what in sources:
            if path.exists() and source.exists() and path.samefile(source):
                raise SettingError(f"{path} is {what} itself", where=option, remedy="Name another file")
        if name == "figure":
            figure_kind(path)


def write_each(*writings: Callable[[], object]) -> None:
    """Print the answer and write one file after another; the first error is raised when all have been tried.

    A reader of the answer that has seen enough is no error.

    Raises
    ------
    KppstatError
        If the answer or a file cannot be written.
    """
    problem: KppstatError | None = None
    for writing in writings:
        try:
            writing()
            sys.stdout.flush()
        except KppstatError as e:
            problem = problem or e
        except BrokenPipeError:
            give_up_stdout()
        except OSError as e:
            give_up_stdout()
            message = f"the answer cannot be written ({e.strerror})"
            problem = problem or SettingError(message, remedy="Make room on the disk")
    if problem is not None:
        raise problem


def draw(result: Drawable, path: Path | None) -> None:
    """Save the figure of a result, and say so; None draws nothing."""
    if path is not None:
        result.plot(str(path))
        err.print(f"wrote {path}", style="dim", soft_wrap=True)
