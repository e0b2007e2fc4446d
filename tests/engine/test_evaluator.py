import pickle
import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.data import from_arrays
from kppstat.engine import Evaluator, Task
from kppstat.engine.evaluator import Cancelled, Feeding
from kppstat.engine.session import build
from kppstat.errors import KppstatError, ModelError, SettingError
from kppstat.noise import Gaussian, Variation
from kppstat.noise.philox import normals
from kppstat.onnx_io import load
from kppstat.performance import performance_named
from kppstat.prediction import predict
from kppstat.training import train
from tests.engine.networks import convolutions, draw, evaluator
from tests.onnx_io import zoo


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    ev = evaluator(tmp_path_factory.mktemp("net"), convolutions())
    ev.fit(ev.outputs(None))
    return ev


def test_an_instance_is_what_onnxruntime_gives_for_its_weights(ready: Evaluator) -> None:
    proto = convolutions()
    for index in (0, 1, 2**40):
        programmed = ready.programmed(index)
        for weight in ready.weights:
            w = ready.intended[weight.name]
            z = normals(5, index, weight.position, w.size).reshape(w.shape)
            np.testing.assert_allclose(programmed[weight.name], w + 0.05 * np.abs(w).max() * z, rtol=1e-5, atol=1e-6)
        for initializer in proto.graph.initializer:
            if initializer.name in programmed:
                initializer.raw_data = programmed[initializer.name].tobytes()
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session = ort.InferenceSession(_with_weights(ready, index), options, providers=["CPUExecutionProvider"])
        expected = session.run(None, {"x": ready.dataset.inputs["x"]})[0]
        assert np.array_equal(ready.outputs(index), expected)
        scores = ready(Task(index)).scores
        assert np.array_equal(scores, expected.argmax(axis=1) == ready.targets)


def _with_weights(ev: Evaluator, index: int) -> bytes:
    return ev._image.patched(ev.programmed(index))  # type: ignore[return-value]


def test_sigma_0_is_the_clean_model(tmp_path: Path) -> None:
    ev = evaluator(tmp_path, convolutions(), Gaussian(0.0))
    assert np.array_equal(ev.outputs(3), ev.outputs(None))


@given(
    rows=st.lists(st.integers(0, 69), min_size=1, max_size=90),
    batch=st.integers(1, 80),
    padded=st.booleans(),
    index=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_rows_and_batches_do_not_change_scores(
    ready: Evaluator, rows: list[int], batch: int, padded: bool, index: int
) -> None:
    numbers = np.array(rows)
    ready.feeding = Feeding()
    whole = ready.outputs(index)
    ready.feeding = Feeding(batch, padded)
    assert np.array_equal(ready.outputs(index), whole)
    assert np.array_equal(ready.outputs(index, numbers), whole[numbers])
    answer = ready(Task(index, numbers))
    assert np.array_equal(answer.scores, ready(Task(index)).scores[numbers])
    assert answer.scores.dtype == np.float64
    assert answer.index == index
    assert answer.rows is numbers


def test_a_copy_in_another_process_gives_the_same(ready: Evaluator) -> None:
    copy = pickle.loads(pickle.dumps(ready))
    assert np.array_equal(copy.outputs(9), ready.outputs(9))
    assert np.array_equal(copy(Task(9)).scores, ready(Task(9)).scores)


def test_threads_may_share_an_evaluator(ready: Evaluator) -> None:
    rows = np.arange(0, 70, 3)
    expected = {i: ready(Task(i, rows)).scores for i in range(24)}
    got: dict[int, np.ndarray] = {}

    def work(start: int) -> None:
        for i in range(start, 24, 3):
            got[i] = ready(Task(i, rows)).scores

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(got[i], expected[i]) for i in expected)


def test_models_of_fixed_batch_are_fed_by_it(tmp_path: Path) -> None:
    ev = evaluator(tmp_path, convolutions("4"), n=10)
    free = evaluator(tmp_path, convolutions(), n=10)
    assert ev.outputs(0).shape == (10, 6)
    for proto_name in ("w1", "w5"):
        assert ev.programmed(0)[proto_name].shape == free.programmed(0)[proto_name].shape
    rows = np.array([9, 3, 3])
    assert np.array_equal(ev.outputs(1, rows), ev.outputs(1)[rows])


