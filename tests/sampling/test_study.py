from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

import kppstat
from kppstat.errors import RunError
from kppstat.noise import variation_of
from kppstat.sampling.question import Question
from kppstat.sampling.result import Estimate
from kppstat.sampling.study import Study

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2, 3, 3] x) => (float[N, 2] y) <float[2, 2, 3, 3] w,
float[2] scale = {2.0, 0.5}, float[2] shift = {0.0, 0.0}, float[2] mean = {0.0, 0.0}, float[2] var = {1.0, 1.0}> {
  a = Conv(x, w)
  b = BatchNormalization(a, scale, shift, mean, var)
  y = Flatten(b)
}"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A network with batch normalisation, and its data beside it."""
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(TEXT)
    kept = [i for i in model.graph.initializer if i.name != "w"]
    del model.graph.initializer[:]
    weights = onnx.numpy_helper.from_array(rng.normal(size=(2, 2, 3, 3)).astype(np.float32), "w")
    model.graph.initializer.extend([*kept, weights])
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "net.npz", x=rng.normal(size=(40, 2, 3, 3)).astype(np.float32), y=rng.integers(2, size=40))
    return tmp_path / "net.onnx"


def estimate(net: Path, **settings: Any) -> Estimate:
    asked = {"sigma": 0.1, "k": 50, "method": "mc", "half_width": 1e-9, "max_evaluations": 5, "workers": 1}
    return kppstat.estimate(net, run=net.parent / "run", **{**asked, **settings})


def test_a_run_with_folded_batch_norm_is_another_run(net: Path) -> None:
    estimate(net)
    estimate(net, resume=True)
    with pytest.raises(RunError, match="weights is"):
        estimate(net, resume=True, fold_batch_norm=True)


@pytest.mark.parametrize("method", ["mc", "audited"])
def test_an_exact_interval_is_given_to_one_plan_only(net: Path, method: str) -> None:
    one = estimate(net, method=method, max_evaluations=20)
    same = estimate(net, method=method, max_evaluations=20, resume=True)
    assert (same.ci_low, same.ci_high, same.guarantee) == (one.ci_low, one.ci_high, "exact")
    assert not any("plan" in note for note in same.notes)
    more = estimate(net, method=method, max_evaluations=30, resume=True)
    assert more.guarantee == "anytime"
    assert any(f"by {method}, at most 20 evaluations" in note for note in more.notes)
    # The plan was made for whatever percentile is asked for, but by nobody who had seen another's interval.
    assert estimate(net, method=method, max_evaluations=20, k=20, resume=True).guarantee == "exact"
    assert estimate(net, method=method, max_evaluations=30, k=20, resume=True).guarantee == "anytime"


def test_an_exact_plan_is_not_made_after_a_look(net: Path) -> None:
    assert estimate(net, guarantee="anytime", max_evaluations=20).guarantee == "anytime"
    assert estimate(net, max_evaluations=20, resume=True).guarantee == "anytime"


def test_where_a_clock_struck_is_no_plan_to_go_on_by(net: Path) -> None:
    struck = estimate(net, max_evaluations=None, max_time=0.01)
    assert struck.guarantee == "exact"
    again = estimate(net, max_evaluations=None, max_time=0.01, resume=True)
    assert again.guarantee == "anytime"
    assert any("ended by the clock" in note for note in again.notes)


def test_the_plan_may_change_as_long_as_nothing_was_evaluated(net: Path) -> None:
    question = Question(k=50, method="mc", half_width=1e-9, max_evaluations=20)
    with Study(net, question, variation_of(0.1, None), run=net.parent / "run", workers=1):
        pass
    assert estimate(net, max_evaluations=30, resume=True).guarantee == "exact"
