"""A short probe: which batch size and how many workers are fastest, among those that do not change the results."""

from __future__ import annotations

import time
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from kppstat.engine.evaluator import Evaluator, Feeding
from kppstat.engine.plan import Plan
from kppstat.engine.resources import cores, free_memory, peak_memory

#: Batch sizes tried. Small ones keep activations in the cache: measured up to 1.6 times faster than 512 at a time.
_BATCHES = (4, 8, 16, 32, 64, 128, 256)
#: Seconds for one trial, about.
_TRIAL = 0.06
#: Most inputs of a trial: two of the largest batches and an odd rest.
_MOST = 515
#: Largest share of the free memory that the workers may take.
_SHARE = 0.5
#: Something else must be faster by this factor to be preferred.
_GAIN = 1.05


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
        evaluator.outputs(0, np.arange(1))  # what the first call loads and compiles would spoil the timing
        self.session = evaluator.session(0)
        few = np.arange(min(4, len(evaluator.dataset)))
        each = _seconds(lambda: evaluator.run(self.session, few)) / len(few)
        count = int(np.clip(_TRIAL / each, 4, _MOST))
        self.rows = np.arange(min(count, len(evaluator.dataset)))

    def plan(self, workers: int | None, local: bool) -> Plan:
        ev = self.evaluator
        if ev.batch_of_model is None:
            ev.feeding = self._feeding_that_keeps_bits()
        most = (workers or cores()) if local else 1
        with ThreadPoolExecutor(most) as pool:
            if ev.batch_of_model is None and ev.feeding.batch > 1 and not ev.feeding.padded:
                ev.feeding = self._fastest_batch(pool, most)
            busy = most
            if workers is None and local:
                busy = self._workers(pool, most)
            each = self._seconds_each(ev.feeding, pool, busy) * busy
        first = self.rows[: ev.feeding.batch]
        setup = min(_seconds(lambda: ev.outputs(0, first)) for _ in range(3)) - each * len(first)
        setup = max(setup, 1e-5)
        count = busy if local else (workers or cores())
        return Plan(
            count, ev.feeding.threads, ev.feeding.batch, len(ev.dataset), float(setup), float(each), tuple(self.notes)
        )

    def _feeding_that_keeps_bits(self) -> Feeding:
        """Find out whether the outputs of an input depend on what is fed with it."""
        run, rows, session = self.evaluator.run, self.rows, self.session
        whole = run(session, rows, Feeding(len(rows)))
        sizes = {1, 3, 7, *(b for b in _BATCHES if b < len(rows))}
        if all(_same(run(session, rows[: 4 * b + 1], Feeding(b)), whole[: 4 * b + 1]) for b in sizes):
            return Feeding(self.evaluator.feeding.batch)
        size = min(32, max(1, len(rows) // 2))
        full = run(session, rows, Feeding(size, padded=True))
        turned = run(session, rows[::-1], Feeding(size, padded=True))[::-1]
        if size > 1 and _same(full, turned):
            self.notes.append(f"Outputs depend on how many inputs are fed together, so it is always {size}.")
            return Feeding(size, padded=True)
        self.notes.append("Outputs depend on the other inputs of a batch, so inputs are fed one at a time.")
        return Feeding(1)

    def _fastest_batch(self, pool: Executor, workers: int) -> Feeding:
        """Try batch sizes with all workers busy; stop where they take too much memory."""
        best, fastest = self.evaluator.feeding, np.inf
        for batch in [b for b in _BATCHES if b < len(self.rows)] or [len(self.rows)]:
            before, free = peak_memory(), free_memory()
            feeding = replace(best, batch=batch)
            seconds = min(self._seconds_each(feeding, pool, workers) for _ in range(2))
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
            threads = most // allowed
            many = ev.session(0, threads)
            if threads > 1 and _same(ev.run(many, self.rows), ev.run(self.session, self.rows)):
                ev.feeding, self.session = replace(ev.feeding, threads=threads), many
            self.notes.append(f"Memory allows {allowed} of {most} workers.")
        half = allowed // 2
        if half and self._seconds_each(ev.feeding, pool, half) * _GAIN < self._seconds_each(ev.feeding, pool, allowed):
            return half
        return allowed

    def _seconds_each(self, feeding: Feeding, pool: Executor, workers: int) -> float:
        """Return the time of an input when so many workers run at once, all together."""

        def all_run() -> None:
            trials = [pool.submit(self.evaluator.run, self.session, self.rows, feeding) for _ in range(workers)]
            for trial in trials:
                trial.result()

        return _seconds(all_run) / (workers * len(self.rows))


def _seconds(action: object) -> float:
    begun = time.perf_counter()
    action()  # type: ignore[operator]
    return max(time.perf_counter() - begun, 1e-9)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
