import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kppstat.engine import Evaluation, Move, Task
from kppstat.errors import RunError
from kppstat.runs import FILE, Journal, merge

IDENTITY = {"model": "abc", "seed": 0}


class Machine:
    """Evaluates tasks by a formula and counts how often it was asked."""

    def __init__(self, *, real: bool = False) -> None:
        self.asked: list[int] = []
        self.real = real

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Evaluation]:
        for task in tasks:
            self.asked.append(task.index)
            rng = np.random.default_rng(task.index)
            scores = rng.random(37) if self.real else (rng.random(37) < 0.8).astype(np.float64)
            yield Evaluation(task.index, task.rows, scores if task.rows is None else scores[task.rows], 0.1)


@pytest.mark.parametrize("keep_scores", [False, True])
@pytest.mark.parametrize("real", [False, True])
def test_resume_gives_the_same_bits_without_evaluating_again(tmp_path: Path, real: bool, keep_scores: bool) -> None:
    tasks = [Task(i) for i in range(5)] + [Task(7, np.array([3, 1, 30])), Task(7, np.array([5]))]
    machine = Machine(real=real)
    with Journal(tmp_path, IDENTITY) as journal:
        first = list(journal.through(machine, keep_scores=keep_scores)(tasks))
    again = Machine(real=real)
    with Journal(tmp_path, IDENTITY, resume=True) as journal:
        second = list(journal.through(again, keep_scores=keep_scores)(tasks))
    assert again.asked == []
    for a, b in zip(first, second, strict=True):
        assert a.index == b.index
        assert float(a.scores.mean()) == float(b.scores.mean())
        if a.rows is not None or not real or keep_scores:
            np.testing.assert_array_equal(a.scores, b.scores)


def test_scores_that_were_not_kept_are_evaluated_again_where_they_are_needed(tmp_path: Path) -> None:
    machine = Machine(real=True)
    with Journal(tmp_path, IDENTITY) as journal:
        list(journal.through(machine, keep_scores=False)([Task(0)]))
        (again,) = journal.through(machine)([Task(0)])
    assert machine.asked == [0, 0]
    assert len(again.scores) == 37


@given(known=st.sets(st.integers(0, 30), max_size=20), wanted=st.lists(st.integers(0, 30), unique=True, max_size=25))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_any_mixture_of_known_and_new_comes_in_order(
    tmp_path_factory: pytest.TempPathFactory, known: set[int], wanted: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    with Journal(folder, IDENTITY) as journal:
        list(journal.through(Machine())(Task(i) for i in sorted(known)))
        machine = Machine()
        got = list(journal.through(machine)(Task(i) for i in wanted))
    assert [e.index for e in got] == wanted
    assert machine.asked == [i for i in wanted if i not in known]
    for e in got:
        np.testing.assert_array_equal(e.scores, next(Machine()([Task(e.index)])).scores)


def test_an_evaluation_is_on_disk_before_it_counts(tmp_path: Path) -> None:
    with Journal(tmp_path, IDENTITY) as journal:
        for count, _ in enumerate(journal.through(Machine())(Task(i) for i in range(4)), 1):
            other = sqlite3.connect(tmp_path / FILE)
            assert other.execute("SELECT COUNT(*) FROM evaluation").fetchone()[0] >= count
            other.close()


def test_another_question_is_refused_with_the_difference_named(tmp_path: Path) -> None:
    with Journal(tmp_path, IDENTITY) as journal:
        list(journal.through(Machine())([Task(0)]))
    with pytest.raises(RunError, match=r"seed is 0 there and 1 here"):
        Journal(tmp_path, {**IDENTITY, "seed": 1}, resume=True)
    with pytest.raises(RunError, match=r"holds a run already, with 1 entries.*--resume"):
        Journal(tmp_path, IDENTITY)
    with pytest.raises(RunError, match="no run to resume"):
        Journal(tmp_path / "none", IDENTITY, resume=True)


def test_a_file_that_is_no_journal_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(RunError, match="is damaged"):
        Journal(tmp_path, IDENTITY, resume=True)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot make the folder"):
        Journal(tmp_path / "file" / "run", IDENTITY)


def test_merge_joins_machines(tmp_path: Path) -> None:
    for name, indices in (("a", range(3)), ("b", range(2, 6))):
        with Journal(tmp_path / name, IDENTITY) as journal:
            list(journal.through(Machine())(Task(i) for i in indices))
    assert merge(tmp_path / "both", [tmp_path / "a", tmp_path / "b"]) == 6
    machine = Machine()
    with Journal(tmp_path / "both", IDENTITY, resume=True) as journal:
        list(journal.through(machine)(Task(i) for i in range(6)))
        journal.export(tmp_path / "out.csv")
    assert machine.asked == []
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 7


def test_notes_last_and_belong_to_one_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "a", IDENTITY) as journal:
        assert journal.noted("plan") is None
        journal.note("plan", "the first")
        journal.note("plan", "the second")
        journal.note("other", "")
        list(journal.through(Machine())([Task(0)]))
    with Journal(tmp_path / "a", IDENTITY, resume=True) as journal:
        assert (journal.noted("plan"), journal.noted("other")) == ("the second", "")
    merge(tmp_path / "both", [tmp_path / "a"])
    with Journal(tmp_path / "both", IDENTITY, resume=True) as journal:
        assert journal.noted("plan") is None


