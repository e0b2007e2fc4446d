"""Spatially correlated variation: shared normals mixed into those of every cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """Any noise model with correlation between cells of the same chip, tensor, array, row or column.

    The normals of the cells become ``sqrt(1 - shares) * own + sum sqrt(share) * shared``, which are standard normals
    again: each weight's law stays what it was, only their dependence changes.

    Parameters
    ----------
    noise : NoiseModel
        Takes the same number of normals for every weight, as all do that treat cells alike.
    chip, tensor, array, row, column : float
        Shares of the variance that cells of a chip (all tensors that name a share of the chip), of a tensor, of one
        crossbar array, of one input line and of one output line have in common; together at most 1.
    array_rows, array_columns : int
        Size of a crossbar array.
    output_axis : int
        Axis of a tensor along which output lines (columns) count; input lines (rows) count along all its other axes
        together. 0 is right for Conv and for the linear layers of PyTorch (Gemm with transB); MatMul and Gemm without
        transB have their outputs on axis 1.
    """

    formula: ClassVar[str] = (
        "T(w, sqrt(1 - k - t - a - r - c) z + sqrt(k) z_chip + sqrt(t) z_tensor + sqrt(a) z_array + sqrt(r) z_row "
        "+ sqrt(c) z_column)"
    )
    unit: ClassVar[str] = "shares of the variance of the normals, from 0 to 1"
    source: ClassVar[str] = "Gaussian copula with nested random effects"
    example: ClassVar[Mapping[str, Any]] = {
        "noise": {"model": "gaussian", "sigma": 0.1},
        "chip": 0.1,
        "tensor": 0.1,
        "array": 0.1,
        "row": 0.1,
        "column": 0.2,
    }

    noise: NoiseModel = field(metadata={"meaning": "any noise model, the law of each cell alone"})
    chip: float = real("share of the variance common to a chip", low=0, high=1, default=0.0)
    tensor: float = real("share of the variance common to a tensor", low=0, high=1, default=0.0)
    array: float = real("share common to a crossbar array", low=0, high=1, default=0.0)
    row: float = real("share common to an input line", low=0, high=1, default=0.0)
    column: float = real("share common to an output line", low=0, high=1, default=0.0)
    array_rows: int = count("rows of a crossbar array", low=1, high=1 << 20, default=128)
    array_columns: int = count("columns of a crossbar array", low=1, high=1 << 20, default=128)
    output_axis: int = count("axis along which output lines count", low=0, high=7, default=0)

    def __post_init__(self) -> None:
        checked(self)
        if not isinstance(self.noise, NoiseModel):
            object.__setattr__(self, "noise", model_from_dict(self.noise))
        shares = self.chip + self.tensor + self.array + self.row + self.column
        if shares > 1 + 1e-12:
            what = f"the shares add to {shares:g}"
            raise NoiseError(what, where="noise model correlated", remedy="Give shares that add to at most 1")
        if not self.noise.independent:
            raise NoiseError("it is correlated already", where="noise model correlated", remedy="Name all shares once")

    @property
    def independent(self) -> bool:
        """Whether no share is above 0."""
        return not any((self.chip, self.tensor, self.array, self.row, self.column))

    @property
    def common(self) -> int:
        """How many normals the chip has in common: one for each that a weight takes, if the chip has a share."""
        return self._planes if self.chip else 0

    @property
    def _planes(self) -> int:
        """How many normals a weight takes."""
        return self.noise.draws((1,))

    def _groups(self, shape: tuple[int, ...]) -> list[tuple[float, np.ndarray | None, int]]:
        """Return the share, the group of each weight (None: one group) and the number of groups, for each effect.

        The chip comes last, as the normals do that all tensors have in common.
        """
        shape, axis = shape or (1,), self.output_axis
        if axis >= len(shape):
            what = f"output_axis is {axis} and the tensor has shape {shape}"
            raise NoiseError(what, where="noise model correlated", remedy="Give it by layer, under [layers.PATTERN]")
        inputs = (*shape[:axis], *shape[axis + 1 :])
        columns, rows = shape[axis], math.prod(inputs)
        across = np.arange(columns).reshape(-1, *[1] * (len(shape) - 1 - axis))
        along = np.expand_dims(np.arange(rows).reshape(inputs), axis)
        column, row = (np.broadcast_to(lines, shape).reshape(-1) for lines in (across, along))
        wide = -(-rows // self.array_rows)
        arrays = (column // self.array_columns) * wide + row // self.array_rows
        effects = [
            (self.tensor, None, 1),
            (self.array, arrays, -(-columns // self.array_columns) * wide),
            (self.row, row, rows),
            (self.column, column, columns),
            (self.chip, None, 1),
        ]
        return [effect for effect in effects if effect[0]]

    def draws(self, shape: tuple[int, ...]) -> int:
        """Return how many standard normals a tensor of this shape takes: its own first, then the shared ones."""
        return self.noise.draws(shape) + self._planes * sum(n for _, _, n in self._groups(shape))

    def _mixed(self, shape: tuple[int, ...], z: Any) -> Any:
        """Return the normals for the noise model, each standard, with the shares in common."""
        xp, own, planes = namespace(z), self.noise.draws(shape), self._planes
        groups = self._groups(shape)
        rest = max(1 - sum(share for share, _, _ in groups), 0.0)
        mixed = math.sqrt(rest) * xp.reshape(z[:own], (planes, math.prod(shape)))
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
