"""Predict the distribution of performance over instances."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kppstat.array import to_numpy
from kppstat.data import Dataset
from kppstat.data import load as load_data
from kppstat.errors import SettingError
from kppstat.graph import Graph
from kppstat.noise import Variation, variation_of
from kppstat.onnx_io import Model, load
from kppstat.performance import Performance, Top1, performance_named
from kppstat.prediction import choice
from kppstat.prediction.bend import bent, direction
from kppstat.prediction.distribution import DRAWS, matched, of_all, scores
from kppstat.prediction.fit import best_fit
from kppstat.prediction.gradients import kpp_gradients
from kppstat.prediction.head import logits_from, split
from kppstat.prediction.logits import Logits, logits
from kppstat.prediction.mse import mse, mse_by_weight, shifted
from kppstat.prediction.pilot import INSTANCES, PILOT, clean_outputs, instances, require_independent, sampled
from kppstat.prediction.result import Prediction, percentile
from kppstat.propagate import calibrate, forward, without_rule
from kppstat.propagate.moments import require_rules

_SAMPLE = 96  # inputs, evenly chosen, on which the law of all logits is followed
_SLOPES = 256  # inputs whose margins are differentiated
_MOST, _LEADERS = 10, 5  # logits of an input that are followed: in general, and to tell which one is the largest
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
    the adjoint at statistically linearised gains, the bend from the intended network moved there and back.
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
    if not 0 < k < 100:
        raise SettingError(f"k is {k:g}", where="--k", remedy="Give a percentage above 0 and below 100")
    if inputs < 2 or draws < 2:
        raise SettingError("inputs and draws must be at least 2", where="predict")
    variation = variation_of(sigma, variation)
    model = model if isinstance(model, Model) else load(model)
    data = data if isinstance(data, Dataset) else load_data(data, model)
    moments = {w.name: variation.of(w.name).moments(model.graph.constants[w.name]) for w in model.weights}
    require_independent(model, variation)
    head, tail = split(model.graph)
    require_rules(head, moments)
    total = len(data)
    outputs = clean_outputs(model, data) if outputs is None else outputs
    measure = performance_named(performance)
    targets = measure.targets_from(outputs) if data.targets is None else data.targets
    measure = measure.fitted(outputs, targets)
    if sensitivity and not isinstance(measure, Top1):
        raise SettingError(
            f"sensitivity is of the top-1 accuracy, not of {measure.name}", where="--sensitivity", remedy="Leave it out"
        )
    behind = logits_from(outputs, tail)
    score_of = measure.scores(outputs, targets)
    size = model.batch or 64
    sample = choice.pilot(behind, _SAMPLE)
    first = choice.pilot(behind, PILOT) if model.batch is None else np.arange(min(model.batch, total))
    score = _scorer(measure, tail, outputs, targets)
    seen: list[np.ndarray] = []
    leads: list[np.ndarray] = []

    def observe(values: Mapping[str, Any]) -> None:
        found = to_numpy(values[head.outputs[0].name])
        found = found.reshape(len(found), -1)
        seen.append(score(found, first[: len(found)]))
        leads.append(_lead(found, outputs[first[: len(found)]]))

    calibration = calibrate(
        head,
        data.batch(first),
        moments,
        instances(model, variation, seed),
        whole=data.whole,
        observe=observe,
    )
    here = first[: seen[0].size]

    def law_of(rows: np.ndarray, calibrated: bool, most: int) -> Logits:
        columns = _likeliest(outputs[rows], targets[rows], measure, most)
        padded = np.concatenate([rows, np.resize(rows, -len(rows) % (model.batch or 1))])
        wide = np.concatenate([columns, np.resize(columns, (len(padded) - len(rows), columns.shape[1]))])
        used = calibration if calibrated else None
        law = logits(head, data.batch(padded), moments, used, columns=wide, whole=data.whole, size=size, seed=seed)
        return law.take(slice(len(rows)))

    def moved(rows: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the logits of these inputs with other weights, shape (n, outputs)."""
        padded = np.concatenate([rows, np.resize(rows, -len(rows) % (model.batch or 1))])
        groups = [padded[i : i + size] for i in range(0, len(padded), size)]
        found = [to_numpy(forward(head, data.batch(g), weights)[head.outputs[0].name]) for g in groups]
        return np.concatenate([f.reshape(len(g), -1) for f, g in zip(found, groups, strict=True)])[: len(rows)]

    evenly = law_of(sample, True, _MOST)
    trial = law_of(here, True, _MOST)
    fit = best_fit(
        lambda calibrated: trial if calibrated else law_of(here, False, _MOST),
        lambda law: scores(law, lambda values, places: score(values, here[places]), _FITTING, seed),
        np.stack(seen),
    )
    if isinstance(measure, Top1):
        spread = float(np.sqrt(np.stack(leads).var(axis=0, ddof=1).mean()))
        rows, weights = choice.where_unclear(behind, spread, inputs)
        shift = choice.missed(behind, targets, spread, rows, weights)
    else:
        rows, weights = choice.evenly(outputs, inputs)
        shift = 0.0
    law = law_of(rows, fit.calibrated, _LEADERS if isinstance(measure, Top1) else _MOST).with_nonlinear(fit.share)
    along, step = direction(evenly, head, data.batch(sample), moments, calibration, whole=data.whole, size=size)
    law = bent(law, along, step, moments, lambda other: moved(rows, other))
    drawn = scores(law, lambda values, places: score(values, rows[places]), draws, seed)
    level = float(score_of.mean())
    performances = of_all(drawn, score_of[rows], weights, level, total, measure.low, measure.high, shift)
    sign = -1.0 if measure.loss else 1.0
    # A network that contradicts the usual law is not to be trusted to any variant of it. The closest gives the shape.
    notes = list(fit.rejected)
    seen_there = 0
    if fit.rejected:
        found = sampled(model, variation, data, measure, targets, rows, seed)
        seen_there = found.size
        there = of_all(found, score_of[rows], weights, level, total, measure.low, measure.high, shift)
        performances = matched(performances, there, measure.low, measure.high)
        notes.append(f"so mean and spread are those of {len(found)} more instances on {len(rows)} inputs")
    curved = float(evenly.nonlinear.sum() / max(float(evenly.var.sum()), 1e-300))
    if curved > _BENT:
        notes.append(f"{100 * curved:.0f} % of the variance of the logits is nonlinear in the weights")
    turns, all_turns = law.columns.shape[1], evenly.columns.shape[1]
    trials = len(here) * (1 + len(fit.rejected[:1]))
    passes = len(rows) * (10 + 3 * turns) + (len(sample) + trials) * (1 + 3 * all_turns) + 4 * len(sample)
    passes += len(first) * INSTANCES + seen_there
    share = _shares(evenly)
    intended = moved(sample, {})
    passes += len(sample) * len(shifted(moments, model.graph.constants))
    slopes = None
    if sensitivity:
        slopes = kpp_gradients(model, variation, data, k, inputs=min(inputs, _SLOPES), seed=seed, outputs=outputs)
        passes += slopes.evaluations * total
    return Prediction(
        kpp=percentile(sign * performances, k, loss=measure.loss),
        k=k,
        mean=sign * float(performances.mean()),
        sd=float(performances.std(ddof=1)),
        mse=mse(evenly, intended),
        mse_by_weight=mse_by_weight(
            evenly, intended, moments, model.graph.constants, lambda other: moved(sample, other)
        ),
        clean=sign * level,
        values=sign * performances,
        by_weight={n: v for n, v in share.items() if n},
        nonlinear=share[""],
        cost={} if slopes is None else slopes.cost,
        trusted=not notes,
        notes=tuple(notes),
        evaluations=passes / total + 1,
        inputs=len(rows),
        total=total,
        sigma=getattr(variation.default, "sigma", None) if not variation.layers else None,
        noise=variation.to_dict(),
        performance=measure.name,
        loss=measure.loss,
        fraction=(measure.low, measure.high) == (0.0, 1.0),
        seed=seed,
        seconds=time.monotonic() - begun,
        model_sha256=model.sha256,
        data_sha256=data.sha256,
    )