def test_merge_refuses_strangers(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        with Journal(tmp_path / name, {"seed": seed}) as journal:
            list(journal.through(Machine())([Task(0)]))
    with pytest.raises(RunError, match="seed"):
        merge(tmp_path / "both", [tmp_path / "a", tmp_path / "b"])
    with pytest.raises(RunError, match="no journal here"):
        merge(tmp_path / "more", [tmp_path / "nothing"])


def test_a_moved_instance_is_another_one(tmp_path: Path) -> None:
    place = np.array([1.0, -2.0], np.float32)
    moves = [None, Move(place, b"a"), Move(place, b"b"), Move(-place, b"a")]
    tasks = [Task(3, rows, move) for rows in (None, np.array([4, 5])) for move in moves]
    machine = Machine()
    with Journal(tmp_path, IDENTITY) as journal:
        list(journal.through(machine)(tasks))
        assert len(machine.asked) == len(tasks)
        list(journal.through(machine)(tasks))
        assert len(machine.asked) == len(tasks)


def test_keeps_arrays_by_name(tmp_path: Path) -> None:
    made = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(6.0).reshape(2, 3)

    with Journal(tmp_path, IDENTITY) as journal:
        first = journal.keep("directions", make)
    with Journal(tmp_path, IDENTITY, resume=True) as journal:
        again = journal.keep("directions", make)
    assert made == [1]
    np.testing.assert_array_equal(first, again)
    assert again.shape == (2, 3)


def test_a_damaged_or_empty_journal_is_named_and_nothing_is_merged(tmp_path: Path) -> None:
    with Journal(tmp_path / "whole", IDENTITY) as journal:
        list(journal.through(Machine())(Task(i) for i in range(3)))
    for name, content in (("garbage", b"garbage" * 200), ("empty", b"")):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE).write_bytes(content)
    with pytest.raises(RunError, match=r"damaged.*Restore a copy"):
        Journal(tmp_path / "garbage", IDENTITY, resume=True)
    with pytest.raises(RunError, match="no run to resume"):
        Journal(tmp_path / "empty", IDENTITY, resume=True)
    for runs, says in (
        (["garbage"], "damaged"),
        (["whole", "garbage"], "damaged"),
        (["whole", "empty"], "no journal here"),
        (["empty"], "no journal here"),
    ):
        with pytest.raises(RunError, match=says):
            merge(tmp_path / "out", [tmp_path / run for run in runs])
        assert not (tmp_path / "out").exists()
    assert merge(tmp_path / "out", [tmp_path / "whole"]) == 3
