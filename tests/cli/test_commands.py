import json
from pathlib import Path

import numpy as np
import pytest

from kppstat.cli import BAD_INPUT, run
from kppstat.demo import MODEL, NOISE_TRAINED
from kppstat.noise import Gaussian, LogNormal, Mask, Variation, Verified, models, write


def test_check_names_every_constant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(MODEL)]) == 0
    said = capsys.readouterr().out
    for i in (0, 3, 7, 9, 11):
        assert f"layers.{i}.weight" in said
        assert f"layers.{i}.bias" in said


def test_check_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(MODEL), "--json", "-"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [w["name"] for w in facts["weights"]] == [f"layers.{i}.weight" for i in (0, 3, 7, 9, 11)]
    assert facts["unsupported"] == []


@pytest.mark.parametrize("name", sorted(models()))
def test_every_noise_model_has_a_page(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["noise", name]) == 0
    said = capsys.readouterr().out
    assert models()[name].formula.split()[0] in said
    assert "source: " in said


def test_noise_lists_all_and_draws_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["noise"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in models())
    assert run(["noise", "gaussian", "--figure", str(tmp_path / "law.svg"), "--model", str(MODEL)]) == 0
    assert "layers.0.weight" in capsys.readouterr().out
    assert (tmp_path / "law.svg").stat().st_size > 1000
    assert run(["noise", "gaussian", "--figure", str(tmp_path / "none" / "law.svg")]) == BAD_INPUT


def test_noise_shows_what_each_weight_gets_and_refuses_a_pattern_without_a_weight(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "noise.toml"
    text = 'model = "gaussian"\nsigma = 0.05\n[layers."layers.0.*"]\nmodel = "gaussian"\nsigma = 0.02\n'
    file.write_text(text)
    assert run(["noise", "--noise-file", str(file), "--model", str(MODEL)]) == 0
    lines = capsys.readouterr().out.splitlines()
    laws = [line.split("gaussian, ")[1].strip() for line in lines if line.startswith("layers.")]
    assert laws == ["sigma 0.02", *["sigma 0.05"] * 4]
    file.write_text(text.replace("layers.0", "layres.0"))
    assert run(["noise", "--noise-file", str(file), "--model", str(MODEL)]) == BAD_INPUT
    assert "no weight is called 'layres.0.*'" in capsys.readouterr().err


def test_noise_tells_every_law_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layers = {"conv*": Gaussian(0.2), "*1": LogNormal(0.3)}
    verified = Verified(Gaussian(0.01), {"fc": Mask.of(np.array([True, False, True]))})
    write(Variation(Gaussian(0.1), layers, verified), tmp_path / "noise.toml")
    assert run(["noise", "--noise-file", str(tmp_path / "noise.toml")]) == 0
    said = capsys.readouterr().out
    assert "weights conv*: gaussian, sigma 0.2" in said
    assert "weights *1: log-normal, sigma 0.3" in said
    assert "2 verified weights: gaussian, sigma 0.01" in said


def test_unknown_noise_names_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["noise", "gausian"]) == BAD_INPUT
    assert "gaussian" in capsys.readouterr().err


def test_doctor_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    assert "onnxruntime" in capsys.readouterr().out


def test_two_machines_share_a_run(few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["estimate", str(NOISE_TRAINED), "--data", str(few_inputs), "--sigma", "0.1", "--method", "mc", "--quiet"]
    for name, first in (("a", "0"), ("b", "20")):
        assert run([*words, "--max-evaluations", "20", "--first", first, "--run", str(tmp_path / name)]) == 3
    both = tmp_path / "both"
    assert run(["merge", str(both), str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "40 evaluations" in capsys.readouterr().out
    whole = ["--max-evaluations", "40", "--json"]
    assert run([*words, *whole, str(tmp_path / "one.json")]) == 3
    assert run([*words, *whole, str(tmp_path / "two.json"), "--run", str(both), "--resume"]) == 3
    one, two = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("one", "two"))
    assert (one["kpp"], one["mean"], one["sd"]) == (two["kpp"], two["mean"], two["sd"])


def test_a_noise_file_by_layer(few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "noise.toml").write_text(
        'model = "gaussian"\nsigma = 0.05\n[layers."layers.0.*"]\nmodel = "gaussian"\nsigma = 0.0\n'
    )
    words = ["estimate", str(NOISE_TRAINED), "--data", str(few_inputs), "--noise-file", str(tmp_path / "noise.toml")]
    assert run([*words, "--max-evaluations", "5", "--method", "mc", "--json", "-"]) == 3
    result = json.loads(capsys.readouterr().out)
    assert result["sigma"] is None
    assert result["noise"]["layers"]["layers.0.*"]["sigma"] == 0
