import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from kppstat.cli import AT_BUDGET, BAD_INPUT, INTERRUPTED, run
from kppstat.demo import MODEL, NOISE_TRAINED

KEYS = {
    "kpp", "ci_low", "ci_high", "confidence", "guarantee", "k", "sigma", "method", "performance", "clean", "mean", "sd",
    "evaluations", "instances", "converged", "stop_reason", "seed", "seconds", "model_sha256", "data_sha256",
    "versions",
}  # fmt: skip


def command(few_inputs: Path, *more: str, method: str = "mc") -> list[str]:
    return ["estimate", str(NOISE_TRAINED), "--data", str(few_inputs), "--sigma", "0.1", "--method", method, *more]


def answer(few_inputs: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any]]:
    code = run([*command(few_inputs, *more), "--json", "-"])
    return code, json.loads(capsys.readouterr().out)


def wait_for(journal: Path, *, evaluations: int) -> None:
    """Wait until so many evaluations are recorded."""
    begun = time.monotonic()
    while time.monotonic() - begun < 120:
        if journal.exists():
            with closing(sqlite3.connect(journal, timeout=30)) as db, suppress(sqlite3.OperationalError):
                if db.execute("SELECT COUNT(*) FROM evaluation").fetchone()[0] >= evaluations:
                    return
        time.sleep(0.05)
    raise AssertionError("no evaluations were recorded")


def settled(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("seconds", "stop_reason")}


