"""Functions of the user's own, named ``module:function``."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from kppstat.errors import SettingError

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def names_function(text: str) -> bool:
    """Say whether this reads as ``module:function``.

    Examples
    --------
    >>> names_function("mypackage.data:test_set"), names_function("data/x.npz")
    (True, False)
    """
    return _NAME.fullmatch(text) is not None


def function_named(text: str, where: str) -> Callable[..., Any]:
    """Import ``module:function``; modules in the current folder are found too.

    Parameters
    ----------
    text : str
    where : str
        The option that named it, for messages.

    Raises
    ------
    SettingError
        If the module cannot be imported or holds no such function.

    Examples
    --------
    >>> function_named("math:sqrt", "--data")(4.0)
    2.0
    """
    module_name, _, attribute = text.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        # Worker processes import the module again, so the folder stays on the path.
        sys.path.append(here)
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as problem:
        raise SettingError(
            f"module '{module_name}' cannot be imported: {in_short(problem)}",
            where=where,
            remedy=f"Check the name, and that it lies in this folder ({here}) or is installed",
        ) from None
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise SettingError(
            f"module '{module_name}' has no '{attribute}'", where=where, remedy="Name a function that it defines"
        ) from None
    if not callable(found):
        raise SettingError(f"'{text}' is a {type(found).__name__}", where=where, remedy="Name a function")
    return found


def in_short(problem: BaseException) -> str:
    r"""Return the kind and the first line of a foreign error.

    Examples
    --------
    >>> in_short(ValueError("no luck\nmore"))
    'ValueError: no luck'
    """
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0][:200]}" if lines else type(problem).__name__
