"""What training makes small, and what validation measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kppstat.errors import DataError
from kppstat.performance import CrossEntropy, MeanSquaredError, Performance


@dataclass(frozen=True)
class Objective:
    """A loss, chosen by the targets and the outputs of the network that is to be trained.

    Attributes
    ----------
    name : str
        ``cross-entropy``, ``cross-entropy of the model's probabilities`` or ``mean squared error``.
    performance : Performance
        Measured in validation.
    """

    name: str
    performance: Performance

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over a mini-batch, a scalar."""
        if self.name.startswith("mean"):
            return functional.mse_loss(outputs, targets.reshape(outputs.shape).to(outputs.dtype))
        table, labels = outputs.reshape(outputs.shape[:2]), targets.reshape(-1)
        if self.name == "cross-entropy":
            return functional.cross_entropy(table, labels)
        return functional.nll_loss(table.clamp_min(1e-12).log(), labels)


def objective_for(
    performance: Performance, outputs: np.ndarray, targets: np.ndarray, all_targets: np.ndarray
) -> Objective:
    """Choose the loss: mean squared error where that is measured or targets are real numbers, or else cross-entropy.

    Parameters
    ----------
    performance : Performance
    outputs, targets : ndarray, shape (n, ...)
        Of a few inputs.
    all_targets : ndarray
        Those of all inputs, whose labels must all be classes of the network.

    Raises
    ------
    DataError
        If the targets fit neither, or do not fit the performance.
    """
    fitted = performance.fitted(outputs, targets)
    if isinstance(performance, MeanSquaredError) or targets.dtype.kind == "f":
        if outputs.size != targets.size:
            what = f"outputs of shape {outputs.shape} and targets of shape {targets.shape} differ"
            raise DataError(what, where="targets", remedy="Give one target for each output, or integer labels")
        return Objective("mean squared error", fitted)
    return Objective(CrossEntropy().fitted(outputs, all_targets).name, fitted)


def scores(objective: Objective, outputs: Tensor, targets: np.ndarray) -> np.ndarray:
    """Return the score of each input, larger where better."""
    return objective.performance.scores(outputs.detach().cpu().numpy(), targets)


def as_targets(targets: np.ndarray, device: torch.device) -> Tensor:
    """Return targets as a tensor: labels as int64, real numbers as float32."""
    kind = np.float32 if targets.dtype.kind == "f" else np.int64
    return torch.from_numpy(np.ascontiguousarray(targets, kind)).to(device)
