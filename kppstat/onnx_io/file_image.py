"""The image of a model that is too large for one message: a file, whose external data are changed in place."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from kppstat.errors import ModelError
from kppstat.onnx_io.slots import Slot, slot_of
from kppstat.onnx_io.stored import PAGE, SMALL, header, is_plain, tensor

MODEL, DATA = "model.onnx", "weights.data"


@dataclass(eq=False)
class _Copy:
    """A copy of the files that one thread patches, and the weights in it that are not the intended ones."""

    folder: Path
    changed: set[str] = field(default_factory=set)


class FileImage:
    """A model of any size.

    Whoever makes it writes the intended weights once, to a temporary folder. Each thread or process that runs instances
    copies that folder the first time, and from then on only overwrites what changes.
    """

    def __init__(self, skeleton: ModelProto, constants: Mapping[str, np.ndarray], weights: frozenset[str]) -> None:
        self._intended = _temporary_folder(self)
        self._slots: dict[str, Slot] = {}
        self._copies = threading.local()
        model = ModelProto()
        model.CopyFrom(skeleton)
        try:
            with (self._intended / DATA).open("wb") as stream:
                for name, values in constants.items():
                    if name in weights or (is_plain(values) and values.nbytes >= SMALL):
                        stream.write(bytes(-stream.tell() % PAGE))
                        place = Slot(name, values.dtype, values.shape, stream.tell())
                        if name in weights:
                            self._slots[name] = place
                        model.graph.initializer.append(header(name, values, DATA, place.place))
                        stream.write(place.stored(values).data)
                    else:
                        model.graph.initializer.append(tensor(name, values))
            (self._intended / MODEL).write_bytes(model.SerializeToString())
        except OSError as error:
            raise _no_room(error) from error

    def patched(self, weights: Mapping[str, np.ndarray]) -> Path:
        """Return the model file with these weights in place of the intended ones.

        The file is that of the calling thread, and holds these weights until the thread's next call.
        """
        slots = {name: slot_of(self._slots, name) for name in weights}
        stored = {name: slot.stored(weights[name]) for name, slot in slots.items()}
        copy = self._copy()
        if stored or copy.changed:
            self._write(copy, stored)
        copy.changed = set(slots)
        return copy.folder / MODEL

    def _write(self, copy: _Copy, stored: Mapping[str, np.ndarray]) -> None:
        """Put these weights, and the intended ones where others were before, into the files of this thread."""
        original = np.memmap(self._intended / DATA, np.uint8, "r")
        data = np.memmap(copy.folder / DATA, np.uint8, "r+")
        for name in copy.changed - stored.keys():
            part = self._slots[name].part()
            data[part] = original[part]
        for name, values in stored.items():
            data[self._slots[name].part()] = values
        data.flush()

    def _copy(self) -> _Copy:
        """Return the files of this thread, made at the first call."""
        found: _Copy | None = getattr(self._copies, "of_this_thread", None)
        if found is None:
            if not (self._intended / MODEL).is_file():
                raise ModelError(
                    f"its files in {self._intended} are gone or on another machine",
                    where="the image of a model above 2 GB",
                    remedy="Keep the model loaded while instances run, and run them on one machine",
                )
            found = self._copies.of_this_thread = _Copy(_temporary_folder(self))
            try:
                for name in (MODEL, DATA):
                    shutil.copyfile(self._intended / name, found.folder / name)
            except OSError as error:
                raise _no_room(error) from error
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {"_intended": self._intended, "_slots": self._slots}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _copies=threading.local())


def _temporary_folder(owner: FileImage) -> Path:
    """Return a new folder that is removed with its owner."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="kppstat-"))
    except OSError as error:
        raise _no_room(error) from error
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder


def _no_room(error: OSError) -> ModelError:
    return ModelError(
        f"cannot be written: {error.strerror or error}",
        where="the working copy of a model above 2 GB",
        remedy="Let TMPDIR name a folder with room for several copies of the model",
    )
