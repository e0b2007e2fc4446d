"""Run many instances on threads of this process or on any executor, in order, with bounded work in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from itertools import islice
from numbers import Integral
from types import TracebackType
from typing import Any

import numpy as np

from kppstat.engine.evaluator import Evaluator
from kppstat.engine.parcel import Parcel, run_group
from kppstat.engine.plan import Plan
from kppstat.engine.probe import probe
from kppstat.engine.resources import cores
from kppstat.engine.task import Evaluation, Task
from kppstat.errors import KppstatError, SettingError
from kppstat.stats.directions import Directions

#: Tasks are sent in groups of about this many seconds, so that sending them costs little: to threads, and elsewhere.
_SECONDS_LOCAL, _SECONDS_AWAY = 0.005, 0.1
_MOST_IN_GROUP = 1000
#: Groups in flight for each worker: one that runs and one that waits.
_AHEAD = 2
#: More workers than this are a slip of the pen.
_MOST_WORKERS = 1024


class Engine:
    """Runs instances; a context manager.

    By default threads of this process do the work: onnxruntime and the random numbers run outside Python's global
    lock. Any object with ``submit`` or ``map`` can take their place: an executor of concurrent.futures, Dask's
    ``client.get_executor()``, mpi4py's ``MPIPoolExecutor``. The results are the same bits in all cases.

    Parameters
    ----------
    evaluator : Evaluator
    workers : int, optional
        Instances run at a time; None lets the probe choose.
    executor : object with ``submit`` or ``map``, optional
        It is used, and not shut down.

    Raises
    ------
    KppstatError
        If the model cannot be run on the data.

    Attributes
    ----------
    evaluator : Evaluator
    plan : Plan
        Workers, threads, batch size and times, from the probe.
    """

    def __init__(self, evaluator: Evaluator, *, workers: int | None = None, executor: Any = None) -> None:
        if workers is not None and not (isinstance(workers, Integral) and workers >= 1):
            raise SettingError(f"workers is {workers!r}", where="--workers", remedy="Give a whole number of 1 or more")
        if workers is not None and workers > _MOST_WORKERS:
            remedy = f"Give {_MOST_WORKERS} or fewer; there are {cores()} cores"
            raise SettingError(f"workers is {workers:,}", where="--workers", remedy=remedy)
        if executor is not None and not (hasattr(executor, "submit") or hasattr(executor, "map")):
            raise SettingError(
                f"executor is a {type(executor).__name__} without submit or map",
                remedy="Give an executor of concurrent.futures, Dask (client.get_executor()) or mpi4py.futures",
            )
        self.evaluator = evaluator
        local = executor is None or isinstance(executor, ThreadPoolExecutor)
        if executor is not None:
            workers = workers or getattr(executor, "_max_workers", None) or cores()
        self.plan: Plan = probe(evaluator, workers, local=local)
        self._own = ThreadPoolExecutor(self.plan.workers if local else cores(), thread_name_prefix="kppstat")
        self._executor: Any = executor or self._own
        self._local = local
        self._parcel: Parcel | None = None
        self._clean: np.ndarray | None = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End running evaluations at their next batch and free what is held."""
        self.evaluator.stop()
        self._own.shutdown(wait=True, cancel_futures=True)
        self.evaluator.go()
        if self._parcel is not None:
            self._parcel.discard()
            self._parcel = None

    def clean(self) -> np.ndarray:
        """Return the scores of the clean model on all inputs; fits the performance to it on the first call.

        Returns
        -------
        ndarray, float64, shape (n,)
        """
        if self._clean is None:
            session, n = self.evaluator.session(None), len(self.evaluator.dataset)
            batch = self.plan.batch
            step = -(-n // (4 * self.plan.workers * batch)) * batch
            blocks = [np.arange(i, min(i + step, n)) for i in range(0, n, step)]
            parts = list(self._own.map(lambda rows: self.evaluator.run(session, rows), blocks))
            self.clean_outputs = np.concatenate(parts)
            self._clean = self.evaluator.fit(self.clean_outputs)
        return self._clean

    def aim(self, directions: Directions) -> None:
        """Let tasks move instances along these directions from now on; not while tasks are run."""
        self.evaluator.directions = directions
        if self._parcel is not None:  # workers elsewhere hold an evaluator without them
            self._parcel.discard()
            self._parcel = None

    def map(self, tasks: Iterable[Task]) -> Iterator[Evaluation]:
        """Run tasks and yield the evaluations in their order.

        Tasks are taken from the iterable some time before their evaluations are yielded: two groups of tasks for each
        worker at most.

        Raises
        ------
        KppstatError
            If an evaluation failed; no further ones are started.
        """
        self.clean()
        groups = self._groups(iter(tasks))
        run, most = self._runner(), _AHEAD * self.plan.workers
        try:
            if hasattr(self._executor, "submit"):
                yield from self._submitted(run, groups, most)
            else:
                while chunk := list(islice(groups, most)):
                    for evaluations in self._executor.map(run, chunk):
                        yield from evaluations
        except BrokenExecutor:
            raise KppstatError(
                "a worker process died", remedy="Often memory ran out: take fewer workers, or a machine with more"
            ) from None

    def _submitted(
        self, run: Callable[[list[Task]], list[Evaluation]], groups: Iterator[list[Task]], most: int
    ) -> Iterator[Evaluation]:
        """Keep `most` groups in flight; on any end but the regular one cancel them."""
        window: deque[Future[list[Evaluation]]] = deque()
        try:
            for group in groups:
                window.append(self._executor.submit(run, group))
                if len(window) >= most:
                    yield from window.popleft().result()
            while window:
                yield from window.popleft().result()
        finally:
            self._cancel(window)

    def _cancel(self, window: deque[Future[list[Evaluation]]]) -> None:
        """Cancel what waits, and make what runs in this process end."""
        running = [future for future in window if not future.cancel()]
        if running and self._local:
            self.evaluator.stop()
            for future in running:
                future.exception()
            self.evaluator.go()

    def _groups(self, tasks: Iterator[Task]) -> Iterator[list[Task]]:
        """Put tasks together until a group takes long enough."""
        least = _SECONDS_LOCAL if self._local else _SECONDS_AWAY
        group: list[Task] = []
        seconds = 0.0
        for task in tasks:
            group.append(task)
            seconds += self.plan.seconds_for(self.plan.inputs if task.rows is None else len(task.rows))
            if seconds >= least or len(group) >= _MOST_IN_GROUP:
                yield group
                group, seconds = [], 0.0
        if group:
            yield group

    def _runner(self) -> Callable[[list[Task]], list[Evaluation]]:
        """Return what runs a group: here, or wherever the executor is."""
        if self._local:
            return lambda group: [self.evaluator(task) for task in group]
        if self._parcel is None:
            self._parcel = Parcel.of(self.evaluator)
        return run_group(self._parcel)
