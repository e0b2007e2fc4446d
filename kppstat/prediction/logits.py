"""Mean of the logits, or of their leads, and features whose inner products are their covariance over instances."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kppstat.array import Array, to_numpy
from kppstat.graph import Graph
from kppstat.prediction.curve import variance
from kppstat.propagate import Calibration, Passage, passages

FEATURES = 2048
"""Size of the sketch: inner products of unit vectors are off by about 1/sqrt(2048) = 2 %."""
_FEW = 0.04  # share of inputs taken together for which alone no further logit is followed
TOGETHER = 32
"""Inputs that are taken at a time: their derivatives should stay in the cache."""


@dataclass(frozen=True, eq=False)
class Logits:
    """The law of the logits over instances: Gaussian with this mean and covariance.

    Attributes
    ----------
    mean : ndarray, shape (n, outputs)
        All outputs of all inputs.
    columns : ndarray of int, shape (n, turns)
        The outputs of each input that vary.
    features : ndarray, shape (n, turns, r)
        Covariance of two logits, of the same or of different inputs, is the inner product of their features.
    by_weight : dict of str to ndarray, shape (n, turns)
        Share of each weight in the variance.
    nonlinear : ndarray, shape (n, turns)
        Share of the variance that no linear fit explains; it is spread over the features in proportion.
    along : ndarray, shape (r,), or None
        Direction of the features, of length one, along which the logits bend.
    bend : ndarray, shape (places, n, turns), or None
        What is added to a logit where an instance lies at one of the places along it (`kppstat.prediction.curve`).
    against : ndarray of int, shape (n,), or None
        The output of each input relative to which the others vary, and which stays at its mean: what is common to all
        logits of an input changes no answer. None where logits vary by themselves.
    rough : ndarray, shape (n, outputs), or None
        Variance of all outputs as it was propagated element by element, which knows no adjoint.
    """

    mean: np.ndarray
    columns: np.ndarray
    features: np.ndarray
    by_weight: dict[str, np.ndarray]
    nonlinear: np.ndarray
    along: np.ndarray | None = None
    bend: np.ndarray | None = None
    against: np.ndarray | None = None
    rough: np.ndarray | None = None

    @property
    def var(self) -> np.ndarray:
        """Variance of each logit that varies, shape (n, turns)."""
        smooth = np.einsum("ntr,ntr->nt", self.features, self.features)
        return smooth if self.bend is None else smooth + variance(self.bend)

    @property
    def followed(self) -> np.ndarray:
        """Whether each logit that may vary has features, shape (n, turns)."""
        return np.asarray(self.features.any(axis=2))

    def take(self, places: slice | np.ndarray) -> Logits:
        """Return the law of some of the inputs."""
        return Logits(
            self.mean[places],
            self.columns[places],
            self.features[places],
            {n: v[places] for n, v in self.by_weight.items()},
            self.nonlinear[places],
            self.along,
            None if self.bend is None else self.bend[:, places],
            None if self.against is None else self.against[places],
            None if self.rough is None else self.rough[places],
        )

    def with_nonlinear(self, share: float) -> Logits:
        """Return the law with this share of the nonlinear variance; the rest is left out.

        Nonlinear parts of different elements count as independent, and cancel in truth where a network has learnt to
        be robust; how much is left is measured on pilot instances.
        """
        if share == 1:
            return self
        smooth = np.einsum("ntr,ntr->nt", self.features, self.features)
        return self.with_variance(smooth - (1 - share) * self.nonlinear, share * self.nonlinear)

    def with_variance(self, smooth: np.ndarray, nonlinear: np.ndarray) -> Logits:
        """Return the law with features of these squared lengths, shape (n, turns)."""
        total = np.einsum("ntr,ntr->nt", self.features, self.features)
        scale = np.sqrt(np.divide(np.maximum(smooth, 0), total, out=np.ones_like(total), where=total > 0))
        features = self.features * scale[:, :, None].astype(np.float32)
        return replace(self, features=features, nonlinear=nonlinear)


class _Sketch:
    """A random linear map from all weights to a few features that keeps inner products on average.

    Element i of a weight goes to feature ``i mod r`` with a random sign (CountSketch with a regular hash; Charikar,
    Chen and Farach-Colton 2002), so inner products are unbiased over the signs and one pass over the data does it.
    """

    def __init__(self, size: int, sd: Mapping[str, np.ndarray], seed: int) -> None:
        self.size = size
        self.signed: dict[str, np.ndarray] = {}
        for i, (name, scale) in enumerate(sd.items()):
            rng = np.random.default_rng([seed, i])
            signs = np.where(rng.integers(0, 2, scale.size, dtype=np.int8), np.float32(1), np.float32(-1))
            self.signed[name] = signs * scale.reshape(-1).astype(np.float32)

    def add(self, features: np.ndarray, weight: str, gradient: np.ndarray) -> np.ndarray:
        """Add the features of derivatives (n, elements) with respect to a weight; return the variance that it gives."""
        scaled = gradient * self.signed[weight]
        n, count = scaled.shape
        whole = count // self.size * self.size
        if whole:
            features += scaled[:, :whole].reshape(n, -1, self.size).sum(axis=1)
        features[:, : count - whole] += scaled[:, whole:]
        return np.asarray(np.matmul(scaled[:, None, :], scaled[:, :, None])[:, 0, 0])


def logits(
    head: Graph,
    inputs: Mapping[str, Array],
    weights: Mapping[str, tuple[Array, Array]],
    calibration: Calibration | None,
    *,
    columns: np.ndarray,
    against: np.ndarray | None = None,
    far: float = math.inf,
    whole: Container[str] = (),
    size: int = TOGETHER,
    features: int = FEATURES,
    seed: int = 0,
) -> Logits:
    """Return the law of the logits of these inputs.

    Parameters
    ----------
    head : Graph
        The network up to its logits.
    inputs : mapping of str to array
    weights : mapping of str to (mean, variance)
    calibration : Calibration or None
    columns : ndarray of int, shape (n, turns)
        Which logits of each input are followed; each turn costs one pass back.
    against : ndarray of int, shape (n,), optional
        The logit of each input from which the others are taken as differences; see `Logits`.
    far : float
        Logits that lie further below `against` than this many standard deviations, for nearly all inputs that are taken
        together, are left there: columns should fall, and inputs next to each other be alike.
    whole : names of inputs that are the same for all
    size : int
        Inputs that are taken at a time.
    features : int
    seed : int
        Of the signs of the sketch.
    """
    name = head.outputs[0].name
    layout = {n: v for n, (_, v) in weights.items()}
    sketch: _Sketch | None = None
    parts = []
    correct = None if calibration is None else calibration.correct
    pair_scale = None if calibration is None else calibration.pair_scale
    groups = passages(head, inputs, weights, correct=correct, pair_scale=pair_scale, whole=whole, size=size)
    for rows, passage in groups:
        if sketch is None:
            sketch = _Sketch(features, {n: np.sqrt(to_numpy(v)) for n, v in _laid_out(passage, layout)}, seed)
        leader = None if against is None else against[rows]
        parts.append(_part(passage, name, columns[rows], leader, far, sketch))
    weights_met = {w for p in parts for w in p.by_weight}
    return Logits(
        np.concatenate([p.mean for p in parts]),
        columns,
        np.concatenate([p.features for p in parts]),
        {w: np.concatenate([p.by_weight[w] for p in parts]) for w in weights_met},
        np.concatenate([p.nonlinear for p in parts]),
        against=against,
        rough=np.concatenate([p.rough for p in parts if p.rough is not None]),
    )


def _laid_out(passage: Passage, variances: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Yield each stored weight as its operator reads it, by the name of that value, with its variance there."""
    for done in passage.done:
        for stored in done.step.stored:
            name = done.node.inputs[stored.index]
            yield name, passage.table[name].var


