"""Send an evaluator to other processes once, instead of with every task.

It is written to a folder, its arrays uncompressed, and each process maps them: processes of one machine share them.
"""

from __future__ import annotations

import functools
import pickle
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kppstat.engine.evaluator import Evaluator
from kppstat.engine.task import Evaluation, Task
from kppstat.errors import KppstatError

_HEAD, _ARRAYS = "evaluator", "arrays"
_ALIGNMENT = 64
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Parcel:
    """An evaluator in a folder. Only this engine's own workers read it.

    Attributes
    ----------
    folder : str
    lengths : tuple of int
        Bytes of its arrays.
    """

    folder: str
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, evaluator: Evaluator) -> Parcel:
        """Write an evaluator into a new temporary folder."""
        folder = Path(tempfile.mkdtemp(prefix="kppstat-"))
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(evaluator, protocol=5, buffer_callback=buffers.append)
        (folder / _HEAD).write_bytes(head)
        raws = [buffer.raw() for buffer in buffers]
        with (folder / _ARRAYS).open("wb") as file:
            for raw in raws:
                file.write(raw)
                file.write(bytes(-raw.nbytes % _ALIGNMENT))
        return cls(str(folder), tuple(raw.nbytes for raw in raws))

    def open(self) -> Evaluator:
        """Return the evaluator.

        Raises
        ------
        KppstatError
            If the folder is not visible from here.
        """
        folder = Path(self.folder)
        try:
            head = (folder / _HEAD).read_bytes()
            arrays = np.memmap(folder / _ARRAYS, np.uint8, "r") if sum(self.lengths) else np.empty(0, np.uint8)
        except OSError:
            raise KppstatError(
                f"the worker on {socket.gethostname()} cannot see {self.folder}",
                remedy="Set TMPDIR to a folder that all machines share",
            ) from None
        buffers, start = [], 0
        for length in self.lengths:
            buffers.append(arrays[start : start + length])
            start += length + -length % _ALIGNMENT
        return pickle.loads(head, buffers=buffers)

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.lru_cache(maxsize=1)
def _opened(parcel: Parcel) -> Evaluator:
    return parcel.open()


def _run(parcel: Parcel, group: list[Task]) -> list[Evaluation]:
    with _LOCK:
        evaluator = _opened(parcel)
    return [evaluator(task) for task in group]


def run_group(parcel: Parcel) -> Callable[[list[Task]], list[Evaluation]]:
    """Return what another process calls to run a group of tasks."""
    return functools.partial(_run, parcel)
