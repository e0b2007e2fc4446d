"""Mean of the logits, or of their leads, and features whose inner products are their covariance over instances."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kppstat.array import Array, to_numpy
from kppstat.graph import Graph
from kppstat.prediction.curve import variance
from kppstat.prediction.sketch import Sketch
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
        Correlation of two logits, of the same or of different inputs, is the inner product of their features, but for
        what bends; zero where a logit stays at its mean.
    smooth : ndarray, shape (n, turns)
        Variance of each logit that varies, but for what bends.
    by_weight : dict of str to ndarray, shape (n, turns)
        Share of each weight in the variance.
    nonlinear : ndarray, shape (n, turns)
        Share of the variance that no linear fit explains; it has the correlations of the rest.
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
    smooth: np.ndarray
    by_weight: dict[str, np.ndarray]
    nonlinear: np.ndarray
    along: np.ndarray | None = None
    bend: np.ndarray | None = None
    against: np.ndarray | None = None
    rough: np.ndarray | None = None

    @property
    def var(self) -> np.ndarray:
        """Variance of each logit that varies, shape (n, turns)."""
        return self.smooth if self.bend is None else self.smooth + variance(self.bend)

    @property
    def followed(self) -> np.ndarray:
        """Whether each logit that may vary has features, shape (n, turns)."""
        return self.smooth > 0

    def take(self, places: slice | np.ndarray) -> Logits:
        """Return the law of some of the inputs."""
        return Logits(
            self.mean[places],
            self.columns[places],
            self.features[places],
            self.smooth[places],
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
        left_out = (1 - share) * self.nonlinear
        return replace(self, smooth=np.maximum(self.smooth - left_out, 0), nonlinear=self.nonlinear - left_out)


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
    sketch: Sketch | None = None
    parts = []
    found = np.zeros((*columns.shape, features), np.float32)
    correct = None if calibration is None else calibration.correct
    pair_scale = None if calibration is None else calibration.pair_scale
    groups = passages(head, inputs, weights, correct=correct, pair_scale=pair_scale, whole=whole, size=size)
    for rows, passage in groups:
        if sketch is None:
            sketch = Sketch(features, {n: np.sqrt(to_numpy(v)) for n, v in _laid_out(passage, layout)}, seed)
        leader = None if against is None else against[rows]
        parts.append(_part(passage, name, columns[rows], leader, far, sketch, found[rows]))
    weights_met = {w for p in parts for w in p.by_weight}
    return Logits(
        np.concatenate([p.mean for p in parts]),
        columns,
        found,
        np.concatenate([p.smooth for p in parts]),
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
    passage: Passage,
    name: str,
    columns: np.ndarray,
    against: np.ndarray | None,
    far: float,
    sketch: Sketch,
    features: np.ndarray,
) -> Logits:
    """Return the law of the inputs of a passage; `features`, zeros so far, are filled in."""
    n, turns = columns.shape
    mean, rough = (to_numpy(v).reshape(n, -1) for v in (passage.table[name].mean, passage.table[name].var))
    shares: dict[str, np.ndarray] = {}
    nonlinear = np.zeros((n, turns))
    smooth = np.zeros((n, turns))
    for turn, seed in passage.seeds(name, columns, against):
        if turn > 0 and against is not None and far < math.inf:
            # How far a rival comes is known once it has been followed; the last one tells for the next.
            gap = np.take_along_axis(mean, against[:, None], axis=1)[:, 0] - mean[np.arange(n), columns[:, turn]]
            if (gap < far * np.sqrt(smooth[:, turn - 1])).mean() <= _FEW:
                break
        found = np.zeros((n, sketch.size), np.float32)
        for share in passage.back(name, seed):
            if share.stored is None:
                nonlinear[:, turn] += to_numpy(share.variance(n))
                continue
            read, factors = share.node.inputs[share.stored.index], share.stored.factors
            outer = None if factors is None else factors(share.adjoint, n)
            if outer is None:
                gradient = to_numpy(share.stored.gradient(share.adjoint, n)).reshape(n, -1)
                variance = sketch.add(found, read, gradient)
            else:
                variance = sketch.add_outer(found, read, *map(to_numpy, outer))
            shares.setdefault(share.weight, np.zeros((n, turns)))[:, turn] += variance
        var = nonlinear[:, turn] + sum(v[:, turn] for v in shares.values())
        length = _lengths(found)
        np.divide(found, np.where(length > 0, length, 1)[:, None], out=features[:, turn])
        smooth[:, turn] = np.where(length > 0, var, 0)
    return Logits(mean, columns, features, smooth, shares, nonlinear, rough=rough)


def _lengths(features: np.ndarray) -> np.ndarray:
    """Return the length of each of some features, shape (..., r)."""
    return np.asarray(np.sqrt(np.einsum("...r,...r->...", features, features)))


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
    features = mixed({s: law.features * np.sqrt(law.smooth, dtype=np.float32)[..., None] for s, law in laws.items()}, 1)
    mean = mixed({s: law.mean for s, law in laws.items()}, 0)
    rough = np.maximum(mixed({s: law.rough for s, law in laws.items() if law.rough is not None}, 2), 0)
    # Lengths are known exactly: features keep directions.
    length = _lengths(features)
    features /= np.where(length > 0, length, 1)[..., None]
    smooth = np.where(length > 0, sum(shares.values(), start=nonlinear), 0)
    return Logits(mean, any_law.columns, features, smooth, shares, nonlinear, against=any_law.against, rough=rough)
