"""The network as a function of a deviation of its weights, in torch, with its cost counted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from kppstat.data import Dataset
from kppstat.errors import DataError
from kppstat.onnx_io import Model
from kppstat.propagate import forward
from kppstat.worst_case.objectives import Objective, margin
from kppstat.worst_case.region import Region

FORWARD = 1 / 3  # of a gradient pass: backward takes about twice the work of forward
_BATCH = 128
_SWEEP = 8  # mini-batches that even few inputs make, so that steps are many
_END = {"Softmax", "LogSoftmax"}


class Network:
    """A model whose weights are ``W + unit * u`` for one flat vector `u`, the deviation; the unit is max|W| or finer.

    Parameters
    ----------
    model : Model
    data : Dataset
    targets : ndarray of int, shape (n,)
        The right class of each input.
    names : collection of str
        The weights that deviate; the others stay as intended.
    budget : float
        Gradient passes that the search may spend.
    region : Region, optional
        Whose units deviations have; without one, and in most regions, max|W| of each tensor.

    Attributes
    ----------
    size : int
        Length of `u`.
    units : dict of str to Tensor
        Of each tensor's deviation, float64: one number, or one for each weight.
    slices : dict of str to slice
        Where each tensor lies in `u`.
    batch : int
        Inputs computed at a time: what the model demands, or a mini-batch.
    passes : float
        Gradient passes over all inputs spent so far; a forward alone counts a third.
    """

    def __init__(
        self,
        model: Model,
        data: Dataset,
        targets: np.ndarray,
        names: Collection[str],
        *,
        budget: float = 100.0,
        region: Region | None = None,
    ) -> None:
        self.graph, self.data, self.budget = model.graph, data, budget
        self.fixed = model.batch is not None
        self.batch = model.batch or max(1, min(_BATCH, len(data) // _SWEEP))
        self.targets = torch.from_numpy(targets.astype(np.int64).reshape(-1))
        intended = {n: v for n, v in model.values().items() if n in names}
        self.units = {n: torch.from_numpy((region or Region(0.0)).unit(n, v)) for n, v in intended.items()}
        self.intended = {n: torch.from_numpy(v.copy()) for n, v in intended.items()}
        self.slices: dict[str, slice] = {}
        self.size = 0
        for name, w in self.intended.items():
            self.slices[name] = slice(self.size, self.size + w.numel())
            self.size += w.numel()
        self.passes = 0.0
        # Behind a softmax the gradient vanishes where the network is sure; margins order the inputs alike before it.
        output = self.graph.outputs[0].name
        last = next((node for node in self.graph.nodes if output in node.outputs), None)
        self.logits = last.inputs[0] if last is not None and last.op in _END else output

    def __len__(self) -> int:
        return len(self.data)

    @property
    def chance(self) -> float:
        """Return the accuracy of answering with the most frequent class whatever the input."""
        return float(self.targets.bincount().max()) / len(self)

    def rarest(self) -> tuple[int, float]:
        """Return the class that fewest inputs have, maybe none, and its share: the lowest accuracy of one answer."""
        classes = self._logits(self.intended, np.arange(1)).shape[1]
        self.passes += FORWARD / len(self)
        counts = self.targets.bincount(minlength=classes)
        return int(counts.argmin()), float(counts.min()) / len(self)

    @property
    def left(self) -> float:
        """Gradient passes left for the search, when one check of what it found is still to be paid."""
        return self.budget - self.passes - FORWARD

    def spend(self, passes: float) -> None:
        """Count work done elsewhere."""
        self.passes += passes

    def start(self) -> Tensor:
        """Return the deviation of the intended weights: zeros."""
        return torch.zeros(self.size)

    def project(self, u: Tensor, region: Region) -> Tensor:
        """Return the nearest deviation that lies in the region."""
        if region.norm == "linf":
            return u.clamp(-region.bound, region.bound)
        out = u.clone()
        for part in self._together(region):
            out[part] *= min(1.0, region.bound / max(_rms(u[part]), 1e-30))
        return out

    def steepest(self, gradient: Tensor, region: Region) -> Tensor:
        """Return the step of length 1, in the norm of the region, that raises a linear function most."""
        if region.norm == "linf":
            return gradient.sign()
        out = gradient.clone()
        for part in self._together(region):
            out[part] /= max(_rms(gradient[part]), 1e-30)
        return out

    def weights(self, u: Tensor) -> dict[str, Tensor]:
        """Return the deviating weights, through which gradients flow back to `u`."""
        return {
            n: w + (self.units[n] * u[self.slices[n]].reshape(w.shape)).to(w.dtype) for n, w in self.intended.items()
        }

    def split(self, u: Tensor) -> dict[str, np.ndarray]:
        """Return `u` as one array for each tensor, in its shape."""
        return {n: u[self.slices[n]].reshape(w.shape).numpy() for n, w in self.intended.items()}

    def margins(self, u: Tensor, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the margin of these inputs, or of all, positive where right; a forward alone."""
        parts = []
        with torch.no_grad():
            weights = self.weights(u)
            for part in self.batches(rows):
                parts.append(margin(self._logits(weights, part), self.targets[torch.from_numpy(part)]))
        found = torch.cat(parts).numpy()
        self.passes += FORWARD * len(found) / len(self)
        return found

    def gradient(self, u: Tensor, objective: Objective, rows: np.ndarray | None = None) -> tuple[Tensor, np.ndarray]:
        """Return the gradient in `u` of the objective summed over inputs, and the margins met on the way."""
        u = u.detach().requires_grad_()
        total = torch.zeros_like(u)
        parts = []
        for part in self.batches(rows):
            labels = self.targets[torch.from_numpy(part)]
            logits = self._logits(self.weights(u), part)
            (step,) = torch.autograd.grad(objective(logits, labels).sum(), u)
            total += torch.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0)
            parts.append(margin(logits.detach(), labels))
        found = torch.cat(parts).numpy()
        self.passes += len(found) / len(self)
        return total, found

    def batches(self, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Yield the numbers of these inputs, or of all, batch by batch."""
        numbers = np.arange(len(self)) if rows is None else rows
        for start in range(0, len(numbers), self.batch):
            yield numbers[start : start + self.batch]

    def feed(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Return these inputs, repeated to fill a batch where the model demands one."""
        full = np.resize(rows, self.batch) if self.fixed and len(rows) < self.batch else rows
        return {name: torch.from_numpy(a) for name, a in self.data.batch(full).items()}

    def _together(self, region: Region) -> Collection[slice]:
        """Return the parts of `u` that each have a root mean square of their own in the region."""
        return (slice(None),) if region.norm == "density" else self.slices.values()

    def _logits(self, weights: Mapping[str, Tensor], rows: np.ndarray) -> Tensor:
        """Return the logits of these inputs, shape (n, classes)."""
        out = forward(self.graph, self.feed(rows), weights, keep=(self.logits,))[self.logits]
        expected = self.batch if self.fixed else len(rows)
        if len(out) != expected:
            raise DataError(f"the network gives {len(out)} outputs for {expected} inputs", where=self.logits)
        return out.reshape(len(out), -1)[: len(rows)]


def _rms(part: Tensor) -> float:
    return float(part.double().square().mean().sqrt()) if part.numel() else 0.0
