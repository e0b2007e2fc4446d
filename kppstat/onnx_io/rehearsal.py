"""Load each model in a process of its own first: a damaged file can crash or stall the native libraries.

The process is started with the first model and serves all that follow, one line of JSON each way.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kppstat.errors import ModelError

SECONDS = 600.0  # within which any model in use loads
STARTING = 60.0  # seconds to import onnx and onnxruntime
COMMAND = (sys.executable, "-P", "-c", f"from {__name__} import serve; serve()")


def rehearse(path: Path, *, fold_batch_norm: bool) -> None:
    """Load a model in the other process; raise the `ModelError` that this gives, or one that says that it crashed.

    Where no process can be started the rehearsal is left out.
    """
    with _LOCK:
        if os.getpid() not in _STAGES:
            _STAGES.clear()  # a fork does not share the process of its parent
            _STAGES[os.getpid()] = _Stage.started()
        stage = _STAGES[os.getpid()]
        if stage is None:
            return
        try:
            request = {"folder": os.getcwd(), "path": str(path), "fold_batch_norm": fold_batch_norm}
        except OSError:  # the working folder is gone
            return
        try:
            answer = stage.ask(request, SECONDS)
        except BaseException:  # Ctrl-C: an answer that nobody waits for must not meet the next question
            _close()
            raise
        if answer is None:
            ended = stage.has_ended()
            _close()
            how = "crashes onnx or onnxruntime" if ended else f"takes longer than {SECONDS:.0f} s"
            remedy = "The file is damaged, or uses something that they do not support; export it again"
            raise ModelError(f"loading it {how}", where=str(path), remedy=remedy)
    if "what" in answer:
        raise ModelError(answer["what"], where=answer["where"], remedy=answer["remedy"])


class _Stage:
    """The other process, and the thread that listens to it."""

    def __init__(self) -> None:
        search = os.pathsep.join(part or os.getcwd() for part in sys.path)
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": search},
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for this process, which then closes the other
        )
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @classmethod
    def started(cls) -> _Stage | None:
        """Start the process and wait for its greeting; None where that cannot be done."""
        try:
            stage = cls()
        except OSError:
            return None
        if stage.answer(STARTING) is not None:
            return stage
        stage.close()
        return None

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)  # it has ended

    def answer(self, seconds: float) -> Any:
        """Return the next answer, or None if there is none in time or ever."""
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            return None
        return None if line is None else json.loads(line)

    def ask(self, request: Mapping[str, object], seconds: float) -> Any:
        """Send a request and return its answer, or None."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:  # it has ended
            return None
        return self.answer(seconds)

    def has_ended(self) -> bool:
        """Say whether the process has ended by itself."""
        return not self._listener.is_alive() or self._process.poll() is not None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()


_LOCK = threading.Lock()
_STAGES: dict[int, _Stage | None] = {}  # by the process that started it


@atexit.register
def _close() -> None:
    stage = _STAGES.pop(os.getpid(), None)
    if stage is not None:
        stage.close()


def serve() -> None:
    """Be the other process: answer requests until the questioner is gone."""
    from onnx import ModelProto

    from kppstat.onnx_io.load import load_here
    from kppstat.onnx_io.session import session_of

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the answers

    def say(answer: Mapping[str, object]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    say({})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            os.chdir(request["folder"])
            model = load_here(Path(request["path"]), fold_batch_norm=request["fold_batch_norm"])
            # The engine has onnxruntime optimise all it can, which takes other ways through its code.
            session_of(ModelProto.FromString(model.skeleton), model.graph.constants, thorough=True)
            say({})
        except ModelError as error:
            say({"what": error.what, "where": error.where, "remedy": error.remedy})
