"""The file that an interrupted training goes on from."""

from __future__ import annotations

import os
import pickle
from glob import escape
from pathlib import Path
from typing import Any

import torch

from kppstat.errors import RunError


class Checkpoint:
    """A file that is replaced after each epoch, and only when the new one is complete.

    Parameters
    ----------
    path : Path
    identity : dict
        Plain description of the run; another run's file is refused.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path, self.identity = path, identity

    def write(self, state: dict[str, Any]) -> None:
        """Write the state so that a crash at any moment leaves the old file or the new one.

        Raises
        ------
        RunError
            If the file cannot be written.
        """
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as stream:
                torch.save({"identity": self.identity, "state": state}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(self.path)
        except OSError as error:
            raise RunError(
                f"the checkpoint cannot be written ({error.strerror or error})",
                where=str(self.path),
                remedy="Check the folder and its free space",
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def read(self, device: torch.device) -> dict[str, Any]:
        """Return the last state.

        Raises
        ------
        RunError
            If there is none, the file is damaged, or it belongs to another run.
        """
        try:
            found = torch.load(self.path, map_location=device, weights_only=True)
            identity, state = found["identity"], found["state"]
        except FileNotFoundError:
            raise RunError("there is nothing to resume", where=str(self.path), remedy="Leave --resume out") from None
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError):
            raise RunError(
                "the checkpoint is damaged", where=str(self.path), remedy="Delete it and leave --resume out"
            ) from None
        other = [name for name in self.identity if identity.get(name) != self.identity[name]]
        if other:
            raise RunError(
                f"the checkpoint belongs to another run: {', '.join(other)} differ",
                where=str(self.path),
                remedy="Give the settings of that run, or delete the file and leave --resume out",
            )
        return state

    def refuse_existing(self) -> None:
        """Refuse to begin anew where a run can go on.

        Raises
        ------
        RunError
        """
        if self.path.exists():
            raise RunError(
                "an interrupted training can go on from here",
                where=str(self.path),
                remedy="Add --resume, or delete the file to begin anew",
            )

    def remove(self) -> None:
        """Delete the file, and what killed processes left of theirs: the training is complete."""
        self.path.unlink(missing_ok=True)
        for partial in self.path.parent.glob(f".{escape(self.path.name)}.*.partial"):
            partial.unlink(missing_ok=True)
