"""A short probe: which batch size and how many workers are fastest, among those that do not change the results."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from kppstat.engine.evaluator import Evaluator, Feeding
from kppstat.engine.plan import Plan
from kppstat.engine.resources import cores, free_memory, peak_memory

#: Batch sizes tried. Small ones keep activations in the cache: measured up to 1.6 times faster than 512 at a time.
_BATCHES = (4, 16, 64, 256)
#: Always the same, whatever the timing, so that every probe holds the other ways of feeding against the same bits.
_REFERENCE = Feeding(8, padded=True)
#: Seconds for one trial, about, and how many inputs it has: two of the largest batches and an odd rest at most.
_TRIAL = 0.05
_FEWEST, _MOST = 9, 515
#: Largest share of the free memory that the workers may take.
_SHARE = 0.5
#: A larger batch must be faster by this factor, and fewer workers by that one, because other processes disturb it.
_GAIN, _FEWER = 1.03, 1.25


def probe(evaluator: Evaluator, workers: int | None = None, *, local: bool = True) -> Plan:
    """Choose how the evaluator is fed, set it so, and return the plan.

    Parameters
    ----------
    evaluator : Evaluator
    workers : int, optional
        Instances to run at a time; None chooses.
    local : bool
        Whether the workers are threads of this process; others are not tried out here.
    """
    return _Probe(evaluator).plan(workers, local)


class _Probe:
    """One instance, a session of it, some inputs, and what has been found out."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.notes: list[str] = []
        self.sizes = [b for b in _BATCHES if b < len(evaluator.dataset)] or [1]
        evaluator.outputs(0, np.arange(1))  # what the first call loads and compiles would spoil the timing
        self.setup = min(_seconds(lambda: evaluator.session(0)) for _ in range(3))
        self.session = evaluator.session(0)
        few = np.arange(min(4, len(evaluator.dataset)))
        each = _seconds(lambda: evaluator.run(self.session, few)) / len(few)
        count = int(np.clip(_TRIAL / each, _FEWEST, _MOST))
        self.rows = np.arange(min(count, len(evaluator.dataset)))

    def plan(self, workers: int | None, local: bool) -> Plan:
        ev = self.evaluator
        choices = self._choices() if ev.batch_of_model is None else [ev.feeding]
        most = (workers or cores()) if local else 1
        with ThreadPoolExecutor(most) as pool:
            ev.feeding = self._fastest(choices, pool, most)
            busy = self._workers(pool, most) if workers is None and local else most
            each = self._seconds_each(ev.feeding, pool, busy) * busy
        return Plan(
            workers=busy if local else (workers or cores()),
            threads=ev.feeding.threads,
            batch=ev.feeding.batch,
            inputs=len(ev.dataset),
            setup=self.setup,
            each=each,
            notes=tuple(self.notes),
        )

    def _choices(self) -> list[Feeding]:
        """Return the ways of feeding that give the same bits, because outputs may depend on what is fed together."""
        rows = self.rows
        reference = self._outputs(_REFERENCE)
        turned = self.evaluator.run(self.session, rows[::-1], _REFERENCE)[::-1]
        if not _same(reference, turned):
            self.notes.append("Outputs depend on the other inputs of a batch, so inputs are fed one at a time.")
            return [Feeding(1)]
        # A batch of its own for the last input is the smallest rest that can be left over.
        sizes = [b for b in self.sizes if b < len(rows)] or [1]
        rests = [_same(self._outputs(Feeding(b), 2 * b + 1), reference[: 2 * b + 1]) for b in (1, 2, *sizes)]
        if all(rests):
            return [Feeding(b) for b in sizes]
        choices = [Feeding(b, padded=True) for b in sizes]
        self.notes.append("Outputs depend on how many inputs are fed together, so that every batch is filled up.")
        return [c for c in choices if _same(self._outputs(c), reference)] or [_REFERENCE]

    def _outputs(self, feeding: Feeding, count: int | None = None) -> np.ndarray:
        return self.evaluator.run(self.session, self.rows[:count], feeding)

    def _fastest(self, choices: list[Feeding], pool: Executor, workers: int) -> Feeding:
        """Try ways of feeding with all workers busy; stop where they take too much memory."""
        best, fastest = choices[0], np.inf
        for feeding in choices if len(choices) > 1 else []:
            before, free = peak_memory(), free_memory()
            seconds = self._seconds_each(feeding, pool, workers)
            if seconds * _GAIN < fastest:
                best, fastest = feeding, seconds
            if peak_memory() - before > _SHARE * free:
                break
        return best

    def _workers(self, pool: Executor, most: int) -> int:
        """Return how many workers memory allows and are of use."""
        ev = self.evaluator
        before = peak_memory()
        held = sum(w.nbytes for w in ev.intended.values())
        self._seconds_each(ev.feeding, pool, 1)
        # A worker holds z, the weights, the model as bytes and the session made of them, besides activations.
        need = 5 * held + max(peak_memory() - before, 0.0)
        allowed = max(1, min(most, int(_SHARE * free_memory() / max(need, 1.0))))
        if allowed < most:
            self.notes.append(f"Memory allows {allowed} of {most} workers.")
            self._take_threads(most // allowed)
        half = allowed // 2
        if half and self._seconds_each(ev.feeding, pool, half) * _FEWER < self._seconds_each(ev.feeding, pool, allowed):
            self.notes.append(f"{half} workers are faster than {allowed}.")
            return half
        return allowed

    def _take_threads(self, threads: int) -> None:
        """Use more threads an instance where that does not change the results."""
        ev = self.evaluator
        many = ev.session(0, threads)
        if threads > 1 and _same(ev.run(many, self.rows), self._outputs(ev.feeding)):
            ev.feeding, self.session = replace(ev.feeding, threads=threads), many

    def _seconds_each(self, feeding: Feeding, pool: Executor, workers: int) -> float:
        """Return the time of an input when so many workers run at once, all together."""

        def all_run() -> None:
            trials = [pool.submit(self.evaluator.run, self.session, self.rows, feeding) for _ in range(workers)]
            for trial in trials:
                trial.result()

        seconds = [_seconds(all_run)]
        if seconds[0] < 5 * _TRIAL:  # short trials are easily disturbed, and cheap to repeat
            seconds += [_seconds(all_run), _seconds(all_run)]
        return min(seconds) / (workers * len(self.rows))


def _seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return max(time.perf_counter() - begun, 1e-9)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
