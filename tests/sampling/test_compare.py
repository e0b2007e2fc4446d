import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kppstat.cli import AT_BUDGET, BAD_INPUT, run
from kppstat.demo import MODEL, NOISE_TRAINED
from kppstat.errors import RunError, SettingError
from kppstat.sampling.compare import _next, compare
from kppstat.sampling.result import State


def test_models_that_differ_are_told_apart_early(few_inputs: Path) -> None:
    result = compare(
        [MODEL, NOISE_TRAINED], sigma=0.1, k=20, data=str(few_inputs), workers=1, method="mc", half_width=1e-6
    )
    difference = result.differences[0]
    assert difference.told_apart
    assert (difference.better, difference.worse) == ("lenet_noise_trained.onnx", "lenet.onnx")
    a, b = result.estimates
    assert difference.low == pytest.approx(b.ci_low - a.ci_high)
    assert difference.high == pytest.approx(b.ci_high - a.ci_low)
    assert result.evaluations == a.evaluations + b.evaluations < 400
    assert a.confidence == b.confidence == 0.975


def test_the_part_that_is_shortened_most_cheaply_goes_next() -> None:
    def state(kpp: float, low: float, high: float, cost: float, *, done: bool = False) -> State:
        return State(100, cost, kpp, low, high, "anytime", "", done=done)

    # The second is far wider, but downwards; what overlaps is the little that the first reaches down.
    good, bad = state(0.88, 0.85, 0.89, 10), state(0.80, 0.40, 0.86, 1000)
    assert _next([good, bad]) == 0
    assert _next([bad, good]) == 1
    # At equal parts the one that has cost less is shortened more by a little more.
    assert _next([state(0.88, 0.84, 0.89, 200), state(0.80, 0.75, 0.85, 100)]) == 1
    assert _next([state(0.88, 0.84, 0.89, 200), state(0.80, 0.75, 0.85, 100, done=True)]) == 0
    assert _next([state(float("nan"), 0.0, 1.0, 5), good]) == 0
    # Those that are apart from all others have nothing to decide.
    assert _next([good, state(0.5, 0.4, 0.6, 10)]) is None
    assert _next([good, bad, state(0.2, 0.1, 0.3, 1)]) == 0


def test_a_budget_is_one_evaluation_for_each_model_at_least(few_inputs: Path) -> None:
    with pytest.raises(SettingError, match=r"max-evaluations is 1 for 2 models\. Give 2 or more"):
        compare([MODEL, NOISE_TRAINED], sigma=0.1, data=str(few_inputs), max_evaluations=1)


def test_the_data_beside_the_first_model_serve_all(few_inputs: Path, tmp_path: Path) -> None:
    for name, model in (("a", MODEL), ("b", NOISE_TRAINED)):
        shutil.copy(model, tmp_path / f"{name}.onnx")
        shutil.copy(few_inputs, tmp_path / f"{name}.npz")
    with np.load(few_inputs) as arrays:
        np.savez(tmp_path / "b.npz", **{name: array[:20] for name, array in arrays.items()})
    words = ["compare", str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx"), "--sigma", "0.1", "--k", "50", "--method"]
    run([*words, "mc", "--max-evaluations", "30", "--quiet", "--json", str(tmp_path / "out.json")])
    a, b = json.loads((tmp_path / "out.json").read_text())["estimates"]
    assert a["data_sha256"] == b["data_sha256"]


def test_a_model_is_not_better_than_itself(few_inputs: Path) -> None:
    result = compare([MODEL, MODEL], sigma=0.1, k=50, data=str(few_inputs), workers=1, method="mc", max_evaluations=120)
    difference = result.differences[0]
    assert not difference.told_apart
    assert difference.low <= 0 <= difference.high
    assert result.estimates[0].mean == pytest.approx(result.estimates[1].mean, abs=0.05)


def test_each_model_has_a_journal_of_its_own(few_inputs: Path, tmp_path: Path) -> None:
    asked = {"sigma": 0.1, "k": 50, "method": "mc", "max_evaluations": 6, "workers": 1, "data": str(few_inputs)}
    one = compare([MODEL, NOISE_TRAINED], **asked, run=tmp_path / "run")
    assert sorted(f.name for f in (tmp_path / "run").iterdir()) == ["model-1", "model-2"]
    with pytest.raises(RunError, match="holds a run"):
        compare([MODEL, NOISE_TRAINED], **asked, run=tmp_path / "run")
    same = compare([MODEL, NOISE_TRAINED], **asked, run=tmp_path / "run", resume=True)
    assert same.differences == one.differences
    with pytest.raises(RunError, match="no run to resume"):
        compare([MODEL, NOISE_TRAINED], **asked, run=tmp_path / "none", resume=True)


def test_three_models_on_the_command_line(few_inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", str(MODEL), str(NOISE_TRAINED), str(MODEL), "--sigma", "0.1", "--k", "50", "--method", "mc"]
    assert run([*words, "--data", str(few_inputs), "--max-evaluations", "240", "--json", "-"]) == AT_BUDGET
    result = json.loads(capsys.readouterr().out)
    assert [d["told_apart"] for d in result["differences"]] == [True, False, True]


def test_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", str(MODEL), "nothing.onnx", "--sigma", "0.1"]) == BAD_INPUT
    assert "nothing.onnx" in capsys.readouterr().err
    assert run(["compare", str(MODEL), "--sigma", "0.1"]) == BAD_INPUT
