import json
from pathlib import Path

import pytest

from kppstat.cli import BAD_INPUT, run
from kppstat.demo import MODEL, NOISE_TRAINED


def test_prediction_names_itself_as_one(few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(NOISE_TRAINED), "--data", str(few_inputs), "--sigma", "0.03", "--k", "5", "--inputs", "60"]
    assert run([*words, "--json", str(tmp_path / "out.json"), "--figure", str(tmp_path / "out.svg")]) == 0
    said = capsys.readouterr()
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["guarantee"] == "none"
    assert "without a guarantee" in said.out
    assert "layers.0.weight" in said.err
    assert "mse by it alone" in said.err
    assert 0 < result["kpp"] <= result["mean"] <= 1
    assert result["evaluations"] > 1
    assert (tmp_path / "out.svg").stat().st_size > 1000
    assert set(result["mse_by_weight"]) == set(result["by_weight"])
    assert set(result) >= {"kpp", "mean", "sd", "mse", "clean", "guarantee", "evaluations", "seconds"}


def test_sensitivity_names_the_dearest_layer(
    few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    words = ["predict", str(MODEL), "--data", str(few_inputs), "--sigma", "0.03", "--inputs", "60"]
    assert (
        run([*words, "--sensitivity", "--json", str(tmp_path / "out.json"), "--figure", str(tmp_path / "o.svg")]) == 0
    )
    cost = json.loads((tmp_path / "out.json").read_text())["cost"]
    assert max(cost, key=lambda n: cost[n]) == "layers.0.weight"
    assert "points" in capsys.readouterr().err
    assert "points of KPP" in (tmp_path / "o.svg").read_text()


def test_sensitivity_is_of_accuracy(few_inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(NOISE_TRAINED), "--data", str(few_inputs), "--sigma", "0.03", "--performance", "top-5"]
    assert run([*words, "--sensitivity"]) == BAD_INPUT
    assert "--sensitivity" in capsys.readouterr().err


def test_several_sigmas_are_each_as_alone(few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.json"
    words = ["predict", str(NOISE_TRAINED), "--data", str(few_inputs), "--inputs", "40", "--json", str(out)]
    assert run([*words, "--sigma", "0.02:0.06:2"]) == 0
    points = json.loads(out.read_text())["points"]
    said = capsys.readouterr()
    assert [p["sigma"] for p in points] == [0.02, 0.06]
    assert points[0]["mse"] < points[1]["mse"]
    assert "sigma 0.06: All but 1 %" in said.out
    assert "in its depth" in said.err
    assert run([*words, "--sigma", "0.06"]) == 0
    alone = json.loads(out.read_text())
    assert alone["evaluations"] == pytest.approx(points[1]["evaluations"] + 0.5)  # two sigmas share the clean pass
    cost = {"seconds": 0, "evaluations": 0}
    assert {**alone, **cost} == {**points[1], **cost}


def test_a_figure_is_of_one_sigma(few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(NOISE_TRAINED), "--data", str(few_inputs), "--sigma", "0.02,0.06"]
    assert run([*words, "--figure", str(tmp_path / "o.svg")]) == BAD_INPUT
    assert "--figure" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more", [["--sigma", "-1"], ["--sigma", "0.1", "--k", "0"], [], ["--sigma", "a"], ["--sigma", "0:1:0"]]
)
def test_bad_input(few_inputs: Path, capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    assert run(["predict", str(NOISE_TRAINED), "--data", str(few_inputs), *more]) == BAD_INPUT
    assert capsys.readouterr().err.startswith("error: ")
