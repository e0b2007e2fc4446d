"""The errors of kppstat: one family, each naming the thing, the place and the remedy."""

from __future__ import annotations


class KppstatError(Exception):
    """Something the user can put right. Prints as one line and never as a traceback.

    Parameters
    ----------
    what : str
        What is wrong, in a clause without a full stop, naming the thing and the value met.
    where : str, optional
        The file, node, tensor or option that it is about.
    remedy : str, optional
        What to do about it, as a sentence without a full stop.

    Examples
    --------
    >>> str(KppstatError("sigma is -0.1", where="--sigma", remedy="Give a number of 0 or more"))
    '--sigma: sigma is -0.1. Give a number of 0 or more.'
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        place = f"{where}: " if where else ""
        advice = f" {remedy}." if remedy else ""
        super().__init__(f"{place}{what}.{advice}")

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword arguments do not survive pickling by default, and errors travel between processes.
        return _rebuild, (type(self), self.what, self.where, self.remedy)


def _rebuild(kind: type[KppstatError], what: str, where: str, remedy: str) -> KppstatError:
    return kind(what, where=where, remedy=remedy)


#: What to do where a file cannot be written.
WRITABLE = "Name a file in a folder that can be written to, on a disk with space left"


class SettingError(KppstatError):
    """A setting is outside its range or contradicts another."""


class ModelError(KppstatError):
    """The ONNX model cannot be read, checked or used."""


class DataError(KppstatError):
    """The inputs or targets cannot be read or do not fit the model."""


class NoiseError(KppstatError):
    """A noise model is unknown or its parameters are out of range."""


class RunError(KppstatError):
    """A run's journal cannot be written, or belongs to another run."""
