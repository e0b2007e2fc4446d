"""How commands talk to a person: on stderr, so that stdout stays for the answer."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kppstat.errors import WRITABLE, SettingError
from kppstat.graph import ExactTensor


class Answer(Console):
    """What goes to stdout; a reader that has seen enough is an error like any other here, not an exit."""

    def on_broken_pipe(self) -> None:
        """Raise, instead of ending the program."""
        raise BrokenPipeError


def whole(_: type, tokens: Sequence[Token]) -> int:
    """Return a whole number from the words of an option; a fraction is none, and is not rounded to one."""
    word = tokens[0].value
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"{word} is no whole number") from None


def as_given(_: type, tokens: Sequence[Token]) -> str:
    """Return the word of an option as it is: ``none`` is one, not the absence of it."""
    return tokens[0].value


Whole = Annotated[int, Parameter(converter=whole)]
"""A whole number on the command line."""

err = Console(stderr=True, highlight=False)
SHOWN = 12  # names of a long list
LOG_EVERY = 20  # seconds between lines of progress where stderr is no terminal


def duration(seconds: float) -> str:
    """Return a time as a person would say it.

    Examples
    --------
    >>> duration(5.2), duration(75), duration(7300)
    ('5 s', '1 min 15 s', '2 h 1 min')
    """
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60} s"
    return f"{s // 3600} h {s % 3600 // 60} min" if s < 172800 else f"{s / 86400:.1f} days"


def plain_table(*columns: str) -> Table:
    """Return a table without lines, numbers to be added as text."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", overflow="fold")
    return table


def exact_lines(exact: tuple[ExactTensor, ...]) -> list[str]:
    """Group constants that carry no device variation by reason: one line a reason."""
    groups: dict[str, list[ExactTensor]] = {}
    for tensor in exact:
        reason = tensor.reason.partition(" (")[0]  # what stands in brackets is the node, which the name tells too
        groups.setdefault(reason, []).append(tensor)
    lines = []
    for reason, tensors in groups.items():
        names = ", ".join(t.name for t in tensors[:SHOWN])
        more = f" and {len(tensors) - SHOWN} more" if len(tensors) > SHOWN else ""
        lines.append(f"{len(tensors)} x {reason}: {names}{more}")
    return lines


@contextmanager
def live(*, quiet: bool) -> Iterator[Callable[[Text], None]]:
    """Yield a function that shows one line of progress: in place on a terminal, now and then in a log file."""
    if quiet:
        yield lambda _: None
    elif err.is_terminal:
        with Live(console=err, refresh_per_second=8, transient=True) as display:
            yield display.update
    else:
        shown = time.monotonic()

        def now_and_then(line: Text) -> None:
            nonlocal shown
            if time.monotonic() - shown >= LOG_EVERY:
                shown = time.monotonic()
                err.print(line, soft_wrap=True)

        yield now_and_then


def write_json(result: dict[str, Any], target: str | None) -> None:
    """Write a result as JSON to stdout (``-``) or a file; nowhere for None.

    Raises
    ------
    SettingError
        If the file cannot be written.
    """
    if target is None:
        return
    text = json.dumps(result, indent=2)
    if target == "-":
        sys.stdout.write(text + "\n")
        return
    try:
        Path(target).write_text(text + "\n")
    except OSError as e:
        raise SettingError(f"cannot write the result ({e.strerror})", where=target, remedy=WRITABLE) from None


def give_up_stdout() -> None:
    """Point stdout nowhere, so that Python does not stumble at exit over what is left in it."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
