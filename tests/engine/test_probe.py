from pathlib import Path

import numpy as np
import pytest

from kppstat.engine import probe as room
from kppstat.engine.evaluator import Feeding
from kppstat.engine.probe import probe
from tests.engine.networks import across_inputs, convolutions, draw, evaluator
from tests.onnx_io import zoo


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_TRIAL", 0.005)


def test_a_free_choice_of_batches_keeps_the_bits(tmp_path: Path) -> None:
    ev = evaluator(tmp_path, convolutions())
    before = ev.outputs(1)
    plan = probe(ev, 2)
    assert (plan.workers, plan.threads, plan.inputs) == (2, 1, 70)
    assert plan.batch == ev.feeding.batch
    assert not ev.feeding.padded
    assert plan.setup > 0
    assert plan.each > 0
    assert np.array_equal(ev.outputs(1), before)


def test_inputs_that_meet_in_a_batch_are_parted(tmp_path: Path) -> None:
    ev = evaluator(tmp_path, across_inputs())
    assert ev.batch_of_model == 1
    # Importing finds it out too, and feeds such models one input at a time; the probe must not rely on that.
    ev.batch_of_model, ev.feeding = None, Feeding()
    plan = probe(ev, 1)
    assert ev.feeding.batch == plan.batch == 1
    assert "one at a time" in plan.notes[0]
    whole = ev.outputs(0)
    assert np.array_equal(ev.outputs(0, np.array([5, 2])), whole[[5, 2]])


def test_a_model_whose_bits_depend_on_the_count_is_filled_up(tmp_path: Path) -> None:
    proto = zoo.parse(
        """net (float[N, 4] x) => (float[N, 4] y) {
            h = MatMul (x, w)
            zero = Mul (x, none)
            tenth = Add (zero, constant)
            count = ReduceSum (tenth, axis)
            y = Add (h, count)
        }""",
        none=np.zeros(1, np.float32),
        constant=np.full(1, 0.1, np.float32),
        axis=np.array([0]),
        w=draw(4, 4),
    )
    ev = evaluator(tmp_path, proto)
    ev.batch_of_model, ev.feeding = None, Feeding()
    plan = probe(ev, 1)
    assert ev.feeding == Feeding(plan.batch, padded=True)
    assert "filled up" in plan.notes[0]
    rows = np.array([3, 60, 2])
    assert np.array_equal(ev.outputs(0, rows), ev.outputs(0)[rows])


def test_a_model_of_fixed_batch_keeps_it(tmp_path: Path) -> None:
    ev = evaluator(tmp_path, convolutions("4"), n=10)
    plan = probe(ev, 1)
    assert plan.batch == (ev.batch_of_model or plan.batch)


def test_few_inputs(tmp_path: Path) -> None:
    for n in (1, 2, 5):
        ev = evaluator(tmp_path, convolutions(), n=n)
        assert probe(ev, 2).batch <= max(n, 4)


def test_memory_limits_workers_and_frees_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ev = evaluator(tmp_path, convolutions())
    before = ev.outputs(1)
    held = sum(w.nbytes for w in ev.intended.values())
    monkeypatch.setattr(room, "cores", lambda: 4)
    monkeypatch.setattr(room, "peak_memory", lambda: 0.0)
    monkeypatch.setattr(room, "free_memory", lambda: 2 * 5 * held / room._SHARE)
    monkeypatch.setattr(room, "_FEWER", np.inf)
    plan = probe(ev)
    assert plan.workers == 2
    assert plan.threads == ev.feeding.threads == 2
    assert any("Memory allows 2 of 4 workers" in note for note in plan.notes)
    assert np.array_equal(ev.outputs(1), before)


def test_workers_elsewhere_are_counted_and_not_tried(tmp_path: Path) -> None:
    assert probe(evaluator(tmp_path, convolutions()), 7, local=False).workers == 7
