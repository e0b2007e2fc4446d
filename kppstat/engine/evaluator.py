"""Evaluate an instance: draw its weights, put them into the model, run it, score the outputs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kppstat.data import Dataset
from kppstat.engine.session import build
from kppstat.engine.task import Evaluation, Move, Task
from kppstat.engine.template import Template
from kppstat.errors import KppstatError, ModelError, SettingError
from kppstat.noise import Variation, instance_normals
from kppstat.onnx_io import Model
from kppstat.performance import Performance, require_output_each
from kppstat.stats.directions import Directions
from kppstat.user_code import in_short

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


Mix = tuple[tuple[int, float], ...]


class Cancelled(KppstatError):
    """The run was stopped before this evaluation was done."""


@dataclass(frozen=True)
class Feeding:
    """How inputs are fed; a probe chooses it so that it does not change the outputs.

    Attributes
    ----------
    batch : int
        Inputs at a time.
    padded : bool
        Fill the last batch up, for models whose outputs depend on the number of inputs fed together.
    threads : int
        Threads within an operator.
    """

    batch: int = 32
    padded: bool = False
    threads: int = 1


class Evaluator:
    """Evaluates instances of one model under one device variation on one dataset.

    Can be pickled, and shared by the threads of a process. The weights of an instance depend on seed and index
    alone, so every worker gives the same scores.

    Parameters
    ----------
    model : Model
    variation : Variation
        The device variation.
    dataset : Dataset
    performance : Performance
    seed : int
        Names the set of instances.

    Attributes
    ----------
    feeding : Feeding
        How inputs are fed.
    targets : ndarray or None
        Targets of the data, or the clean model's own answers where it has none; None before `fit`.
    directions : Directions or None
        Along which tasks may move instances.
    """

    def __init__(
        self, model: Model, variation: Variation, dataset: Dataset, performance: Performance, *, seed: int = 0
    ) -> None:
        self.weights = model.weights
        self.intended = model.values()
        self.variation, self.dataset, self.performance, self.seed = variation, dataset, performance, seed
        self.output = model.graph.outputs[0].name
        self.batch_of_model = model.batch
        self.feeding = Feeding() if model.batch is None else Feeding(model.batch, padded=True)
        self.targets = dataset.targets
        self.directions: Directions | None = None
        self._image = model.image()
        self._made_here()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_template", "_lock", "_local", "_stop")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._made_here()

    def _made_here(self) -> None:
        """Set up what belongs to this process."""
        self._template: Template | None = None
        self._lock = threading.Lock()
        self._local = threading.local()
        self._stop = threading.Event()

    def __call__(self, task: Task) -> Evaluation:
        """Evaluate an instance.

        Raises
        ------
        KppstatError
            If the model cannot be run on the inputs, or the performance cannot be taken of its outputs.
        """
        if self.targets is None:
            raise SettingError("the data has no targets", remedy="Call fit with the outputs of the clean model first")
        begun = time.perf_counter()
        outputs = self.run(self.session(task.index, move=task.move, mix=task.mix), task.rows)
        targets = self.targets if task.rows is None else self.targets[task.rows]
        scores = self.performance.scores(outputs, targets)
        return Evaluation(task.index, task.rows, scores, time.perf_counter() - begun)

    def fit(self, clean_outputs: np.ndarray) -> np.ndarray:
        """Take over targets (if the data has none) and performance from the outputs of the clean model on all inputs.

        Returns
        -------
        ndarray, float64, shape (n,)
            The scores of the clean model.
        """
        if self.targets is None:
            self.performance, self.targets = self.performance.of_clean(clean_outputs)
        else:
            self.performance = self.performance.fitted(clean_outputs, self.targets)
        return self.performance.scores(clean_outputs, self.targets)

    def normals(self, index: int, move: Move | None = None, mix: Mix = ()) -> dict[str, np.ndarray]:
        """Return the standard normals of an instance by the name of the weight, float32.

        Parameters
        ----------
        index : int
        move : Move, optional
            Where the instance is moved to.
        mix : tuple of (int, float)
            What it is a combination of; see `Task`.

        Raises
        ------
        SettingError
            If it is to be moved along other directions than those of the evaluator.
        """
        z: dict[str, np.ndarray] = {}
        for number, coefficient in mix or ((index, 1.0),):
            for w in self.weights:
                part = instance_normals(self.variation.of(w.name), self.seed, number, w.position, w.shape)
                if coefficient != 1:
                    part *= np.float32(coefficient)
                z[w.name] = z[w.name] + part if w.name in z else part
        if move is None:
            return z
        if self.directions is None or self.directions.digest != move.along:
            raise SettingError("an instance cannot be moved along directions that the engine does not have")
        return self.directions.moved(z, move.place)

    def programmed(self, index: int, move: Move | None = None, mix: Mix = ()) -> dict[str, np.ndarray]:
        """Return the programmed weights of an instance by name."""
        normals = self.normals(index, move, mix)
        return {name: self.variation.of(name).weights(self.intended[name], z) for name, z in normals.items()}

    def outputs(self, index: int | None, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the outputs of an instance, or of the clean model (None), for these inputs.

        Raises
        ------
        ModelError
            If the model cannot be run on them.
        """
        return self.run(self.session(index), rows)

    def session(
        self, index: int | None, threads: int | None = None, *, move: Move | None = None, mix: Mix = ()
    ) -> InferenceSession:
        """Return a session of an instance, moved where it shall be, or of the clean model (None)."""
        weights = self.intended if index is None else self.programmed(index, move, mix)
        template = self._ready_template()
        return build(template.patched(weights), threads=threads or self.feeding.threads, optimised=template.optimised)

    def run(
        self, session: InferenceSession, rows: np.ndarray | None = None, feeding: Feeding | None = None
    ) -> np.ndarray:
        """Return the outputs of a session for these inputs, fed as given or else as `feeding` of the evaluator says."""
        feeding = feeding or self.feeding
        outputs: np.ndarray | None = None
        start = 0
        for feed, count in self._feeds(rows, feeding):
            if self._stop.is_set():
                raise Cancelled("the run was stopped")
            try:
                (part,) = session.run([self.output], feed)
            except Exception as problem:  # onnxruntime raises a dozen kinds
                raise ModelError(
                    f"onnxruntime failed on inputs {start} to {start + count - 1} ({in_short(problem)})",
                    remedy="Check the shapes and values of the inputs",
                ) from None
            require_output_each(part.shape, feeding.batch if feeding.padded else count)
            if outputs is None:
                total = len(self.dataset) if rows is None else len(rows)
                if count == total == len(part):
                    return part
                outputs = np.empty((total, *part.shape[1:]), part.dtype)
            part = part[:count] if feeding.padded else part
            if part.shape != (count, *outputs.shape[1:]):
                raise ModelError(
                    f"output '{self.output}' has shape {part.shape} for {count} inputs, and other inputs gave "
                    f"{outputs.shape[1:]} each",
                    remedy="The outputs must be of one shape for all inputs",
                )
            outputs[start : start + count] = part
            start += count
        if outputs is None:
            raise SettingError("an evaluation of no inputs was asked for", remedy="Give at least one row")
        return outputs

    def stop(self) -> None:
        """Make running evaluations of this process end at the next batch."""
        self._stop.set()

    def go(self) -> None:
        """Allow evaluations again after `stop`."""
        self._stop.clear()

    def _feeds(self, rows: np.ndarray | None, feeding: Feeding) -> Iterator[tuple[dict[str, np.ndarray], int]]:
        """Yield batches of inputs, and how many of each batch count."""
        n, step = len(self.dataset), feeding.batch
        if rows is not None:
            rows = np.asarray(rows)
            if rows.size and not (rows.min() >= 0 and rows.max() < n):
                raise SettingError(f"rows reach from {rows.min()} to {rows.max()}, and there are {n} inputs")
            n = len(rows)
        for start in range(0, n, step):
            count = min(step, n - start)
            if feeding.padded and count < step:
                numbers = np.minimum(np.arange(start, start + step), n - 1)
                yield self._gathered(numbers if rows is None else rows[numbers]), count
            elif rows is None:
                yield self.dataset.batch(slice(start, start + count)), count
            else:
                yield self._gathered(rows[start : start + count]), count

    def _gathered(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Gather inputs into buffers that are used again and again."""
        data = self.dataset
        if data.whole or not all(a.flags.aligned and a.dtype == data.dtypes[name] for name, a in data.inputs.items()):
            return data.batch(rows)
        feed = {}
        for name, array in data.inputs.items():
            buffer = self._buffer(name, (len(rows), *array.shape[1:]), array.dtype)
            # Rows were checked, and any mode but "raise" writes straight into the buffer.
            feed[name] = array.take(rows, axis=0, out=buffer, mode="clip")
        return feed

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Return a buffer of this thread, grown where needed."""
        count = int(np.prod(shape))
        held = self._local.__dict__.get(name)
        if held is None or held.size < count or held.dtype != dtype:
            held = self._local.__dict__[name] = np.empty(count, dtype)
        return held[:count].reshape(shape)

    def _ready_template(self) -> Template:
        """Return the template of this process, made by the first thread that needs it."""
        if self._template is None:
            with self._lock:
                if self._template is None:
                    self._template = Template.of(self._image, self.intended, self._agrees)
        return self._template

    def _agrees(self, one: InferenceSession, other: InferenceSession) -> bool:
        """Say whether two sessions give the same bits on the first inputs."""
        rows = np.arange(min(len(self.dataset), self.batch_of_model or 8))
        return np.array_equal(self.run(one, rows), self.run(other, rows), equal_nan=True)
