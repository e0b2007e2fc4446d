"""Predict the distribution of performance over instances."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kppstat.data import Dataset
from kppstat.errors import SettingError
from kppstat.noise import Variation, variation_of
from kppstat.onnx_io import Model
from kppstat.performance import Performance, Top1
from kppstat.prediction.bend import bent, responses
from kppstat.prediction.distribution import DRAWS, matched, of_all, scores
from kppstat.prediction.fit import best_fit
from kppstat.prediction.gradients import kpp_gradients
from kppstat.prediction.ground import Ground, Pilot, Weights
from kppstat.prediction.head import split
from kppstat.prediction.logits import Logits
from kppstat.prediction.mse import mse, mse_by_weight
from kppstat.prediction.pilot import sampled
from kppstat.prediction.result import Prediction, percentile
from kppstat.propagate import without_rule

_SLOPES = 256  # inputs whose margins are differentiated
_FITTING = 1024  # draws for each trial
_BENT = 0.4  # share of the variance that is nonlinear, above which the prediction is not trusted


def predict(
    model: str | Path | Model,
    data: str | Path | Dataset | None = None,
    variation: Variation | None = None,
    *,
    sigma: float | None = None,
    k: float = 1.0,
    performance: Any = "top-1",
    inputs: int = 400,
    draws: int = DRAWS,
    seed: int = 0,
    sensitivity: bool = False,
    outputs: np.ndarray | None = None,
) -> Prediction:
    """Predict the k-th percentile performance, without a guarantee and without a full evaluation of any instance.

    The logits of a part of the inputs, chosen where answers may flip, are Gaussian over instances but for what they
    bend along one direction: their mean from the propagation of moments, their covariance, between inputs too, from
    the adjoint, the bend from the network moved along that direction. The adjoint takes each activation at its mean
    slope under the noise (statistical linearisation), not at the intended weights, so it belongs to one sigma;
    `kppstat.prediction.predict_sweep` says how several share it.
    Instances drawn from that law give the distribution of performance. Pilot instances of a few inputs check it; where
    they contradict it, more of them on the chosen inputs give mean and spread, and the notes say so.

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

    Returns
    -------
    Prediction

    Raises
    ------
    ModelError
        If an operator has no rule for moments; all are named at once.
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
    found = alone(ground, variation, question)
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
        if not 0 < self.k < 100:
            raise SettingError(f"k is {self.k:g}", where="--k", remedy="Give a percentage above 0 and below 100")
        for name, value in (("inputs", self.inputs), ("draws", self.draws)):
            if value < 2:
                raise SettingError(f"{name} is {value}", where=f"--{name}", remedy="Give at least 2")

    def check(self, measure: Performance) -> None:
        """Raise if sensitivity is asked for and not defined."""
        if self.sensitivity and not isinstance(measure, Top1):
            raise SettingError(
                f"sensitivity is of the top-1 accuracy, not of {measure.name}",
                where="--sensitivity",
                remedy="Leave it out",
            )


class Laws(Protocol):
    """The law of the logits of the evenly chosen, the pilot and the chosen inputs at one device variation."""

    def evenly(self) -> Logits:
        """Return the law of all logits of the evenly chosen inputs."""

    def pilot(self, calibrated: bool) -> Logits:
        """Return that of the pilot's, with correlations inside the network corrected or not."""

    def chosen(self, calibrated: bool) -> Logits:
        """Return that of the chosen inputs."""


class OwnLaws:
    """Laws at one device variation, from its own derivatives; computed when asked for, once."""

    def __init__(self, ground: Ground, weights: Weights, pilot: Pilot, rows: np.ndarray) -> None:
        self._ground, self._weights, self._pilot = ground, weights, pilot
        self._rows = {"evenly": ground.sample, "pilot": pilot.rows, "chosen": rows}
        self._known: dict[tuple[str, bool], Logits] = {}

    def evenly(self) -> Logits:
        """Return the law of all logits of the evenly chosen inputs."""
        return self._of("evenly", True)

    def pilot(self, calibrated: bool) -> Logits:
        """Return that of the pilot's, with correlations inside the network corrected or not."""
        places = np.searchsorted(self._ground.sample, self._pilot.rows)
        known = places < len(self._ground.sample)
        if calibrated and known.all() and (self._ground.sample[places] == self._pilot.rows).all():
            return self.evenly().take(places)
        return self._of("pilot", calibrated)

    def chosen(self, calibrated: bool) -> Logits:
        """Return that of the chosen inputs."""
        return self._of("chosen", calibrated)

    def _of(self, which: str, calibrated: bool) -> Logits:
        if (which, calibrated) not in self._known:
            calibration = self._pilot.calibration if calibrated else None
            law = self._ground.law(self._rows[which], self._weights, calibration, leaders=which == "chosen")
            self._known[which, calibrated] = law
        return self._known[which, calibrated]