def _part(
    passage: Passage, name: str, columns: np.ndarray, against: np.ndarray | None, far: float, sketch: _Sketch
) -> Logits:
    n, turns = columns.shape
    mean, rough = (to_numpy(v).reshape(n, -1) for v in (passage.table[name].mean, passage.table[name].var))
    found = np.zeros((n, turns, sketch.size), np.float32)
    shares: dict[str, np.ndarray] = {}
    nonlinear = np.zeros((n, turns))
    for turn, seed in passage.seeds(name, columns, against):
        if turn > 0 and against is not None:
            # How far a rival comes is known once it has been followed; the last one tells for the next.
            var = nonlinear[:, turn - 1] + sum(v[:, turn - 1] for v in shares.values())
            gap = np.take_along_axis(mean, against[:, None], axis=1)[:, 0] - mean[np.arange(n), columns[:, turn]]
            if (gap < far * np.sqrt(var)).mean() <= _FEW:
                break
        for share in passage.back(name, seed):
            if share.stored is None:
                nonlinear[:, turn] += to_numpy(share.variance(n))
                continue
            gradient = to_numpy(share.stored.gradient(share.adjoint, n)).reshape(n, -1)
            variance = sketch.add(found[:, turn], share.node.inputs[share.stored.index], gradient)
            shares.setdefault(share.weight, np.zeros((n, turns)))[:, turn] += variance
    return replace(_exact(mean, columns, found, shares, nonlinear), rough=rough)


def _exact(
    mean: np.ndarray, columns: np.ndarray, features: np.ndarray, shares: dict[str, np.ndarray], nonlinear: np.ndarray
) -> Logits:
    """Return the law whose variances are these: the sketch keeps directions, lengths are known exactly."""
    law = Logits(mean, columns, features, shares, nonlinear)
    return law.with_variance(sum(shares.values(), start=np.zeros(columns.shape)) + nonlinear, nonlinear)


def between(laws: Mapping[float, Logits], sigma: float) -> Logits:
    """Return the law at one sigma from those of the same inputs at a few others.

    Derivatives of the logits with respect to the weights depend on sigma only through the gains of activations, and
    these smoothly: they, not the covariances, are interpolated, by the polynomial through all of them.

    Parameters
    ----------
    laws : mapping of float to Logits
        By sigma above 0, for variances that are proportional to its square; all from the same seed.
    sigma : float
    """
    factors = {s: float(np.prod([(sigma - o) / (s - o) for o in laws if o != s])) for s in laws}

    def mixed(values: Mapping[float, np.ndarray], power: int) -> np.ndarray:
        """Interpolate what grows with this power of sigma."""
        first, *more = (v * np.float32(factors[s] * (sigma / s) ** power) for s, v in values.items())
        for part in more:
            first += part
        return first

    any_law = next(iter(laws.values()))
    shares = {w: np.maximum(mixed({s: law.by_weight[w] for s, law in laws.items()}, 2), 0) for w in any_law.by_weight}
    nonlinear = np.maximum(mixed({s: law.nonlinear for s, law in laws.items()}, 2), 0)
    features = mixed({s: law.features for s, law in laws.items()}, 1)
    mean = mixed({s: law.mean for s, law in laws.items()}, 0)
    rough = np.maximum(mixed({s: law.rough for s, law in laws.items() if law.rough is not None}, 2), 0)
    return replace(_exact(mean, any_law.columns, features, shares, nonlinear), against=any_law.against, rough=rough)