def predictable(model: Model) -> list[str]:
    """Return the operators, by name, that keep this model from being predicted; empty where nothing does."""
    return sorted({n.op for n in without_rule(split(model.graph)[0], {w.name for w in model.weights})})


def _shares(law: Logits) -> dict[str, float]:
    """Share of each weight in the variance of the logits; under the empty name that of nonlinear terms."""
    total = float(law.var.sum())
    parts = {**dict(sorted(law.by_weight.items())), "": law.nonlinear}
    return {n: float(v.sum()) / total if total > 0 else 0.0 for n, v in parts.items()}


def _lead(values: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """By how much the class that leads with the intended weights leads over their runner-up, shape (n,)."""
    flat = outputs.reshape(len(outputs), -1)
    leaders = np.argsort(-flat, axis=1, kind="stable")[:, :2]
    picked = np.take_along_axis(values, leaders, axis=1)
    return picked[:, 0] - picked[:, -1] if flat.shape[1] > 1 else picked[:, 0]


def _likeliest(outputs: np.ndarray, targets: np.ndarray, measure: Performance, most: int) -> np.ndarray:
    """Choose the logits that are followed: all where they are few, else the largest and that of the right class."""
    n = len(outputs)
    flat = outputs.reshape(n, -1)
    if flat.shape[1] <= most:
        return np.broadcast_to(np.arange(flat.shape[1]), (n, flat.shape[1])).copy()
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        raise SettingError(
            f"{measure.name} of {flat.shape[1]} outputs cannot be predicted",
            remedy=f"Predict an accuracy, or a model of at most {most} outputs; sampling takes any performance",
        )
    columns = np.argsort(-flat, axis=1, kind="stable")[:, :most]
    absent = ~(columns == targets[:, None]).any(axis=1)
    columns[absent, -1] = targets[absent]
    return columns


def _scorer(
    measure: Performance, tail: Graph | None, outputs: np.ndarray, targets: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the function from logits and the numbers of their inputs to scores."""
    shape = outputs.shape[1:]

    def score(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        values = values.reshape(len(values), *shape)
        if tail is not None:
            values = to_numpy(forward(tail, {tail.inputs[0].name: values})[tail.outputs[0].name])
        return measure.scores(values, targets[rows])

    return score
