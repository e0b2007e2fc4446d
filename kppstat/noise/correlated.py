"""Spatially correlated variation: shared normals mixed into those of every cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kppstat.array import like, namespace
from kppstat.errors import NoiseError
from kppstat.noise.model import NoiseModel
from kppstat.noise.parameters import checked, count, real
from kppstat.noise.registry import model_from_dict, noise_model


@noise_model("correlated")
@dataclass(frozen=True)
class Correlated(NoiseModel):
    """Any noise model with correlation between cells of the same tensor, array, row or column.

    The normals of the cells become ``sqrt(1 - shares) * own + sum sqrt(share) * shared``, which are standard normals
    again: each weight's law stays what it was, only their dependence changes.

    Parameters
    ----------
    noise : NoiseModel
        Takes the same number of normals for every weight, as all do that treat cells alike.
    tensor, array, row, column : float
        Shares of the variance that cells of a tensor, of one crossbar array, of one input line and of one output line
        have in common; together at most 1.
    array_rows, array_columns : int
        Size of a crossbar array. Columns count along the first axis of a tensor (output channels of Conv) and rows
        along all its other axes together.
    """

    formula: ClassVar[str] = (
        "T(w, sqrt(1 - t - a - r - c) z + sqrt(t) z_tensor + sqrt(a) z_array + sqrt(r) z_row + sqrt(c) z_column)"
    )
    unit: ClassVar[str] = "shares of the variance of the normals, from 0 to 1"
    source: ClassVar[str] = "Gaussian copula with nested random effects"
    example: ClassVar[Mapping[str, Any]] = {
        "noise": {"model": "gaussian", "sigma": 0.1},
        "tensor": 0.1,
        "array": 0.1,
        "row": 0.1,
        "column": 0.2,
    }

    noise: NoiseModel
    tensor: float = real("share of the variance common to a tensor", low=0, high=1, default=0.0)
    array: float = real("share common to a crossbar array", low=0, high=1, default=0.0)
    row: float = real("share common to an input line", low=0, high=1, default=0.0)
    column: float = real("share common to an output line", low=0, high=1, default=0.0)
    array_rows: int = count("rows of a crossbar array", low=1, high=1 << 20, default=128)
    array_columns: int = count("columns of a crossbar array", low=1, high=1 << 20, default=128)

    def __post_init__(self) -> None:
        checked(self)
        if not isinstance(self.noise, NoiseModel):
            object.__setattr__(self, "noise", model_from_dict(self.noise))
        shares = self.tensor + self.array + self.row + self.column
        if shares > 1 + 1e-12:
            what = f"the shares add to {shares:g}"
            raise NoiseError(what, where="noise model correlated", remedy="Give shares that add to at most 1")
        if not self.noise.independent:
            raise NoiseError("it is correlated already", where="noise model correlated", remedy="Name all shares once")

    @property
    def independent(self) -> bool:
        """Whether no share is above 0."""
        return not any((self.tensor, self.array, self.row, self.column))

    def _groups(self, shape: tuple[int, ...]) -> list[tuple[float, np.ndarray | None, int]]:
        """Return the share, the group of each weight (None: one group) and the number of groups, for each effect."""
        columns = shape[0] if shape else 1
        rows = math.prod(shape[1:])
        column, row = np.divmod(np.arange(columns * rows), max(rows, 1))
        wide = -(-rows // self.array_rows)
        arrays = (column // self.array_columns) * wide + row // self.array_rows
        return [
            (self.tensor, None, 1),
            (self.array, arrays, max(-(-columns // self.array_columns) * wide, 1)),
            (self.row, row, max(rows, 1)),
            (self.column, column, max(columns, 1)),
        ]

    def draws(self, shape: tuple[int, ...]) -> int:
        """Return how many standard normals a tensor of this shape takes: its own first, then the shared ones."""
        size = math.prod(shape)
        own = self.noise.draws(shape)
        planes = own // size if size else 0
        return own + planes * sum(n for share, _, n in self._groups(shape) if share)

    def _mixed(self, shape: tuple[int, ...], z: Any) -> Any:
        """Return the normals for the noise model, each standard, with the shares in common."""
        size = math.prod(shape)
        if not size:
            return z
        xp = namespace(z)
        own = self.noise.draws(shape)
        planes = own // size
        groups = [group for group in self._groups(shape) if group[0]]
        rest = max(1 - sum(share for share, _, _ in groups), 0.0)
        mixed = math.sqrt(rest) * xp.reshape(z[:own], (planes, size))
        at = own
        for share, members, n in groups:
            shared = xp.reshape(z[at : at + planes * n], (planes, n))
            at += planes * n
            spread = shared if members is None else xp.take(shared, like(members, z), axis=1)
            mixed = mixed + math.sqrt(share) * spread
        return xp.reshape(mixed, (own,))

    def weights(self, w: Any, z: Any) -> Any:
        """Return the programmed weights; see `NoiseModel.weights`."""
        return self.noise.weights(w, self._mixed(tuple(w.shape), z))

    def moments(self, w: Any) -> tuple[Any, Any]:
        """Return the mean and the variance of each weight, which correlation does not change."""
        return self.noise.moments(w)
