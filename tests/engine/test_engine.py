import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kppstat.engine import Engine, Evaluation, Move, Task
from kppstat.engine import engine as room
from kppstat.engine import probe as probe_room
from kppstat.engine.evaluator import Evaluator
from kppstat.errors import DataError, KppstatError, SettingError
from kppstat.noise import Gaussian
from kppstat.stats.directions import Directions
from tests.engine.networks import convolutions, evaluator


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_room, "_TRIAL", 0.002)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return evaluator(tmp_path_factory.mktemp("net"), convolutions(), Gaussian(0.4))


def tasks() -> list[Task]:
    """Instances on all inputs, and on random ones."""
    rng = np.random.default_rng(0)
    return [Task(i, rng.integers(0, 70, 1 + i % 40) if i % 3 else None) for i in range(60)]


@pytest.fixture(scope="module")
def expected(ready: Evaluator) -> list[np.ndarray]:
    ready.fit(ready.outputs(None))
    return [ready(task).scores for task in tasks()]


def assert_equal(got: list[Evaluation], expected: list[np.ndarray]) -> None:
    assert [e.index for e in got] == list(range(60))
    assert all(np.array_equal(e.scores, s) for e, s in zip(got, expected, strict=True))


@pytest.mark.parametrize("workers", [0, 1.5, "2"])
def test_workers_are_counted(ready: Evaluator, workers: object) -> None:
    with pytest.raises(SettingError, match=f"workers is {workers!r}. Give a whole number"):
        Engine(ready, workers=workers)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_threads(ready: Evaluator, expected: list[np.ndarray], workers: int) -> None:
    with Engine(ready, workers=workers) as engine:
        assert engine.plan.workers == workers
        assert_equal(list(engine.map(tasks())), expected)
        assert_equal(list(engine.map(iter(tasks()))), expected)


def test_processes_and_other_threads(ready: Evaluator, expected: list[np.ndarray]) -> None:
    with ThreadPoolExecutor(3) as pool, Engine(ready, executor=pool) as engine:
        assert_equal(list(engine.map(tasks())), expected)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool, Engine(ready, executor=pool) as engine:
        assert_equal(list(engine.map(tasks())), expected)
        folder = Path(engine._parcel.folder)  # type: ignore[union-attr]
        assert folder.is_dir()
        assert pool.submit(int, "3").result() == 3
    assert not folder.exists()


class MapOnly:
    """What emcee calls a pool: an object with nothing but ``map``."""

    def map(self, function: Callable[[Any], Any], items: list[Any]) -> Iterator[Any]:
        return map(function, items)


def test_an_object_with_map_alone(ready: Evaluator, expected: list[np.ndarray]) -> None:
    with Engine(ready, executor=MapOnly()) as engine:
        assert_equal(list(engine.map(tasks())), expected)


# Dask's own threads close their sockets late when a cluster ends.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*:UserWarning:distributed")
def test_dask(ready: Evaluator, expected: list[np.ndarray]) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        Engine(ready, executor=client.get_executor()) as engine,
    ):
        assert_equal(list(engine.map(tasks())), expected)


def test_clean(ready: Evaluator) -> None:
    with Engine(ready, workers=2) as engine:
        scores = engine.clean()
        assert np.array_equal(engine.clean_outputs, ready.outputs(None))
        assert np.array_equal(scores, engine.clean_outputs.argmax(axis=1) == ready.dataset.targets)
        assert engine.clean() is scores


def test_targets_that_do_not_fit_are_found_before_anything_runs(tmp_path: Path) -> None:
    ev = evaluator(tmp_path, convolutions())
    ev.targets = np.full(70, 6)
    with Engine(ev, workers=1) as engine, pytest.raises(DataError, match="label 6"):
        next(engine.map(Task(i) for i in itertools.count()))


def test_work_in_flight_is_bounded(ready: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MOST_IN_GROUP", 3)
    taken = 0

    def endless() -> Iterator[Task]:
        nonlocal taken
        for i in itertools.count():
            taken = i + 1
            yield Task(i, np.arange(2))

    with Engine(ready, workers=2) as engine:
        stream = engine.map(endless())
        for given in range(1, 31):
            next(stream)
            assert taken <= given + 3 * (2 * 2 + 1)
        stream.close()
        assert len(list(engine.map([Task(0)]))) == 1


class Failing:
    """An evaluator that fails at an instance, and counts what it ran."""

    def __init__(self, ready: Evaluator, error: BaseException) -> None:
        self.ready, self.error, self.ran = ready, error, 0

    def __call__(self, task: Task) -> Evaluation:
        if task.index == 5:
            raise self.error
        self.ran += 1
        return self.ready(task)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ready, name)


def test_errors_of_workers_come_back_and_nothing_more_is_started(ready: Evaluator) -> None:
    with Engine(ready, workers=2) as engine:
        failing = Failing(ready, KppstatError("instance 5 is bad"))
        engine.evaluator = failing  # type: ignore[assignment]
        with pytest.raises(KppstatError, match="instance 5 is bad"):
            list(engine.map(Task(i) for i in range(100_000)))
        ran = failing.ran
        time.sleep(0.05)
        assert failing.ran == ran < 10_000


def test_an_interrupt_ends_quickly_and_the_engine_goes_on(ready: Evaluator) -> None:
    with Engine(ready, workers=2) as engine:
        for i, _ in enumerate(engine.map(Task(i) for i in itertools.count())):
            if i == 20:
                break
        begun = time.perf_counter()
        stream = engine.map(Task(i) for i in itertools.count())
        next(stream)
        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt)
        assert time.perf_counter() - begun < 5
        assert len(list(engine.map([Task(1), Task(2)]))) == 2


class Broken(Executor):
    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        raise BrokenExecutor("gone")


def test_a_dead_worker_is_named(ready: Evaluator) -> None:
    with Engine(ready, executor=Broken()) as engine, pytest.raises(KppstatError, match="worker process died"):
        list(engine.map(tasks()))


def test_settings_are_checked(ready: Evaluator) -> None:
    with pytest.raises(SettingError, match="--workers"):
        Engine(ready, workers=0)
    with pytest.raises(SettingError, match="submit or map"):
        Engine(ready, executor=3)


def test_moves_instances_alike_in_threads_and_processes(ready: Evaluator) -> None:
    rng = np.random.default_rng(5)
    directions = Directions({name: rng.normal(size=(len(z), 3)) for name, z in ready.normals(0).items()})
    with Engine(ready, executor=ThreadPoolExecutor(2)) as engine:
        engine.aim(directions)
        nominal = directions.coordinates(ready.normals(0)).astype(np.float32)
        places = [nominal, *rng.normal(size=(5, 3)).astype(np.float32)]
        wanted = [Task(0, np.arange(9), Move(place, directions.digest)) for place in places]
        expected = [e.scores for e in engine.map(wanted)]
        np.testing.assert_allclose(
            ready.run(ready.session(0, move=wanted[0].move)), ready.outputs(0), rtol=1e-3, atol=1e-4
        )
        assert not np.array_equal(ready.run(ready.session(0, move=wanted[1].move)), ready.outputs(0))
        with pytest.raises(SettingError, match="directions"):
            list(engine.map([Task(0, None, Move(places[0], b"others"))]))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, Engine(ready, executor=pool) as engine:
        list(engine.map([Task(0)]))
        engine.aim(directions)
        assert all(np.array_equal(e.scores, s) for e, s in zip(engine.map(wanted), expected, strict=True))
