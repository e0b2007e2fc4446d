"""The data to train on: its split, its mini-batches and its augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kppstat.data import Dataset
from kppstat.errors import DataError
from kppstat.training.network import Values
from kppstat.training.objective import as_targets


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs and targets, split once into a part to train on and a part to select on.

    Attributes
    ----------
    data : Dataset
    train, validation : ndarray of int
        Numbers of inputs; no input is in both.
    """

    data: Dataset
    targets: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    device: torch.device

    @classmethod
    def split(cls, data: Dataset, val_share: float, val_inputs: int, seed: int, device: torch.device) -> Examples:
        """Split at random, the same way for the same seed.

        Raises
        ------
        DataError
            If there are no targets, or too few inputs for both parts.
        """
        if data.targets is None:
            raise DataError("there are no targets to train on", where=data.source, remedy="Add an array y of labels")
        n = len(data)
        count = round(n * val_share)
        if not 0 < count < n:
            raise DataError(
                f"{n} inputs are too few to keep a share of {val_share:g} for validation",
                where=data.source,
                remedy="Give more data, or another --val-share",
            )
        order = np.random.default_rng([seed, 0x5B117]).permutation(n)
        return cls(data, data.targets, np.sort(order[count:]), np.sort(order[:count][:val_inputs]), device)

    def batch(self, rows: np.ndarray) -> tuple[Values, Tensor]:
        """Return inputs and targets of these numbers as tensors."""
        inputs = {n: torch.from_numpy(a.copy()).to(self.device) for n, a in self.data.batch(rows).items()}
        return inputs, as_targets(self.targets[rows], self.device)

    def in_order(self, rows: np.ndarray, size: int) -> Iterator[tuple[Values, np.ndarray]]:
        """Yield inputs and targets in groups of one size; the last may be shorter."""
        for i in range(0, len(rows), size):
            part = rows[i : i + size]
            yield self.batch(part)[0], self.targets[part]

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[np.ndarray]:
        """Yield the numbers of the mini-batches of one epoch; a shorter rest is left out unless it is all there is."""
        order = self.train[torch.randperm(len(self.train), generator=generator).numpy()]
        for i in range(0, max(len(order) - size, 0) + 1, size):
            yield order[i : i + size]

    def steps(self, size: int) -> int:
        """Return the number of mini-batches in an epoch."""
        return max(len(self.train) // size, 1)


def augmented(inputs: Values, ways: tuple[str, ...], generator: torch.Generator) -> Values:
    """Shift and mirror images at random, each on its own; inputs of another form stay as they are.

    Parameters
    ----------
    inputs : dict of str to Tensor
        Images have shape (n, channels, height, width).
    ways : tuple of str
        ``crop`` and ``flip``.
    generator : torch.Generator
        On the CPU.
    """
    return {name: _augmented(x, ways, generator) if x.ndim == 4 else x for name, x in inputs.items()}


def _augmented(x: Tensor, ways: tuple[str, ...], generator: torch.Generator) -> Tensor:
    n, height, width = x.shape[0], x.shape[2], x.shape[3]
    if "crop" in ways:
        reach = max(width // 8, 1)
        padded = functional.pad(x, (reach, reach, reach, reach))
        across = torch.randint(2 * reach + 1, (n,), generator=generator)
        down = torch.randint(2 * reach + 1, (n,), generator=generator)
        rows = (down[:, None] + torch.arange(height))[:, None, :, None].to(x.device)
        columns = (across[:, None] + torch.arange(width))[:, None, None, :].to(x.device)
        first, channels = (
            torch.arange(n, device=x.device)[:, None, None, None],
            torch.arange(x.shape[1], device=x.device),
        )
        x = padded[first, channels[None, :, None, None], rows, columns]
    if "flip" in ways:
        chosen = torch.rand(n, generator=generator) < 0.5
        x = torch.where(chosen.to(x.device)[:, None, None, None], x.flip(-1), x)
    return x
