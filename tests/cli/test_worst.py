import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from kppstat.cli import BAD_INPUT, INTERRUPTED, run
from kppstat.demo import MODEL
from kppstat.onnx_io import load
from kppstat.worst_case.attack import State

KEYS = {"performance_worst", "clean", "bound", "reached", "passes", "method", "seconds", "seed", "model_sha256",
        "data_sha256", "versions"}  # fmt: skip


def test_the_answer_its_figure_and_its_weights(
    few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["worst", str(MODEL), "--bound", "0.01", "--data", str(few_inputs), "--passes", "3"]
    files = ["--out", str(tmp_path / "worst.onnx"), "--figure", str(tmp_path / "curve.svg"), "--json", "-"]
    assert run([*words, *files]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) >= KEYS
    assert result["performance_worst"] < result["clean"]
    assert result["reached"] <= 0.01
    assert result["curve"][-1] == [0.01, result["performance_worst"]]
    assert (tmp_path / "curve.svg").stat().st_size > 1000
    assert load(tmp_path / "worst.onnx").sha256 != result["model_sha256"]
    assert run([*words, "--method", "fgsm", "--quiet"]) == 0
    said = capsys.readouterr()
    assert "fgsm" in said.out
    assert said.err == ""


@pytest.mark.parametrize("norm", [["--norm", "linf"], ["--norm", "density", "--sigma", "0.1"]], ids=["linf", "density"])
def test_a_table_by_layer(norm: list[str], few_inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["worst", str(MODEL), "--bound", "0.03", "--data", str(few_inputs), "--method", "fgsm", "--per-layer"]
    assert run([*words, *norm]) == 0
    said = capsys.readouterr()
    assert "weakest tensor is layers." in said.out
    assert all(f"layers.{i}.weight" in said.err for i in (0, 3, 7, 9, 11))


@pytest.mark.parametrize(
    "words",
    [
        ["--bound", "-1"],
        ["--bound", "0.01", "--method", "magic"],
        ["--bound", "0.01", "--passes", "0"],
        ["--bound", "0.01", "--layers", "none"],
        ["--bound", "0.01", "--per-layer", "--out", "w.onnx"],
        ["--bound", "0.01", "--data", "missing.npz"],
        ["--bound", "0.01", "--norm", "density"],
        [],
    ],
)
def test_bad_input_is_one_line(words: list[str], few_inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worst", str(MODEL), "--data", str(few_inputs), *words]) == BAD_INPUT
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.strip().splitlines()) == 1


def test_the_bridge_to_probability(few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(few_inputs) as few:
        np.savez(tmp_path / "fewer.npz", x=few["x"][:60], y=few["y"][:60])
    words = ["worst", str(MODEL), "--bound", "0.02", "--data", str(tmp_path / "fewer.npz"), "--method", "fgsm"]
    asked = ["--sigma", "0.05", "--instances", "5", "--report", str(tmp_path / "worst.html")]
    assert run([*words, *asked, "--limit", "0.8", "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    point, chance = result["design_point"], result["probability"]
    assert point["performance"] <= 0.8
    assert (point["guarantee"], chance["guarantee"]) == ("none", "exact")
    assert 0 <= chance["low"] <= chance["as_bad"] / 5 <= chance["high"] < 1
    page = (tmp_path / "worst.html").read_text()
    assert "chips drawn at random" in page
    assert "<svg" in page
    assert (tmp_path / "worst-curve.png").stat().st_size > 1000
    assert run([*words, "--sigma", "0.05", "--instances", "0"]) == BAD_INPUT
    assert "--instances" in capsys.readouterr().err
    assert run([*words, "--limit", "0.8"]) == BAD_INPUT
    assert "--sigma" in capsys.readouterr().err


def test_the_densest_chips(few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["worst", str(MODEL), "--bound", "0.99", "--norm", "density", "--sigma", "0.05", "--data", str(few_inputs)]
    rest = ["--method", "fgsm", "--instances", "3", "--report", str(tmp_path / "dense.html")]
    assert run([*words, *rest, "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["norm"], result["noise"]["sigma"]) == ("density", 0.05)
    n = 87_568
    assert result["probability"]["within"] == pytest.approx(chi2.cdf(n * 0.99**2, n))
    page = (tmp_path / "dense.html").read_text()
    assert "gaussian, sigma 0.05" in page
    assert "0.99 standard deviations, density" in page


def test_ctrl_c_gives_the_worst_so_far(
    few_inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kppstat.worst_case import Attack

    states = Attack.states

    def interrupted(self: Attack) -> Iterator[State]:
        for state in states(self):
            yield state
            if state.passes > 4:
                raise KeyboardInterrupt

    monkeypatch.setattr(Attack, "states", interrupted)
    words = ["worst", str(MODEL), "--bound", "0.02", "--data", str(few_inputs), "--sigma", "0.1", "--json", "-"]
    assert run(words) == INTERRUPTED
    result = json.loads(capsys.readouterr().out)
    assert result["performance_worst"] < result["clean"]
    assert result["stop_reason"] == "stopped by hand"
    assert "probability" not in result
