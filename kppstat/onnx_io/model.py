"""What `load` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import ModelProto

from kppstat.graph import ExactTensor, Graph, Weight
from kppstat.onnx_io.image import Image, image_of


@dataclass(frozen=True, eq=False)
class Model:
    """An imported network.

    Attributes
    ----------
    path : Path
        The ONNX file.
    sha256 : str
        Hash of the file and of its external data.
    graph : Graph
        The network at one opset, constants folded.
    weights : tuple of Weight
        The tensors that carry device variation, in order of position.
    exact : tuple of ExactTensor
        All other tensors of real numbers, and why they carry none.
    notes : tuple of str
        What the import did, one sentence each.
    batch : int or None
        None if any number of inputs can be fed at a time, or else the number that must be.
    skeleton : bytes
        The graph in ONNX's own form, without its constants.
    factors : dict of str to ndarray
        What folded batch normalisations have multiplied each weight with; empty unless that was asked for.
    aliases : dict of str to str
        Computed values of the file that equal an earlier one, and the name of that one.
    """

    path: Path
    sha256: str
    graph: Graph
    weights: tuple[Weight, ...]
    exact: tuple[ExactTensor, ...]
    notes: tuple[str, ...]
    batch: int | None
    skeleton: bytes
    factors: Mapping[str, np.ndarray] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def values(self) -> dict[str, np.ndarray]:
        """Return the intended weights by name, in order of position: float64 where so stored, or else float32."""
        return {w.name: working(self.graph.constants[w.name]) for w in self.weights}

    def image(self) -> Image:
        """Return what onnxruntime runs, with weights that can be replaced.

        Keep it as long as what it returns is in use: the files of a model above 2 GB go with it.
        """
        return image_of(ModelProto.FromString(self.skeleton), self.graph.constants, [w.name for w in self.weights])


def working(values: np.ndarray) -> np.ndarray:
    """Return a weight in the precision that it is computed with."""
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)
