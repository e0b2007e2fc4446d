"""k-th percentile performance (KPP) of neural networks on noisy compute-in-memory hardware.

The public names are loaded when they are first used, so that ``import kppstat`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_WHERE = {
    "Estimate": "kppstat.sampling",
    "Study": "kppstat.sampling",
    "Comparison": "kppstat.sampling.compare",
    "compare": "kppstat.sampling.compare",
    "estimate": "kppstat.sampling",
    "Gaussian": "kppstat.noise",
    "NoiseModel": "kppstat.noise",
    "Variation": "kppstat.noise",
    "KppstatError": "kppstat.errors",
    "load": "kppstat.onnx_io",
    "predict": "kppstat.prediction",
    "predict_sweep": "kppstat.prediction",
    "save": "kppstat.onnx_io",
    "sweep": "kppstat.sampling.sweep",
    "Sweep": "kppstat.sampling.sweep",
    "censoring": "kppstat.training",
    "judge": "kppstat.training",
    "train": "kppstat.training",
    "worst": "kppstat.worst_case",
}
__all__ = sorted([*_WHERE, "__version__"])

if TYPE_CHECKING:
    from kppstat.errors import KppstatError as KppstatError
    from kppstat.noise import Gaussian as Gaussian
    from kppstat.noise import NoiseModel as NoiseModel
    from kppstat.noise import Variation as Variation
    from kppstat.onnx_io import load as load
    from kppstat.onnx_io import save as save
    from kppstat.prediction import predict as predict
    from kppstat.prediction import predict_sweep as predict_sweep
    from kppstat.sampling import Estimate as Estimate
    from kppstat.sampling import Study as Study
    from kppstat.sampling import estimate as estimate
    from kppstat.sampling.compare import Comparison as Comparison
    from kppstat.sampling.compare import compare as compare
    from kppstat.sampling.sweep import Sweep as Sweep
    from kppstat.sampling.sweep import sweep as sweep
    from kppstat.training import censoring as censoring
    from kppstat.training import judge as judge
    from kppstat.training import train as train
    from kppstat.worst_case import worst as worst


def __getattr__(name: str) -> object:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'kppstat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
