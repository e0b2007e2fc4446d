"""Evaluate attacked weights on all inputs in onnxruntime, as they will be stored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kppstat.data import Dataset
from kppstat.engine import Evaluator
from kppstat.engine.session import build
from kppstat.noise import Gaussian, Variation
from kppstat.onnx_io import Model
from kppstat.performance import Top1
from kppstat.worst_case.region import Region


class Certifier:
    """Top-1 accuracy of the model with other weights, by the same path on which instances are evaluated.

    Parameters
    ----------
    model : Model
    data : Dataset
    region : Region

    Attributes
    ----------
    targets : ndarray of int, shape (n,)
        Labels of the data, or the clean model's own answers where it has none.
    performance : str
        Its name, which says so where that is agreement with the clean model.
    clean : float
        That of the intended weights.

    Raises
    ------
    KppstatError
        If the model cannot be run on the data, or its outputs are no classes.
    """

    def __init__(self, model: Model, data: Dataset, region: Region) -> None:
        self.region = region
        self._intended = {w.name: model.graph.constants[w.name] for w in model.weights}
        self._working = model.values()
        self._image = model.image()
        self._evaluator = Evaluator(model, Variation(Gaussian(0.0)), data, Top1())
        self.clean = float(self._evaluator.fit(self._evaluator.outputs(None)).mean())
        self.performance = self._evaluator.performance.name
        assert self._evaluator.targets is not None
        self.targets = self._evaluator.targets

    def stored(self, deviations: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the attacked weights in the dtype of the file, inside the region to the last bit."""
        return self.region.programmed(self._intended, deviations)

    def accuracy(self, stored: Mapping[str, np.ndarray]) -> float:
        """Return the accuracy over all inputs with these weights; the others stay as intended."""
        weights = {n: stored[n].astype(w.dtype) if n in stored else w for n, w in self._working.items()}
        session = build(self._image.patched(weights), threads=self._evaluator.feeding.threads)
        outputs = self._evaluator.run(session)
        return float(self._evaluator.performance.scores(outputs, self.targets).mean())
