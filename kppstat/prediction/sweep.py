"""Predict at several sigmas, which share derivatives."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kppstat.data import Dataset
from kppstat.errors import SettingError
from kppstat.noise import Gaussian, Variation
from kppstat.onnx_io import Model
from kppstat.prediction.checked import Laws
from kppstat.prediction.distribution import DRAWS
from kppstat.prediction.ground import Ground
from kppstat.prediction.logits import Logits, between
from kppstat.prediction.predict import OwnLaws, Question, alone, finished, follow
from kppstat.prediction.result import Prediction

NODES = 3  # sigmas at which derivatives are taken


def predict_sweep(
    model: str | Path | Model,
    data: str | Path | Dataset | None = None,
    sigmas: Sequence[float] = (),
    *,
    k: float = 1.0,
    performance: Any = "top-1",
    inputs: int = 1000,
    draws: int = DRAWS,
    seed: int = 0,
    sensitivity: bool = False,
    outputs: np.ndarray | None = None,
) -> list[Prediction]:
    """Predict under additive Gaussian variation of several sigmas.

    Up to three sigmas are predicted each by itself. More of them share the derivatives of three: the lowest, the
    highest and the one in the middle, on inputs chosen for all.

    Parameters
    ----------
    model, data, k, performance, inputs, draws, seed, sensitivity, outputs
        As for `kppstat.prediction.predict`.
    sigmas : sequence of float
        Standard deviations of a weight's deviation, in units of the max abs weight of its tensor.

    Returns
    -------
    list of Prediction
        In the order of the sigmas. Of a shared cost each states its part, so that they add up.

    Raises
    ------
    ModelError, NoiseError, SettingError
        As `kppstat.prediction.predict`; SettingError too if there is no sigma.

    Notes
    -----
    With W + sigma max|W| z the covariance of the logits would be proportional to sigma squared if derivatives were
    taken at the intended weights: one set of them would serve every sigma. They are not, because that is too hopeful
    where a network bends: each activation enters by its mean slope under the noise, and that slope depends on sigma.
    It does so smoothly, so three sigmas tell the derivatives at all between them. On a LeNet and a MobileNet, over a
    range of sigma of five to one, the standard deviations of logits so found are within 0.3 % of those from derivatives
    of their own; with two they were within 3 %, with one within 8 %. Instances of every sigma check the result.
    """
    begun = time.monotonic()
    question = Question(k, inputs, draws, sensitivity)
    variations = [Variation(Gaussian(s)) for s in sigmas]
    if not variations:
        raise SettingError("no sigma is given", where="--sigma", remedy="Give numbers such as 0.02,0.05 or 0.02:0.2:10")
    ground = Ground(model, data, variations, performance, outputs, seed)
    question.check(ground.measure)
    positive = sorted({s for s in sigmas if s > 0})
    if len(positive) <= NODES:
        clean = time.monotonic() - begun
        return [_by_itself(ground, v, question, 1 / len(variations), clean / len(variations)) for v in variations]
    found = _shared(ground, list(sigmas), (positive[0], (positive[0] + positive[-1]) / 2, positive[-1]), question)
    evaluations, seconds = ground.passes / len(ground.data) + 1, time.monotonic() - begun
    return [replace(f, evaluations=evaluations / len(found), seconds=seconds / len(found)) for f in found]


def _by_itself(
    ground: Ground, variation: Variation, question: Question, evaluations: float, seconds: float
) -> Prediction:
    """Predict at one sigma; evaluations and seconds are its part of what was spent for all."""
    begun, before = time.monotonic(), ground.passes
    found = alone(ground, variation, question)
    evaluations += (ground.passes - before) / len(ground.data)
    return replace(found, evaluations=evaluations, seconds=seconds + time.monotonic() - begun)


class _Between:
    """Laws at a sigma between others."""

    def __init__(self, nodes: Mapping[float, Laws], sigma: float) -> None:
        self._nodes, self._sigma = nodes, sigma

    def evenly(self) -> Logits:
        """Return the law of all logits of the evenly chosen inputs."""
        return self._of(lambda laws: laws.evenly())

    def chosen(self, calibrated: bool) -> Logits:
        """Return that of the leads of the followed inputs, with correlations inside the network corrected or not."""
        return self._of(lambda laws: laws.chosen(calibrated))

    def _of(self, law_of: Callable[[Laws], Logits]) -> Logits:
        return between({s: law_of(laws) for s, laws in self._nodes.items()}, self._sigma)


def _shared(ground: Ground, sigmas: Sequence[float], nodes: tuple[float, ...], question: Question) -> list[Prediction]:
    """Predict at all sigmas from the derivatives at the nodes."""
    varied = {s: Variation(Gaussian(s)) for s in (*nodes, *sigmas)}
    weights = {s: ground.moments(varied[s]) for s in nodes}
    pilots = {s: ground.pilot(varied[s], weights[s]) for s in nodes}
    # The lead spreads nearly in proportion to sigma.
    spreads = {s: s * float(np.interp(s, nodes, [pilots[n].spread / n for n in nodes])) for s in varied}
    chosen = ground.chosen([spreads[s] for s in dict.fromkeys(sigmas) if s > 0], question.inputs)
    own = {s: OwnLaws(ground, weights[s], pilots[s], chosen[0]) for s in nodes}
    middle = nodes[len(nodes) // 2]
    followed = follow(ground, varied[middle], question, pilots[middle], own[middle], *chosen)

    def at(s: float) -> Prediction:
        if s == 0:
            return alone(ground, varied[s], question)
        laws: Laws = own[s] if s in own else _Between(own, s)
        return finished(ground, varied[s], question, spreads[s], laws, followed)

    return [at(s) for s in sigmas]
