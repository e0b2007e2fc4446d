"""A file that keeps where a search is, so that the same command goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from kppstat.errors import RunError


class Checkpoint:
    """The state of one search on disk; a new one takes the place of the old only when it is complete.

    Parameters
    ----------
    path : path
        Begun if missing.
    identity : mapping of str to plain values
        What fixes the search: model, data, region, budget, seed. A file with another identity is refused.

    Raises
    ------
    RunError
        If the file is none of these, or belongs to another search; the message names the difference.
    """

    def __init__(self, path: str | Path, identity: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.identity = {key: json.dumps(value) for key, value in identity.items()}
        self._state: dict[str, Any] | None = self._read() if self.path.exists() else None

    def recall(self) -> dict[str, Any] | None:
        """Return the state kept last; None where there is none."""
        return self._state

    def keep(self, state: dict[str, Any]) -> None:
        """Write a state of plain values and tensors.

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
        except OSError as e:
            raise RunError(f"cannot write the checkpoint ({e.strerror})", where=str(self.path)) from None
        finally:
            partial.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        remedy = "Name another file"
        try:
            kept = torch.load(self.path, weights_only=True)
            theirs, state = kept["identity"], kept["state"]
        except Exception:  # torch raises a dozen kinds for files that are not its own
            raise RunError("this is no checkpoint of a search", where=str(self.path), remedy=remedy) from None
        for key, mine in self.identity.items():
            if theirs.get(key) != mine:
                raise RunError(
                    f"the checkpoint is of another search: {key} is {theirs.get(key)} there and {mine} here",
                    where=str(self.path),
                    remedy=remedy,
                )
        return dict(state)