def test_json_has_the_stable_keys(few_inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = answer(few_inputs, capsys, "--k", "5", "--max-evaluations", "120")
    assert code == AT_BUDGET
    assert set(result) >= KEYS
    assert 0 <= result["ci_low"] <= result["kpp"] <= result["ci_high"] <= 1
    assert result["guarantee"] == "exact"
    assert result["evaluations"] == result["instances"] == 120
    assert not result["converged"]


def test_converged_is_exit_code_0(few_inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = answer(few_inputs, capsys, "--k", "50", "--half-width", "2pp")
    assert code == 0
    assert result["converged"]
    assert result["ci_high"] - result["ci_low"] <= 0.04


@pytest.mark.parametrize(("asked", "wanted"), [("10pp", 0.1), ("10%", 0.1), ("0.2", 0.2), ("2", 0.02)])
def test_a_half_width_is_taken_at_its_word(
    few_inputs: Path, capsys: pytest.CaptureFixture[str], asked: str, wanted: float
) -> None:
    _, result = answer(few_inputs, capsys, "--k", "50", "--half-width", asked, "--max-evaluations", "20")
    assert result["half_width"] == pytest.approx(wanted)
    assert any("percentage points" in note for note in result["notes"]) == (asked == "2")


@pytest.mark.parametrize("workers", ["1", "2", "4"])
def test_workers_change_nothing(few_inputs: Path, capsys: pytest.CaptureFixture[str], workers: str) -> None:
    wanted = answer(few_inputs, capsys, "--k", "10", "--max-evaluations", "40", "--workers", "1")[1]
    got = answer(few_inputs, capsys, "--k", "10", "--max-evaluations", "40", "--workers", workers)[1]
    assert settled(got) == settled(wanted)


def test_another_seed_is_another_set_of_instances(few_inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    means = {answer(few_inputs, capsys, "--max-evaluations", "20", "--seed", seed)[1]["mean"] for seed in "012"}
    assert len(means) == 3


@pytest.mark.parametrize("method", ["mc", "audited"])
def test_sigma_0_is_the_clean_model(few_inputs: Path, capsys: pytest.CaptureFixture[str], method: str) -> None:
    words = ["estimate", str(MODEL), "--data", str(few_inputs), "--sigma", "0", "--max-evaluations", "20"]
    code = run([*words, "--method", method, "--json", "-"])
    result = json.loads(capsys.readouterr().out)
    assert code in (0, AT_BUDGET)
    # An audited instance is known up to a guess from the inputs seen.
    slack = 0 if method == "mc" else 1e-3
    assert result["kpp"] == pytest.approx(result["clean"], abs=slack)
    assert result["mean"] == pytest.approx(result["clean"], abs=slack)
    assert result["sd"] == pytest.approx(0, abs=slack)
    assert result["ci_low"] <= result["clean"] <= result["ci_high"]


def test_what_carries_noise_is_said_before_anything_else(few_inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(command(few_inputs, "--max-evaluations", "5"))
    said = capsys.readouterr()
    assert said.err.index("clean top-1") < said.err.index("layers.0.weight")
    assert "layers.0.bias" in said.err
    assert said.out.startswith("All but 1 % of the instances reach a top-1 accuracy of")


def test_quiet_says_the_answer_only(few_inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(command(few_inputs, "--max-evaluations", "5", "--quiet"))
    said = capsys.readouterr()
    assert said.err == ""
    assert len(said.out.splitlines()) == 1


def test_a_loss_counts_from_the_other_end(few_inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = answer(few_inputs, capsys, "--k", "10", "--performance", "cross-entropy", "--max-evaluations", "60")[1]
    assert result["clean"] < result["mean"] < result["kpp"]
    assert result["ci_low"] <= result["kpp"] <= result["ci_high"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--k", "100"], "--k"),
        (["--sigma", "-1"], "sigma is -1"),
        (["--sigma", "nan"], "sigma is nan"),
        (["--confidence", "1"], "--confidence"),
        (["--half-width", "wide"], "--half-width"),
        (["--max-evaluations", "0"], "--max-evaluations"),
        (["--resume"], "--run"),
        (["--data", "nothing.npz"], "nothing.npz"),
        (["--noise-file", "nothing.toml"], "nothing.toml"),
        (["--report", "page.txt"], "page.txt"),
        (["--workers", "0"], "--workers"),
        (["--seed", "-1"], "--seed"),
        (["--first", "-1"], "--first"),
    ],
)
def test_bad_input_is_one_line(
    few_inputs: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    words = command(few_inputs, "--max-evaluations", "5")
    for flag in more[:1]:
        if flag in words:
            del words[words.index(flag) : words.index(flag) + 2]
    assert run([*words, *more]) == BAD_INPUT
    error = capsys.readouterr().err.splitlines()
    assert len([line for line in error if line.startswith("error: ")]) == 1
    assert said in error[-1]


@pytest.mark.parametrize("method", ["mc", "audited"])
def test_killed_at_any_moment_it_resumes_to_the_same_bits(few_inputs: Path, tmp_path: Path, method: str) -> None:
    budget = ["--k", "10", "--max-evaluations", "300", "--workers", "2"]
    process = [sys.executable, "-m", "kppstat", *command(few_inputs, *budget, method=method)]
    subprocess.run([*process, "--quiet", "--json", str(tmp_path / "whole.json")], capture_output=True, timeout=120)
    whole = json.loads((tmp_path / "whole.json").read_text())
    moment = random.Random(0)
    for attempt in range(8):
        again = ["--run", str(tmp_path / "run"), "--json", str(tmp_path / "part.json"), "--quiet"]
        journal = tmp_path / "run" / "journal.sqlite"
        running = subprocess.Popen([*process, *again, *(["--resume"] if journal.exists() else [])])
        begun = time.monotonic()
        while not journal.exists() and time.monotonic() - begun < 60:
            time.sleep(0.01)
        try:
            running.wait(0.2 + moment.random() if attempt < 7 else 120)
            break
        except subprocess.TimeoutExpired:
            os.kill(running.pid, signal.SIGKILL)
            running.wait()
    part = json.loads((tmp_path / "part.json").read_text())
    assert settled(part) == settled(whole)


@pytest.mark.parametrize("method", ["mc", "audited"])
def test_ctrl_c_ends_with_the_interval_valid_so_far(few_inputs: Path, tmp_path: Path, method: str) -> None:
    more = ("--k", "50", "--half-width", "1e-4")
    process = [sys.executable, "-m", "kppstat", *command(few_inputs, *more, method=method)]
    running = subprocess.Popen(
        [*process, "--run", str(tmp_path / "run"), "--json", str(tmp_path / "out.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs deaf to Ctrl-C, and what they start inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    journal = tmp_path / "run" / "journal.sqlite"
    wait_for(journal, evaluations=100)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == INTERRUPTED, said
    assert "Traceback" not in said
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["guarantee"] == "anytime"
    assert result["stop_reason"] == "interrupted"
