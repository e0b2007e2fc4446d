import json
from pathlib import Path

import pytest

from kppstat.cli import BAD_INPUT, run
from kppstat.demo import MODEL
from kppstat.noise import read


def test_the_weights_and_their_noise_file(few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["verify", str(MODEL), "--sigma", "0.1", "--verified-sigma", "0.01", "--data", str(few_inputs)]
    rest = ["--fraction", "0.02", "--method", "swim", "--out", str(tmp_path / "verified.toml")]
    assert run([*words, *rest, "--json", "-"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["count"] == sum(t["verified"] for t in result["tensors"].values()) == round(0.02 * result["weights"])
    assert "kppstat estimate" in said.err
    masks = read(tmp_path / "verified.toml").verified
    assert masks is not None
    assert sum(int(mask.array.sum()) for mask in masks.masks.values()) == result["count"]
    assert run([*words, *rest, "--quiet"]) == 0
    assert "are to be verified" in capsys.readouterr().out


@pytest.mark.parametrize("rest", [["--fraction", "2"], ["--fraction", "0.1", "--noise-file", "none.toml"], []])
def test_bad_input_is_one_line(rest: list[str], few_inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["verify", str(MODEL), "--sigma", "0.1", "--verified-sigma", "0.01", "--data", str(few_inputs), *rest]
    assert run(words) == BAD_INPUT
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.strip().splitlines()) == 1
