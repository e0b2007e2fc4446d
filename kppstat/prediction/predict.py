"""Predict the distribution of performance over instances."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from kppstat.data import Dataset
from kppstat.errors import ModelError, SettingError
from kppstat.noise import Variation, variation_of
from kppstat.onnx_io import Model
from kppstat.performance import Performance, Top1
from kppstat.prediction.checked import MOST, Followed, Laws, checked
from kppstat.prediction.distribution import DRAWS
from kppstat.prediction.far import usable
from kppstat.prediction.gradients import kpp_gradients
from kppstat.prediction.ground import Ground, Pilot, Weights
from kppstat.prediction.head import split
from kppstat.prediction.logits import Logits
from kppstat.prediction.mse import mse, mse_by_weight, towards_all
from kppstat.prediction.result import Prediction, percentile
from kppstat.propagate import without_rule

_SLOPES = 256  # inputs whose margins are differentiated
_DIRECTIONS, _ANSWERS = 8, 128  # in which instances are placed, and inputs that tell them
_FAR = 3.0  # standard deviations; rivals that are further behind never come first
_HELPS = 0.1  # of the largest cost: deviations of a tensor hardly ever raise the KPP by as much
_BENT = 0.4  # share of the variance that is nonlinear, above which the prediction is not trusted


def predict(
    model: str | Path | Model,
    data: str | Path | Dataset | None = None,
    variation: Variation | None = None,
    *,
    sigma: float | None = None,
    k: float = 1.0,
    performance: Any = "top-1",
    inputs: int = 1000,
    draws: int = DRAWS,
    seed: int = 0,
    sensitivity: bool = False,
    outputs: np.ndarray | None = None,
    tell: Callable[[float], None] | None = None,
) -> Prediction:
    """Predict the k-th percentile performance, without a guarantee and without a full evaluation of any instance.

    The logits of a part of the inputs, chosen where answers may flip, are Gaussian over instances but for what they
    bend along one direction: their mean from the propagation of moments, their covariance, between inputs too, from
    the adjoint, the bend from the network moved along that direction. The adjoint takes each activation at its mean
    slope under the noise (statistical linearisation), not at the intended weights, so it belongs to one sigma;
    `kppstat.prediction.predict_sweep` says how several share it.
    Instances drawn from that law give the distribution of performance. A few sampled instances on some of the inputs,
    more of them where failures are expected, check it. Where they differ from it, or the KPP is far off, more of them
    correct it: by how far out they lie, in mean and in spread. The notes say so.

    Parameters
    ----------
    model : path or Model
        An ONNX file.
    data : str, path or Dataset, optional
        See `kppstat.data.load`; None takes ``model.npz`` beside ``model.onnx``.
    variation : Variation, optional
        The device variation; give this or `sigma`.
    sigma : float, optional
        Additive Gaussian variation of this standard deviation, in units of each tensor's max abs weight.
    k : float
        Percent of instances that may fall below.
    performance : str, callable or Performance
        As for `kppstat.estimate`. A performance of many classes follows the likeliest ones of each input only.
    inputs : int
        Inputs that are followed; more are slower and steadier.
    draws : int
        Instances drawn from the law.
    seed : int
    sensitivity : bool
        Tell what each weight costs, from the gradients of the predicted KPP: of the top-1 accuracy, with torch.
    outputs : ndarray, optional
        Outputs of the intended weights on all inputs, if the caller has them: computing them here is slower.
    tell : callable, optional
        Called once with about how many seconds the rest will take at most, as soon as a part of the followed inputs is
        done.

    Returns
    -------
    Prediction

    Raises
    ------
    ModelError
        If an operator has no rule for moments, all are named at once; or if derivatives for the sensitivity overflow.
    NoiseError
        If the noise model makes weights depend on each other.
    SettingError
        If a setting is out of range.
    """
    begun = time.monotonic()
    question = Question(k, inputs, draws, sensitivity)
    variation = variation_of(sigma, variation)
    ground = Ground(model, data, [variation], performance, outputs, seed)
    question.check(ground.measure)
    found = alone(ground, variation, question, tell)
    return replace(found, evaluations=ground.passes / len(ground.data) + 1, seconds=time.monotonic() - begun)


def predictable(model: Model) -> list[str]:
    """Return the operators, by name, that keep this model from being predicted; empty where nothing does."""
    return sorted({n.op for n in without_rule(split(model.graph)[0], {w.name for w in model.weights})})


@dataclass(frozen=True)
class Question:
    """What is asked of a prediction; see `predict`.

    Raises
    ------
    SettingError
        If a number is out of range.
    """

    k: float
    inputs: int
    draws: int
    sensitivity: bool

    def __post_init__(self) -> None:
        if not (isinstance(self.k, Real) and 0 < self.k < 100):
            raise SettingError(f"k is {self.k!r}", where="--k", remedy="Give a percentage above 0 and below 100")
        for name, value in (("inputs", self.inputs), ("draws", self.draws)):
            if not (isinstance(value, Integral) and value >= 2):
                raise SettingError(
                    f"{name} is {value!r}", where=f"--{name}", remedy="Give a whole number of at least 2"
                )

    def check(self, measure: Performance) -> None:
        """Raise if sensitivity is asked for and not defined."""
        if self.sensitivity and not isinstance(measure, Top1):
            raise SettingError(
                f"sensitivity is of the top-1 accuracy, not of {measure.name}",
                where="--sensitivity",
                remedy="Leave it out",
            )


class OwnLaws:
    """Laws at one device variation, from its own derivatives; computed when asked for, once."""

    def __init__(self, ground: Ground, weights: Weights, pilot: Pilot, rows: np.ndarray, far: float = math.inf) -> None:
        self._ground, self._weights, self._pilot = ground, weights, pilot
        self._rows, self._far = rows, far
        self._evenly: Logits | None = None
        self._chosen: dict[bool, Logits] = {}

    def evenly(self) -> Logits:
        """Return the law of all logits of the evenly chosen inputs."""
        if self._evenly is None:
            ground = self._ground
            self._evenly = ground.law(ground.sample, self._weights, self._pilot.calibration)
        return self._evenly

    def chosen(self, calibrated: bool) -> Logits:
        """Return that of the leads of the followed inputs, with correlations inside the network corrected or not."""
        if calibrated not in self._chosen:
            calibration = self._pilot.calibration if calibrated else None
            self._chosen[calibrated] = self._ground.leads(self._rows, self._weights, calibration, self._far)
        return self._chosen[calibrated]


def alone(
    ground: Ground, variation: Variation, question: Question, tell: Callable[[float], None] | None = None
) -> Prediction:
    """Predict at one device variation by itself; `tell` as for `predict`."""
    weights = ground.moments(variation)
    pilot = ground.pilot(variation, weights)
    rows, shares = ground.chosen([pilot.spread], question.inputs)
    laws = OwnLaws(ground, weights, pilot, rows, _FAR)
    begun = time.monotonic()
    laws.evenly()
    if tell is not None:
        tell((time.monotonic() - begun) * len(rows) / len(ground.sample) + ground.pace * MOST)
    followed = follow(ground, variation, question, pilot, laws, rows, shares)
    return finished(ground, variation, question, pilot.spread, laws, followed)


def follow(
    ground: Ground,
    variation: Variation,
    question: Question,
    pilot: Pilot,
    laws: Laws,
    rows: np.ndarray,
    shares: np.ndarray,
) -> Followed:
    """Return the followed inputs with the directions in which their logits move."""
    weights = ground.moments(variation)
    together = ground.together(laws.evenly(), weights, pilot.calibration)
    some, part = ground.chosen([pilot.spread], _ANSWERS, among=rows)
    count = usable(ground.model, variation, question.draws, _DIRECTIONS)
    law = laws.chosen(True).take(some)
    errors = ground.towards_errors(law, rows[some], part * shares[some], weights, pilot.calibration, count)
    return Followed(rows, shares, together, errors)


def finished(
    ground: Ground, variation: Variation, question: Question, spread: float, laws: Laws, followed: Followed
) -> Prediction:
    """Return the prediction that follows from the laws; what it cost is left open.

    Parameters
    ----------
    ground, variation, question
    spread : float
        Standard deviation of the lead over instances.
    laws : Laws
    followed : Followed
    """
    rows, shares = followed.rows, followed.shares
    model, measure, seed, total = ground.model, ground.measure, ground.seed, len(ground.data)
    weights, constants = ground.moments(variation), model.graph.constants
    found = checked(ground, variation, spread, laws, followed, question.draws, question.k)
    performances, doubts = found.values, list(found.doubts)
    evenly = laws.evenly()
    curved = float(evenly.nonlinear.sum() / max(float(evenly.var.sum()), 1e-300))
    if curved > _BENT:
        doubts.append(f"{100 * curved:.0f} % of the variance of the logits is nonlinear in the weights")
    intended, there = ground.logits(ground.sample), ground.logits(rows)
    factor = towards_all(evenly, intended, laws.chosen(True), there, shares, ground.columns(rows))
    alone = mse_by_weight(evenly, intended, weights, constants, lambda other: ground.moved(ground.sample, other))
    cost: Mapping[str, float] = {}
    if question.sensitivity:
        cost, doubt = _costs(ground, variation, question)
        doubts += doubt
    sign = -1.0 if measure.loss else 1.0
    by_weight = _shares(evenly)
    return Prediction(
        kpp=percentile(sign * performances, question.k, loss=measure.loss),
        k=question.k,
        mean=sign * float(performances.mean()),
        sd=float(performances.std(ddof=1)),
        mse=factor * mse(evenly, intended),
        mse_by_weight={name: factor * value for name, value in alone.items()},
        clean=sign * float(ground.clean.mean()),
        values=sign * performances,
        by_weight={n: v for n, v in by_weight.items() if n},
        nonlinear=by_weight[""],
        cost=cost,
        trusted=not doubts,
        notes=(*doubts, *found.remarks),
        evaluations=0.0,
        inputs=len(rows),
        total=total,
        sigma=getattr(variation.default, "sigma", None) if not variation.layers else None,
        noise=variation.to_dict(),
        performance=measure.name,
        loss=measure.loss,
        fraction=(measure.low, measure.high) == (0.0, 1.0),
        seed=seed,
        seconds=0.0,
        model_sha256=model.sha256,
        data_sha256=ground.data.sha256,
    )


def _shares(law: Logits) -> dict[str, float]:
    """Share of each weight in the variance of the logits; under the empty name that of nonlinear terms."""
    total = float(law.var.sum())
    parts = {**dict(sorted(law.by_weight.items())), "": law.nonlinear}
    return {n: float(v.sum()) / total if total > 0 else 0.0 for n, v in parts.items()}


def _costs(ground: Ground, variation: Variation, question: Question) -> tuple[Mapping[str, float], list[str]]:
    """Return what each tensor costs, and which of these costs are doubtful.

    Raises
    ------
    ModelError
        If derivatives overflow.
    """
    slopes = kpp_gradients(
        ground.model,
        variation,
        ground.data,
        question.k,
        inputs=min(question.inputs, _SLOPES),
        seed=ground.seed,
        outputs=ground.outputs,
    )
    ground.passes += round((slopes.evaluations - 1) * len(ground.data))
    wild = [n for n, c in slopes.cost.items() if not abs(c) <= 1]
    if wild:
        raise ModelError(
            f"the sensitivity to {', '.join(wild)} cannot be told: its derivatives overflow",
            where="--sensitivity",
            remedy="Leave it out: shares in the variance of the logits are told without",
        )
    helped = [n for n, c in slopes.cost.items() if c < -_HELPS * max(slopes.cost.values())]
    if not helped:
        return slopes.cost, []
    return slopes.cost, [
        f"deviations of {', '.join(helped)} seem to raise the KPP, which they hardly ever do: "
        "do not rely on what single tensors cost"
    ]