def alone(ground: Ground, variation: Variation, question: Question) -> Prediction:
    """Predict at one device variation by itself."""
    weights = ground.moments(variation)
    pilot = ground.pilot(variation, weights)
    rows, shares = ground.chosen([pilot.spread], question.inputs)
    laws = OwnLaws(ground, weights, pilot, rows)
    along, step = ground.direction(laws.evenly(), weights, pilot.calibration)
    return finished(ground, variation, question, pilot, laws, (rows, shares), (along, step))


def finished(
    ground: Ground,
    variation: Variation,
    question: Question,
    pilot: Pilot,
    laws: Laws,
    chosen: tuple[np.ndarray, np.ndarray],
    direction: tuple[np.ndarray, dict[str, np.ndarray]],
) -> Prediction:
    """Return the prediction that follows from the laws; what it cost is left open.

    Parameters
    ----------
    ground, variation, question
    pilot : Pilot
        What is compared with the law.
    laws : Laws
    chosen : tuple of ndarray
        Inputs that are followed, and how much each stands for.
    direction : tuple
        Along which logits bend: in the space of the features, and as a change of weights by one standard deviation.
    """
    rows, shares = chosen
    along, step = direction
    model, measure, seed, total = ground.model, ground.measure, ground.seed, len(ground.data)
    weights, constants = ground.moments(variation), model.graph.constants

    def moved_along(places: np.ndarray) -> np.ndarray | None:
        return responses(step, weights, lambda other: ground.moved(places, other)) if step else None

    def with_bend(law: Logits, found: np.ndarray | None) -> Logits:
        return law if found is None else bent(law, along, found)

    there = moved_along(pilot.rows)
    fit = best_fit(
        lambda calibrated, share: with_bend(laws.pilot(calibrated).with_nonlinear(share), there),
        lambda law: scores(law, ground.scorer(pilot.rows), _FITTING, seed),
        pilot.seen,
    )
    law = with_bend(laws.chosen(fit.calibrated).with_nonlinear(fit.share), moved_along(rows))
    drawn = scores(law, ground.scorer(rows), question.draws, seed)
    level, low, high = float(ground.clean.mean()), measure.low, measure.high
    missed = ground.missed(pilot.spread, rows, shares)
    performances = of_all(drawn, ground.clean[rows], shares, level, total, low, high, missed)
    # A network that contradicts the usual law is not to be trusted to any variant of it. The closest gives the shape.
    notes = list(fit.rejected)
    if fit.rejected:
        seen = sampled(model, variation, ground.data, measure, ground.targets, rows, seed)
        ground.passes += seen.size
        performances = matched(
            performances, of_all(seen, ground.clean[rows], shares, level, total, low, high, missed), low, high
        )
        notes.append(f"so mean and spread are those of {len(seen)} more instances on {len(rows)} inputs")
    evenly = laws.evenly()
    curved = float(evenly.nonlinear.sum() / max(float(evenly.var.sum()), 1e-300))
    if curved > _BENT:
        notes.append(f"{100 * curved:.0f} % of the variance of the logits is nonlinear in the weights")
    intended = ground.moved(ground.sample, {})
    cost: Mapping[str, float] = {}
    if question.sensitivity:
        slopes = kpp_gradients(
            model,
            variation,
            ground.data,
            question.k,
            inputs=min(question.inputs, _SLOPES),
            seed=seed,
            outputs=ground.outputs,
        )
        ground.passes += round((slopes.evaluations - 1) * total)
        cost = slopes.cost
    sign = -1.0 if measure.loss else 1.0
    by_weight = _shares(evenly)
    return Prediction(
        kpp=percentile(sign * performances, question.k, loss=measure.loss),
        k=question.k,
        mean=sign * float(performances.mean()),
        sd=float(performances.std(ddof=1)),
        mse=mse(evenly, intended),
        mse_by_weight=mse_by_weight(
            evenly, intended, weights, constants, lambda other: ground.moved(ground.sample, other)
        ),
        clean=sign * level,
        values=sign * performances,
        by_weight={n: v for n, v in by_weight.items() if n},
        nonlinear=by_weight[""],
        cost=cost,
        trusted=not notes,
        notes=tuple(notes),
        evaluations=0.0,
        inputs=len(rows),
        total=total,
        sigma=getattr(variation.default, "sigma", None) if not variation.layers else None,
        noise=variation.to_dict(),
        performance=measure.name,
        loss=measure.loss,
        fraction=(low, high) == (0.0, 1.0),
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
