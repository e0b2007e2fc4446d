import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kppstat.cli import BAD_INPUT, INTERRUPTED, run
from kppstat.demo import MODEL
from kppstat.onnx_io import Model, load
from kppstat.training import Judgement, judge


def command(few_inputs: Path, out: Path, *more: str) -> list[str]:
    given = ["train", str(MODEL), "--data", str(few_inputs), "--out", str(out), "--instances", "4", "--epochs", "1"]
    return [*given, *([] if "--noise-file" in more else ["--sigma", "0.1"]), *more]


def test_the_same_file_with_other_weights_is_written(
    few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "robust.onnx"
    more = ["--strategy", "rcg", "--set", "threshold=0.7", "--from-scratch", "--lr", "0.002", "--json", "-"]
    assert run(command(few_inputs, out, *more)) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["strategy"] == {"strategy": "rcg", "threshold": 0.7, "reach": 2.0, "sigma": 0.0}
    assert result["best"]["number"] == 1
    assert [e["number"] for e in result["history"]] == [0, 1]
    assert result["history"][0]["loss"] is None
    assert result["plan"]["lr"] == 0.002
    assert result["val_inputs"] == 30
    assert "87,568 weights with device variation, 250 biases" in said.err
    assert "epoch 1: loss" in said.err
    before, after = load(MODEL), load(out)
    assert [(w.name, w.shape) for w in after.weights] == [(w.name, w.shape) for w in before.weights]
    assert all(not np.array_equal(a, after.values()[n]) for n, a in before.values().items())


def test_quiet_says_the_answer_only(few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = tmp_path / "noise.toml"
    noise.write_text('model = "gaussian"\nsigma = 0.05\n')
    assert (
        run(command(few_inputs, tmp_path / "o.onnx", "--quiet", "--noise-file", str(noise), "--strategy", "clip")) == 0
    )
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("KPP(1) on the validation part:")


def test_other_inputs_judge_before_and_after(
    few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(few_inputs) as all_inputs:
        np.savez(tmp_path / "test.npz", x=all_inputs["x"][:20], y=all_inputs["y"][:20])
    out, told = tmp_path / "o.onnx", tmp_path / "o.json"
    more = ["--test", str(tmp_path / "test.npz"), "--json", str(told), "--strategy", "clip"]
    assert run(command(few_inputs, out, *more)) == 0
    said = capsys.readouterr()
    found = json.loads(told.read_text())["test"]
    assert found["trained"] == judge(out, data=tmp_path / "test.npz", sigma=0.1).to_dict()
    kpps = [found[name]["kpp"]["1"]["kpp"] for name in ("given", "trained")]
    assert f"{100 * (kpps[1] - kpps[0]):+.2f} points by training" in said.out
    (line,) = (line.split() for line in said.err.splitlines() if line.startswith("epistemic"))
    assert "20 of 20 test inputs are among the data to train on" in said.err
    assert line[-2:] == [f"{found[name]['epistemic']:.4f}" for name in ("given", "trained")]


def test_ctrl_c_while_judging_loses_neither_weights_nor_answer(
    few_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(few_inputs) as all_inputs:
        np.savez(tmp_path / "test.npz", x=all_inputs["x"][:20], y=all_inputs["y"][:20])
    out, told = tmp_path / "o.onnx", tmp_path / "o.json"

    def stopped(model: Model, **settings: Any) -> Judgement:
        if model.path == out:
            raise KeyboardInterrupt
        return judge(model, **settings)

    monkeypatch.setattr("kppstat.cli.trial.judge", stopped)
    more = ["--test", str(tmp_path / "test.npz"), "--json", str(told), "--strategy", "clip"]
    assert run(command(few_inputs, out, *more)) == INTERRUPTED
    said = capsys.readouterr()
    assert said.out.startswith("KPP(1) on the validation part:")
    assert "judging was interrupted" in said.err
    assert list(json.loads(told.read_text())["test"]) == ["given"]
    assert load(out).weights


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--strategy", "magic"], "there is no strategy 'magic'"),
        (["--epochs", "0"], "--epochs"),
        (["--lr", "-1"], "--lr"),
        (["--val-share", "1"], "--val-share"),
        (["--set", "threshold"], "has no value"),
        (["--strategy", "plain", "--set", "threshold=1"], "no setting 'threshold'"),
        (["--augment", "spin"], "spin"),
        (["--resume"], "nothing to resume"),
        (["--data", "nothing.npz"], "nothing.npz"),
        (["--out", "/no/such/folder/o.onnx"], "there is no folder /no/such/folder"),
        (["--performance", "top-7"], "top-7"),
        (["--test", "nothing.npz"], "nothing.npz"),
    ],
)
def test_mistakes_end_in_one_line(
    more: list[str], said: str, few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = command(few_inputs, tmp_path / "o.onnx", "--strategy", "plain")
    for option in more[::2]:
        if option in base:
            i = base.index(option)
            del base[i : i + 2]
    assert run([*base, *more]) == BAD_INPUT
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "error:" in line]) == 1
    assert said in lines[-1]
    assert not (tmp_path / "o.onnx").exists()


def test_training_data_cannot_judge(few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command(few_inputs, tmp_path / "o.onnx", "--test", str(few_inputs))) == BAD_INPUT
    assert "these are the data to train on" in capsys.readouterr().err
    assert not (tmp_path / "o.onnx").exists()


def test_ctrl_c_in_the_first_epoch_does_not_promise_to_go_on(
    few_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kppstat.training.loop.Loop.step", stopped)
    out = tmp_path / "o.onnx"
    assert run(command(few_inputs, out)) == 130
    said = capsys.readouterr().err
    assert "no epoch was completed, so the weights stay as given" in said
    assert "--resume" not in said
    assert not (tmp_path / "o.onnx.checkpoint").exists()


def test_ctrl_c_keeps_the_best_so_far_and_resume_goes_on(few_inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.onnx"
    tokens = command(few_inputs, out, "--strategy", "gaussian", "--json", str(tmp_path / "o.json"))
    tokens[tokens.index("--epochs") + 1] = "300"
    with subprocess.Popen(
        [sys.executable, "-m", "kppstat", *tokens],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # As at a terminal: what a shell starts in the background ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        for line in process.stderr:
            if line.startswith("epoch 1:"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "Traceback" not in rest
    assert load(out).weights
    assert json.loads((tmp_path / "o.json").read_text())["stop_reason"] == "interrupted"
    assert (tmp_path / "o.onnx.checkpoint").exists()
