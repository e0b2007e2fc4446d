"""What predictions at several device variations share: the model, its data, and the inputs that are followed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kppstat.array import to_numpy
from kppstat.data import Dataset
from kppstat.data import load as load_data
from kppstat.engine import Evaluator, Move
from kppstat.errors import SettingError
from kppstat.noise import Variation
from kppstat.onnx_io import Model, load
from kppstat.performance import Performance, Top1, performance_named
from kppstat.prediction import choice
from kppstat.prediction.directions import Principal, answers, principal
from kppstat.prediction.distribution import coordinates, scores
from kppstat.prediction.head import logits_from, split
from kppstat.prediction.logits import TOGETHER, Logits, logits
from kppstat.prediction.pilot import FIRST, INSTANCES, PILOT, clean_outputs, instances, outputs_of, require_usable
from kppstat.propagate import Calibration, calibrate, forward
from kppstat.propagate.moments import require_rules
from kppstat.stats.directions import Directions

_SAMPLE = 96  # inputs, evenly chosen, on which the law of all logits is followed
_MOST, _RIVALS = 10, 9  # logits of an input that are followed: in general, and besides the one that leads
_MOMENTS, _BACK = 4, 2  # forward passes that a pass of moments, and one back with its derivatives, cost

Weights = Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Pilot:
    """What a few instances of a few inputs showed.

    Attributes
    ----------
    spread : float
        Standard deviation over instances of the lead of the class that leads with the intended weights.
    calibration : Calibration
        Correlations inside the network.
    """

    spread: float
    calibration: Calibration


class Ground:
    """A model and its data as predictions see them; it counts what they spend.

    Parameters
    ----------
    model, data, performance, seed, outputs
        As for `kppstat.prediction.predict`.
    variations : sequence of Variation
        All that will be predicted, to be checked before anything is computed.

    Attributes
    ----------
    clean : ndarray, shape (inputs,)
        Scores of the intended weights.
    behind : ndarray, shape (inputs, outputs)
        Their logits, up to a constant for each input.
    passes : int
        Forward passes of one input spent so far, without the one for clean outputs.
    pace : float
        Seconds that one of them takes; 0 where clean outputs were given.
    """

    def __init__(
        self,
        model: str | Path | Model,
        data: str | Path | Dataset | None,
        variations: Sequence[Variation],
        performance: Any,
        outputs: np.ndarray | None,
        seed: int,
    ) -> None:
        self.model = model if isinstance(model, Model) else load(model)
        self.data = data if isinstance(data, Dataset) else load_data(data, self.model)
        self.seed, self.passes = seed, 0
        for variation in variations:
            require_usable(self.model, variation)
        self.head, self.tail = split(self.model.graph)
        require_rules(self.head, {w.name for w in self.model.weights})
        begun = time.monotonic()
        self.outputs = clean_outputs(self.model, self.data) if outputs is None else outputs
        self.pace = (time.monotonic() - begun) / len(self.data)
        measure = performance_named(performance)
        self.measure: Performance
        if self.data.targets is None:
            self.measure, self.targets = measure.of_clean(self.outputs)
        else:
            self.measure, self.targets = measure.fitted(self.outputs, self.data.targets), self.data.targets
        self.clean = self.measure.scores(self.outputs, self.targets)
        self.behind = logits_from(self.outputs, self.tail)
        self.sample = choice.pilot(self.behind, _SAMPLE)
        batch = self.model.batch
        first = choice.pilot(self.behind, PILOT) if batch is None else np.arange(min(batch, len(self.data)))
        self._first = self._padded(first)
        self._size = batch or TOGETHER

    def moments(self, variation: Variation) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return mean and variance of each weight."""
        return {w.name: variation.of(w.name).moments(self.model.graph.constants[w.name]) for w in self.model.weights}

    def pilot(self, variation: Variation, weights: Weights) -> Pilot:
        """Measure the correlations inside the network, and the spread of its logits, on pilot instances."""
        leads: list[np.ndarray] = []

        def observe(values: Mapping[str, Any]) -> None:
            found = to_numpy(values[self.head.outputs[0].name])  # of a single input where inputs mix
            leads.append(_lead(found, self.outputs[self._first[: len(found)]]))

        drawn = instances(self.model, variation, self.seed)
        inputs, whole = self.data.batch(self._first), self.data.whole
        calibration = calibrate(self.head, inputs, weights, drawn, whole=whole, observe=observe)
        self.passes += INSTANCES * len(self._first)
        return Pilot(float(np.sqrt(np.stack(leads).var(axis=0, ddof=1).mean())), calibration)

    def watched(
        self,
        variation: Variation,
        rows: np.ndarray,
        numbers: range,
        directions: Directions | None = None,
        places: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the scores of these inputs in further pilot instances, shape (instances, n).

        Instances are moved along the directions to the places, shape (instances, count), if these are given.
        """
        evaluator = Evaluator(self.model, variation, self.data, self.measure, seed=self.seed)
        evaluator.directions = directions
        found = []
        for i, number in enumerate(numbers):
            move = None if directions is None or places is None else Move(places[i], directions.digest)
            outputs = evaluator.run(evaluator.session(FIRST + INSTANCES + number, move=move), rows)
            found.append(self.measure.scores(outputs, self.targets[rows]))
        self.passes += len(numbers) * len(rows)
        return np.stack(found)

    def chosen(
        self, spreads: Sequence[float], count: int, among: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose inputs, and how much each stands for; `among` some, of which the places are returned.

        Inputs whose leader is about as far ahead of all others come next to each other.
        """
        rows = np.arange(len(self.outputs)) if among is None else among
        if not isinstance(self.measure, Top1):
            return choice.evenly(self.outputs[rows], count)
        found, weights = choice.where_unclear(self.behind[rows], spreads, count)
        behind = self.behind[rows[found]].reshape(len(found), -1)
        order = np.argsort(behind.max(axis=1) - behind.mean(axis=1), kind="stable")
        return found[order], weights[order]

    def missed(self, spread: float, rows: np.ndarray, weights: np.ndarray, changes: np.ndarray) -> float:
        """Return what the chosen inputs miss of the mean change, as far as a guess for every input tells."""
        if not isinstance(self.measure, Top1):
            return 0.0
        return choice.missed(self.behind, self.targets, spread, rows, weights, changes)

    def law(self, rows: np.ndarray, weights: Weights, calibration: Calibration | None) -> Logits:
        """Return the law of the logits of these inputs, of the likeliest ones where they are many."""
        padded = self._padded(rows)
        columns = self.columns(padded)
        inputs, whole = self.data.batch(padded), self.data.whole
        law = logits(
            self.head, inputs, weights, calibration, columns=columns, whole=whole, size=self._size, seed=self.seed
        )
        self.passes += len(padded) * (_MOMENTS + _BACK * columns.shape[1])
        return law.take(slice(len(rows)))

    def columns(self, rows: np.ndarray) -> np.ndarray:
        """Return which logits of these inputs are followed where all count alike, shape (n, turns)."""
        return _likeliest(self.outputs[rows], self.targets[rows], self.measure, _MOST)

    def logits(self, rows: np.ndarray) -> np.ndarray:
        """Return the logits of the intended weights, shape (n, outputs)."""
        return self.moved(rows, {}) if self.tail is not None else self.outputs[rows].reshape(len(rows), -1)

    def leads(
        self, rows: np.ndarray, weights: Weights, calibration: Calibration | None, far: float = math.inf
    ) -> Logits:
        """Return the law of what tells a top-1 accuracy: the logits of rivals, relative to the class that leads.

        Rivals that are more than `far` standard deviations behind are left there.
        """
        padded = self._padded(rows)
        behind = self.behind[padded].reshape(len(padded), -1)
        if not isinstance(self.measure, Top1) or behind.shape[1] == 1:
            return self.law(rows, weights, calibration)
        columns = _likeliest(self.outputs[padded], self.targets[padded], self.measure, 1 + _RIVALS)
        falling = np.argsort(-np.take_along_axis(behind, columns, axis=1), axis=1, kind="stable")
        columns = np.take_along_axis(columns, falling, axis=1)
        leader, rivals = columns[:, 0], columns[:, 1:]
        inputs, whole = self.data.batch(padded), self.data.whole
        law = logits(
            self.head,
            inputs,
            weights,
            calibration,
            columns=rivals,
            against=leader,
            far=far,
            whole=whole,
            size=self._size,
            seed=self.seed,
        )
        self.passes += len(padded) * _MOMENTS + _BACK * int(law.followed.sum())
        return law.take(slice(len(rows)))

    def answers(self, rows: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the logits of these inputs with other weights, up to a constant for each, shape (n, outputs)."""
        self.passes += len(rows)
        return logits_from(outputs_of(self.model, self.data, rows, weights), self.tail).reshape(len(rows), -1)

    def moved(self, rows: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the logits of these inputs with other weights, shape (n, outputs), as the rules compute them."""
        padded = self._padded(rows)
        self.passes += len(padded)
        groups = [padded[i : i + self._size] for i in range(0, len(padded), self._size)]
        name = self.head.outputs[0].name
        found = [to_numpy(forward(self.head, self.data.batch(g), weights)[name]).reshape(len(g), -1) for g in groups]
        return np.concatenate(found)[: len(rows)]

    def together(self, evenly: Logits, weights: Weights, calibration: Calibration | None) -> Principal:
        """Return the direction in which the logits of the sample, whose law this is, move most together."""
        return self._principal(evenly, np.ones(evenly.smooth.shape), self.sample, weights, calibration, 1)

    def towards_errors(
        self, law: Logits, rows: np.ndarray, shares: np.ndarray, weights: Weights, calibration: Calibration, count: int
    ) -> Principal:
        """Return the directions in which the answers to these inputs, whose law this is, change most together."""
        return self._principal(law, answers(law, shares), rows, weights, calibration, count)

    def _principal(
        self,
        law: Logits,
        emphasis: np.ndarray,
        rows: np.ndarray,
        weights: Weights,
        calibration: Calibration | None,
        count: int,
    ) -> Principal:
        places = self._padded(np.arange(len(rows)))
        self.passes += len(places) * (_MOMENTS + _BACK * count)
        inputs, whole = self.data.batch(rows[places]), self.data.whole
        return principal(
            law.take(places),
            emphasis[places],
            self.head,
            inputs,
            weights,
            calibration,
            count=count,
            whole=whole,
            size=self._size,
        )

    def scores(self, law: Logits, rows: np.ndarray, draws: int) -> np.ndarray:
        """Return the scores of these inputs in instances drawn from the law of their logits, shape (draws, n)."""

        def score(values: np.ndarray, places: np.ndarray) -> np.ndarray:
            values = values.reshape(len(values), *self.outputs.shape[1:])
            if self.tail is not None:
                values = to_numpy(forward(self.tail, {self.tail.inputs[0].name: values})[self.tail.outputs[0].name])
            return self.measure.scores(values, self.targets[rows[places]])

        return scores(law, score, draws, self.seed)

    def places(self, law: Logits, along: np.ndarray, draws: int) -> np.ndarray:
        """Return where the same drawn instances lie along directions of the features, shape (draws, count)."""
        return coordinates(law, along, draws, self.seed)

    def _padded(self, rows: np.ndarray) -> np.ndarray:
        """Fill up to whole batches, where the model takes no others."""
        return choice.padded(rows, self.model.batch)


def _lead(values: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """By how much the class that leads with the intended weights leads over their runner-up, shape (n,)."""
    values, flat = values.reshape(len(values), -1), outputs.reshape(len(outputs), -1)
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
