"""Run a model in onnxruntime once, for checks: quietly, on one thread, and never without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import ModelProto

from kppstat.errors import ModelError
from kppstat.onnx_io.lift import reads
from kppstat.onnx_io.read import gist
from kppstat.onnx_io.stored import SMALL, header, is_plain, tensor

SECONDS = 60.0  # for all runs of a session together; what is not done by then is given up


class Session:
    """An onnxruntime session for a few runs."""

    def __init__(
        self, model: bytes | Path, where: str, held: Mapping[str, np.ndarray] | None = None, *, thorough: bool = False
    ) -> None:
        self._left = SECONDS
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        levels = ort.GraphOptimizationLevel
        # Light optimisation is quick, and its rounding stays close to that of the plain graph.
        options.graph_optimization_level = levels.ORT_ENABLE_ALL if thorough else levels.ORT_ENABLE_BASIC
        if held:
            self._held = [ort.OrtValue.ortvalue_from_numpy(values) for values in held.values()]  # views, not copies
            options.add_external_initializers(list(held), self._held)
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a dozen exceptions without a common base
            raise ModelError(
                f"onnxruntime cannot run it: {gist(error)}", where=where, remedy="Export it for onnxruntime"
            ) from error

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
        """Return the outputs, or None if onnxruntime refuses these inputs or the time is up."""
        options = ort.RunOptions()
        options.log_severity_level = 4
        start = time.monotonic()
        clock = threading.Timer(self._left, lambda: setattr(options, "terminate", True))
        clock.daemon = True
        clock.start()
        try:
            outputs: list[np.ndarray] = self._session.run(None, dict(feeds), options)
            return outputs
        except Exception:  # wrong sizes are the usual cause; the caller tries others
            return None
        finally:
            clock.cancel()
            self._left -= min(time.monotonic() - start, self._left)


def session_of(skeleton: ModelProto, constants: Mapping[str, np.ndarray], *, thorough: bool = False) -> Session:
    """Return a session of an imported model; large constants are handed over as they lie in memory."""
    model = ModelProto()
    model.CopyFrom(skeleton)
    held: dict[str, np.ndarray] = {}
    read = set(reads(skeleton.graph))
    for name, values in constants.items():
        if name not in read:
            continue  # onnxruntime would drop it, and then miss it among those held
        if is_plain(values) and values.nbytes >= SMALL:
            held[name] = values
            model.graph.initializer.append(header(name, values, "memory", 0))
        else:
            model.graph.initializer.append(tensor(name, values))
    return Session(model.SerializeToString(), "the imported model", held, thorough=thorough)
