import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import quantile_test

import kppstat
from kppstat.cli import BAD_INPUT, run
from kppstat.demo import NOISE_TRAINED
from kppstat.errors import SettingError
from kppstat.sampling.sweep import read_numbers, sweep


def test_a_point_is_the_exact_interval_of_its_instances(few_inputs: Path) -> None:
    result = sweep(NOISE_TRAINED, [0.1], [20, 50], instances=60, data=str(few_inputs), workers=1)
    alone = kppstat.estimate(
        NOISE_TRAINED, sigma=0.1, k=20, method="mc", max_evaluations=60, data=str(few_inputs), workers=1
    )
    point = result.points[0]
    assert (point.kpp, point.ci_low, point.ci_high) == (alone.kpp, alone.ci_low, alone.ci_high)
    wanted = quantile_test(alone.values, p=0.5).confidence_interval(0.95)
    assert (result.points[1].ci_low, result.points[1].ci_high) == (wanted.low, wanted.high)


def test_sigmas_share_their_random_numbers(few_inputs: Path) -> None:
    result = sweep(NOISE_TRAINED, [0.1, 0.1001], [50], instances=10, data=str(few_inputs), workers=1)
    first, second = result.points
    assert abs(first.mean - second.mean) < 0.005


def test_command_line_writes_figure_and_json(
    few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", str(NOISE_TRAINED), "--data", str(few_inputs), "--sigma", "0.05:0.15:3", "--k", "5,50"]
    words += ["--instances", "12", "--run", str(tmp_path / "run"), "--json"]
    assert run([*words, str(tmp_path / "one.json"), "--figure", str(tmp_path / "sweep.png")]) == 0
    assert (tmp_path / "sweep.png").stat().st_size > 10_000
    assert "k = 5 % needs --instances 72" in capsys.readouterr().err
    assert run([*words, str(tmp_path / "two.json"), "--resume"]) == 0
    one, two = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("one", "two"))
    assert one["points"] == two["points"]
    assert len(one["points"]) == 6
    assert np.all(np.diff([p["mean"] for p in one["points"][::2]]) < 0)
    # An exact interval holds for one number: nobody goes on until he likes it.
    words[words.index("12")] = "20"
    assert run([*words, "-", "--resume"]) == BAD_INPUT
    assert "the sweep in this folder is of 12 instances" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "numbers"), [("0.1", [0.1]), ("0:1:3", [0, 0.5, 1]), ("1,5", [1, 5])])
def test_numbers(text: str, numbers: list[float]) -> None:
    assert read_numbers(text, "--k") == numbers


@pytest.mark.parametrize("text", ["", "a", "1:2", "1:2:x", "1;2"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(SettingError, match=r"--k: .* are no numbers"):
        read_numbers(text, "--k")


@pytest.mark.parametrize("more", [["--sigma", "-1"], ["--k", "0"], ["--instances", "0"]])
def test_bad_settings(few_inputs: Path, capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    words = ["sweep", str(NOISE_TRAINED), "--data", str(few_inputs), *more]
    assert run(words if "--sigma" in more else [*words, "--sigma", "0.1"]) == BAD_INPUT
    assert capsys.readouterr().err.startswith("error: ")
