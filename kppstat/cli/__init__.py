"""The command line: one file per command, each of which parses, calls one function and prints.

Exit codes: 0 the wanted half-width is reached (or the command did its work), 3 stopped at the budget,
2 bad input, 130 interrupted (with a valid result, where there was one).
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from cyclopts import App, CycloptsError
from rich.console import Console

from kppstat import __version__
from kppstat.cli.console import give_up_stdout
from kppstat.errors import KppstatError

BAD_INPUT, AT_BUDGET, INTERRUPTED = 2, 3, 130

app = App(
    name="kppstat",
    help="k-th percentile performance of neural networks on noisy compute-in-memory hardware.",
    version=__version__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,  # `run` says what became of it
)
COMMANDS = {
    "estimate": "The KPP of a model under device variation, with an interval that holds.",
    "predict": "The KPP in seconds from moments, without a guarantee.",
    "sweep": "KPP against sigma, for several k.",
    "compare": "Which of several models has the better KPP.",
    "worst": "The worst weights within a bound.",
    "verify": "Which weights are worth programming by write-verify.",
    "train": "Train a model for its KPP.",
    "check": "What carries device variation in a model, what does not, and why.",
    "noise": "The noise models: formula, unit, source, figure.",
    "merge": "Join the runs of several machines.",
    "demo": "Estimate the KPP of the network that ships with kppstat.",
    "doctor": "What is installed, and what is missing for each command.",
}
for place, (name, line) in enumerate(COMMANDS.items()):
    # A string, so that a command is imported only when it is called.
    app.command(f"kppstat.cli.{name}:{name}", name=name, help=line, sort_key=place)


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code; an error the user can put right is one line on stderr."""
    # A scheduler that ends the job gets the interval valid so far, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Python has none where the caller has closed them.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    sys.exit(run(sys.argv[1:] if tokens is None else tokens))


def run(tokens: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except KppstatError as e:
        return _fail(str(e))
    except CycloptsError as e:
        return _fail(" ".join(str(e).split()))
    except KeyboardInterrupt:
        _say("interrupted before there was a result")
        return INTERRUPTED
    except BrokenPipeError:
        give_up_stdout()
        return 0  # the reader of our output has seen enough
    except OSError as e:
        if e.errno != errno.ENOSPC:
            raise
        give_up_stdout()
        return _fail(f"the answer cannot be written ({e.strerror}). Make room on the disk")
    return code if isinstance(code, int) else 0


def _fail(message: str) -> int:
    _say(f"error: {message}")
    return BAD_INPUT


def _say(message: str) -> None:
    with suppress(OSError):  # stderr may be full, too
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(message)
