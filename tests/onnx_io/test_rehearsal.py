import subprocess
import sys
import time

import pytest

from kppstat.errors import ModelError
from kppstat.onnx_io import load, rehearsal
from tests.onnx_io import zoo


@pytest.fixture
def other(monkeypatch):
    """Let another program stand in for the process that rehearses."""
    rehearsal._close()

    def put(program: str) -> None:
        monkeypatch.setattr(rehearsal, "COMMAND", (sys.executable, "-c", program))

    yield put
    rehearsal._close()
    rehearsal._STAGES.clear()


def test_a_crash_is_an_error_and_the_next_model_loads(tmp_path, other, monkeypatch):
    path = zoo.save(zoo.cnn(), tmp_path / "model.onnx")
    other("import os; print('{}', flush=True); input(); os.abort()")
    with pytest.raises(ModelError, match="crashes onnx or onnxruntime"):
        load(path)
    monkeypatch.undo()
    assert load(path).weights


def test_a_stall_is_an_error(tmp_path, other, monkeypatch):
    path = zoo.save(zoo.cnn(), tmp_path / "model.onnx")
    other("import time; print('{}', flush=True); time.sleep(60)")
    monkeypatch.setattr(rehearsal, "SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(ModelError, match="takes longer than"):
        load(path)
    assert time.monotonic() - start < 20


def test_without_another_process_the_model_still_loads(tmp_path, other, monkeypatch):
    path = zoo.save(zoo.cnn(), tmp_path / "model.onnx")
    other("raise SystemExit(1)")
    assert load(path).weights
    rehearsal._STAGES.clear()
    monkeypatch.setattr(rehearsal, "COMMAND", ("/no/such/program",))
    assert load(path).weights


def test_the_error_of_the_rehearsal_is_the_error_of_loading(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"text")
    messages = []
    for attempt in (lambda: load(path), lambda: rehearsal.rehearse(path, fold_batch_norm=False)):
        with pytest.raises(ModelError) as caught:
            attempt()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith(str(path))


def test_relative_paths_and_changed_folders(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        zoo.save(zoo.cnn(), tmp_path / name / f"{name}.onnx")
        monkeypatch.chdir(tmp_path / name)
        assert load(f"{name}.onnx").path.name == f"{name}.onnx"


def test_a_model_that_crashed_onnxruntime_does_not_take_this_process_along(tmp_path):
    # onnxruntime 1.31 reads a null pointer when a constant Split leaves out an output.
    proto = zoo.parse(
        "g (float[N, 2] x) => (float[N, 2] y) { a, b = Split<axis = 1>(w, sizes) \n y = MatMul(x, b) }",
        opset=13,
        w=zoo.draw(2, 4),
        sizes=zoo.np.array([2, 2]),
    )
    proto.graph.node[0].output[0] = ""
    path = zoo.save(proto, tmp_path / "model.onnx")
    code = f"""
from kppstat.errors import ModelError
from kppstat.onnx_io import load
try:
    load({str(path)!r})
except ModelError as error:
    assert "\\n" not in str(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
