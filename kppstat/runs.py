"""The journal of a run: every finished evaluation is on disk before it counts.

A run is a folder with one SQLite file. An evaluation is recorded under its instance and inputs, so an estimator
that asks for the same evaluations again (after a crash, an interruption, or on the merged journals of several
machines) is given the recorded scores and goes on as if it had never stopped.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from kppstat.engine import Evaluation, Task
from kppstat.errors import RunError

FILE = "journal.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS identity (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS evaluation (
    instance INTEGER NOT NULL,
    inputs INTEGER NOT NULL,      -- hash of the input numbers; -1 for all inputs in order
    count INTEGER NOT NULL,
    performance REAL NOT NULL,
    scores BLOB,                  -- bits if all 0 or 1, else zlib float64; NULL: only the mean is kept
    bits INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (instance, inputs, count)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, shape TEXT NOT NULL, bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, text TEXT NOT NULL);
"""

Reveal = Callable[[Iterable[Task]], Iterator[Evaluation]]


class Journal:
    """The record of one run; use as a context manager.

    Parameters
    ----------
    folder : path
        Made if missing.
    identity : mapping of str to plain values
        What fixes the scores: model, data, noise, performance, seed. A journal with another identity is refused.
    resume : bool
        Whether a journal with evaluations may be continued.

    Raises
    ------
    RunError
        If the folder cannot be written, holds a run already and `resume` is false, holds none and `resume` is true,
        or belongs to another run; the message names the difference.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = Path(folder) / FILE
        if resume and not _is_begun(self.path):
            raise RunError("there is no run to resume", where=str(folder), remedy="Leave out --resume to begin one")
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise RunError(
                f"cannot make the folder of the run ({e.strerror})", where=str(folder), remedy="Name another folder"
            ) from None
        self._db = _guarded(self.path, _open, self.path)
        self._guard(self._check_identity, {key: json.dumps(value, sort_keys=True) for key, value in identity.items()})
        if len(self) and not resume:
            raise RunError(
                f"this folder holds a run already, with {len(self):,} entries",
                where=str(folder),
                remedy="Add --resume to continue it, or name another folder",
            )

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def __len__(self) -> int:
        return int(self._guard(self._db.execute, "SELECT COUNT(*) FROM evaluation").fetchone()[0])

    def through(self, reveal: Reveal, *, keep_scores: bool = True) -> Reveal:
        """Return `reveal` with a memory: recorded evaluations are given back, new ones recorded before they count.

        Parameters
        ----------
        reveal : callable
            Takes tasks and yields their evaluations in the same order, such as `kppstat.engine.Engine.map`.
        keep_scores : bool
            Keep every score of full evaluations; else their mean, where scores are not just 0 and 1, to save room.
            What is given back then has the mean as its only score.
        """

        def remembered(tasks: Iterable[Task]) -> Iterator[Evaluation]:
            # What is known from the beginning is given back at once; nothing of it piles up.
            remaining = iter(tasks)
            for task in remaining:
                known = self._find(task, keep_scores)
                if known is None:
                    first_unknown = task
                    break
                yield known
            else:
                return
            pending: list[tuple[Task, Evaluation | None]] = []

            def unknown() -> Iterator[Task]:
                for task in chain((first_unknown,), remaining):
                    known = self._find(task, keep_scores)
                    pending.append((task, known))
                    if known is None:
                        yield task

            for evaluation in reveal(unknown()):
                yield from _known_prefix(pending)
                task, _ = pending.pop(0)
                self._record(task, evaluation, keep_scores)
                yield evaluation
            yield from _known_prefix(pending)

        return remembered

    def keep(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the float32 array kept under this name; where there is none, make it and keep it first."""
        row = self._guard(self._db.execute, "SELECT shape, bytes FROM kept WHERE name=?", (name,)).fetchone()
        if row is not None:
            return np.frombuffer(row[1], np.float32).reshape(json.loads(row[0]))
        array = np.ascontiguousarray(make(), np.float32)
        self._write("INSERT INTO kept VALUES (?, ?, ?)", [(name, json.dumps(array.shape), array.tobytes())])
        return array

    def noted(self, name: str) -> str | None:
        """Return the text noted under this name; None where there is none."""
        row = self._guard(self._db.execute, "SELECT text FROM note WHERE name=?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def note(self, name: str, text: str) -> None:
        """Note a text under this name, in place of what was noted there."""
        self._write("INSERT OR REPLACE INTO note VALUES (?, ?)", [(name, text)])

    def absorb(self, other: str | Path) -> int:
        """Copy the evaluations of another run of the same identity into this one; return how many were new.

        What was noted there is not copied: a merged run is begun by a plan of its own.

        Raises
        ------
        RunError
            If the other folder holds no journal or one of another identity.
        """
        before = len(self)
        with _reading(other) as (theirs, identity):
            _require_same(identity, self._guard(_identity, self._db), str(other))
            rows = theirs.execute("SELECT * FROM evaluation")
            self._write("INSERT OR IGNORE INTO evaluation VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        return len(self) - before

    def export(self, out: str | Path) -> None:
        """Write instance, inputs used, performance and seconds of every evaluation as CSV."""
        rows = self._db.execute("SELECT instance, count, performance, seconds FROM evaluation ORDER BY instance, count")
        lines = ["instance,inputs,performance,seconds", *(",".join(map(repr, row)) for row in rows)]
        try:
            Path(out).write_text("\n".join(lines) + "\n")
        except OSError as e:
            raise RunError(f"cannot write ({e.strerror})", where=str(out)) from None

    def _find(self, task: Task, need_scores: bool) -> Evaluation | None:
        key = _key(task)
        query = "SELECT count, performance, scores, bits, seconds FROM evaluation WHERE instance=?1 AND inputs=?2"
        row = self._guard(self._db.execute, query + " AND ?3 IN (0, count)", key).fetchone()
        if row is None:
            return None
        count, performance, blob, bits, seconds = row
        if blob is None and need_scores:
            return None
        return Evaluation(task.index, task.rows, _unpack(blob, bits, count, performance), seconds)

    def _record(self, task: Task, evaluation: Evaluation, keep_scores: bool) -> None:
        instance, inputs, count = _key(task)
        scores = evaluation.scores
        blob, bits = _pack(scores, keep=keep_scores or evaluation.rows is not None)
        row = (instance, inputs, count or len(scores), float(scores.mean()), blob, bits, evaluation.seconds)
        self._write("INSERT OR REPLACE INTO evaluation VALUES (?, ?, ?, ?, ?, ?, ?)", [row])

    def _check_identity(self, mine: dict[str, str]) -> None:
        theirs = _identity(self._db)
        if theirs:
            _require_same(mine, theirs, str(self.path.parent))
        else:
            self._write("INSERT INTO identity VALUES (?, ?)", mine.items())

    def _write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        def transaction() -> None:
            with self._db:
                self._db.executemany(statement, rows)

        self._guard(transaction)

    def _guard(self, action: Callable[..., Any], *arguments: Any) -> Any:
        return _guarded(self.path, action, *arguments)


def _guarded(path: Path, action: Callable[..., Any], *arguments: Any) -> Any:
    """Do something with the journal at a path; what goes wrong there is told as the user can mend it."""
    try:
        return action(*arguments)
    except sqlite3.OperationalError as e:
        raise RunError(
            f"the journal cannot be used ({e}); evaluations recorded so far are kept",
            where=str(path),
            remedy="Check the disk's free space and the folder's permissions, then use --resume",
        ) from None
    except (sqlite3.Error, json.JSONDecodeError) as e:
        raise RunError(
            f"the journal is damaged ({e})", where=str(path), remedy="Restore a copy of it, or name another folder"
        ) from None


@contextmanager
def _reading(folder: str | Path) -> Iterator[tuple[sqlite3.Connection, dict[str, str]]]:
    """Open the journal of a folder; yield it with its identity."""
    path = Path(folder) / FILE
    if not _is_begun(path):
        raise RunError("no journal here", where=str(folder), remedy="Name a folder that was given to --run")
    db = _guarded(path, _open, path)
    try:
        yield db, _guarded(path, _identity, db)
    finally:
        db.close()


def _is_begun(path: Path) -> bool:
    """Whether there is a journal with anything in it."""
    return path.exists() and path.stat().st_size > 0


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.executescript(_SCHEMA)
    return db


def _require_same(mine: Mapping[str, str], theirs: Mapping[str, str], where: str) -> None:
    for key in sorted({*mine, *theirs}):
        if mine.get(key) != theirs.get(key):
            raise RunError(
                f"the journal is of another run: {key} is {theirs.get(key)} there and {mine.get(key)} here",
                where=where,
                remedy="Repeat the command of that run, or name another folder",
            )


def _identity(db: sqlite3.Connection) -> dict[str, str]:
    return dict(db.execute("SELECT key, value FROM identity"))


def _known_prefix(pending: list[tuple[Task, Evaluation | None]]) -> Iterator[Evaluation]:
    while pending and pending[0][1] is not None:
        known = pending.pop(0)[1]
        assert known is not None
        yield known


def _key(task: Task) -> tuple[int, int, int]:
    if task.rows is None and task.move is None and not task.mix:
        return task.index, -1, 0
    digest = hashlib.blake2b(digest_size=7)
    if task.rows is not None:
        digest.update(np.ascontiguousarray(task.rows, np.int64).tobytes())
    if task.move is not None:
        digest.update(task.move.along + np.ascontiguousarray(task.move.place, np.float32).tobytes())
    if task.mix:
        digest.update(np.array(task.mix, np.float64).tobytes())
    return task.index, int.from_bytes(digest.digest()), 0 if task.rows is None else len(task.rows)


def _pack(scores: np.ndarray, *, keep: bool) -> tuple[bytes | None, int]:
    """Scores of 0 and 1 take a bit each; others are kept only where an audit needs them one by one."""
    if ((scores == 0) | (scores == 1)).all():
        return np.packbits(scores.astype(np.uint8)).tobytes(), 1
    return (zlib.compress(np.ascontiguousarray(scores, np.float64).tobytes(), 1), 0) if keep else (None, 0)


def _unpack(blob: bytes | None, bits: int, count: int, performance: float) -> np.ndarray:
    if blob is None:
        return np.array([performance])  # the mean of one number is that number, to the last bit
    if bits:
        return np.unpackbits(np.frombuffer(blob, np.uint8), count=count).astype(np.float64)
    return np.frombuffer(zlib.decompress(blob), np.float64)


def merge(out: str | Path, runs: Sequence[str | Path]) -> int:
    """Merge the journals of several machines into one; return the number of evaluations that it then holds.

    Raises
    ------
    RunError
        If the runs differ in what fixes the scores.
    """
    if not runs:
        raise RunError("no run to merge", remedy="Name at least one folder")
    found: dict[str, str] | None = None
    for run in runs:  # all are looked at before anything is written
        with _reading(run) as (_, identity):
            found = identity if found is None else found
            _require_same(identity, found, str(run))
    assert found is not None
    known = {key: json.loads(value) for key, value in found.items()}
    with Journal(out, known, resume=_is_begun(Path(out) / FILE)) as journal:
        for run in runs:
            journal.absorb(run)
        return len(journal)