def test_without_targets_agreement_with_the_clean_model(tmp_path: Path) -> None:
    proto = zoo.parse("net (float[N, 4] x) => (float[N, 3] y) { y = MatMul (x, w) }", w=draw(4, 3))
    ev = evaluator(tmp_path, proto, Gaussian(0.2), targets=False)
    with pytest.raises(SettingError, match="fit"):
        ev(Task(0))
    clean = ev.outputs(None)
    assert (ev.fit(clean) == 1).all()
    assert ev.performance.name == "top-1 agreement with the clean model"
    expected = ev.outputs(4).argmax(axis=1) == clean.argmax(axis=1)
    assert np.array_equal(ev(Task(4)).scores, expected)
    assert 0 < expected.mean() < 1


@pytest.mark.parametrize("rows", [[], [-1], [0, 70]])
def test_rows_that_are_not_there(ready: Evaluator, rows: list[int]) -> None:
    with pytest.raises(SettingError):
        ready.outputs(0, np.array(rows, int))


def test_a_model_that_fails_on_its_inputs_gives_one_line(tmp_path: Path) -> None:
    proto = zoo.parse(
        """net (float[N, 4] x) => (float[N, 2] y) {
            shape = Constant <value = int64[2] {3, 4}> ()
            r = Reshape (x, shape)
            y = MatMul (r, w)
        }""",
        w=zoo.draw(4, 2),
    )
    with pytest.raises(KppstatError) as caught:
        evaluator(tmp_path, proto, n=7)
    assert "\n" not in str(caught.value)


def test_an_output_that_does_not_count_inputs_is_refused(tmp_path: Path) -> None:
    proto = zoo.parse(
        """net (float[N, 4] x) => (float[1, 3] y) {
            m = MatMul (x, w)
            y = ReduceMax <keepdims = 1> (m, axis)
        }""",
        axis=np.array([0]),
        w=draw(4, 3),
    )
    proto.opset_import[0].version = 18
    ev = evaluator(tmp_path, convolutions())
    other = load(zoo.save(proto, tmp_path / "other.onnx"))
    ev.dataset = from_arrays({"x": np.ones((7, 4))}, None, other)
    ev.feeding = Feeding(7)
    with pytest.raises(ModelError, match="must count the inputs"):
        ev.run(build(other.image().patched({})))


def test_outputs_of_different_shapes_for_different_inputs_are_refused(tmp_path: Path) -> None:
    class Growing:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            self.width = getattr(self, "width", 2) + 1
            return [np.zeros((len(feed["x"]), self.width))]

    ev = evaluator(tmp_path, convolutions())
    with pytest.raises(ModelError, match="of one shape for all inputs"):
        ev.run(Growing())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "graph",
    [
        "net (float[N, 4] x) => (float y) { m = MatMul (x, w) y = ReduceMean <keepdims = 0> (m) }",
        "net (float[4, N] x) => (float[3, N] y) { t = Transpose (w) y = MatMul (t, x) }",
    ],
)
def test_outputs_whose_first_axis_does_not_count_the_inputs_are_refused_alike_everywhere(
    graph: str, tmp_path: Path
) -> None:
    model = load(zoo.save(zoo.parse(graph, w=draw(4, 3)), tmp_path / "net.onnx"))
    data = from_arrays({"x": draw(12, 4)}, np.zeros(12, int), model)
    with pytest.raises(ModelError, match="must count the inputs"):
        Evaluator(model, Variation(Gaussian(0.1)), data, performance_named("top-1")).outputs(None)
    with pytest.raises(ModelError, match="must count the inputs"):
        predict(model, data, sigma=0.1)
    with pytest.raises(ModelError, match="must count the inputs"):
        train(model, "plain", sigma=0.1, data=data, out=tmp_path / "out.onnx", val_share=0.5)


def test_stop_ends_an_evaluation_at_the_next_batch(tmp_path: Path) -> None:
    ev = evaluator(tmp_path, convolutions())
    ev.stop()
    with pytest.raises(Cancelled):
        ev.outputs(0)
    ev.go()
    assert len(ev.outputs(0)) == 70
