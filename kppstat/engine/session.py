"""onnxruntime sessions for models whose weights have just been programmed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kppstat.errors import ModelError
from kppstat.user_code import in_short

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Errors come back as exceptions; what onnxruntime prints besides would say them twice.
_FATAL_ONLY = 4


def build(model: bytes | Path, *, threads: int = 1, optimised: bool = False) -> InferenceSession:
    """Return a session on the CPU.

    Parameters
    ----------
    model : bytes or Path
        Serialised model, or its file where it has external data.
    threads : int
        Threads within an operator.
    optimised : bool
        The model comes from `optimise`, so nothing is left to optimise.

    Raises
    ------
    ModelError
        If onnxruntime cannot run the model.
    """
    return _session(model, _options(threads, optimised))


def optimise(model: bytes) -> bytes:
    """Return the model as onnxruntime optimises it for this machine, weights reordered and operators fused."""
    options = _options(1, optimised=False)
    with tempfile.TemporaryDirectory(prefix="kppstat-") as folder:
        path = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(path)
        _session(model, options)
        return path.read_bytes()


def _options(threads: int, optimised: bool) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_DISABLE_ALL if optimised else level.ORT_ENABLE_ALL
    # A session lives for one instance. The allocator of the system hands the same pages to the next one, while an
    # arena of its own would have to fetch them anew; and its memory is bounded by what a batch needs.
    options.enable_cpu_mem_arena = False
    if threads > 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _session(model: bytes | Path, options: Any) -> InferenceSession:
    import onnxruntime as ort

    try:
        source = model if isinstance(model, bytes) else str(model)
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime raises a dozen kinds
        raise ModelError(
            f"onnxruntime cannot load the model ({in_short(problem)})", remedy="See: kppstat check MODEL"
        ) from None
