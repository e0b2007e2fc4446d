import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kppstat.cli import AT_BUDGET, BAD_INPUT, INTERRUPTED, run
from kppstat.cli.outputs import check_outputs
from kppstat.demo import MODEL, NOISE_TRAINED
from kppstat.errors import SettingError


@pytest.mark.parametrize(
    ("places", "says"),
    [
        ({"json": "."}, "--json: . is a folder"),
        ({"out": "nowhere/w.onnx"}, "--out: there is no folder nowhere"),
        ({"figure": "kpp.txt"}, "no ending of a figure"),
        ({"out": MODEL}, "is the model itself"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_work(places: dict[str, str], says: str) -> None:
    with pytest.raises(SettingError, match=says.replace(".", r"\.")):
        check_outputs(Path(MODEL), **places)


def test_nothing_that_a_command_reads_is_overwritten(tmp_path: Path) -> None:
    model, inputs, noise = tmp_path / "m.onnx", tmp_path / "x.npy", tmp_path / "n.toml"
    beside = model.with_suffix(".npz")
    for path in (model, inputs, noise, beside):
        path.touch()
    for place, what in ((model, "the model"), (inputs, "the data"), (noise, "the noise file")):
        with pytest.raises(SettingError, match=f"{place.name} is {what} itself"):
            check_outputs(model, f"{inputs},{tmp_path / 'y.npy'}", noise, json=place)
    with pytest.raises(SettingError, match="is the data itself"):
        check_outputs(model, report=beside)
    check_outputs(model, str(inputs), report=beside)


def test_what_can_be_written_passes(tmp_path: Path) -> None:
    check_outputs(Path(MODEL), json="-", out=None, figure=tmp_path / "kpp.pdf")


@pytest.mark.parametrize(
    "command",
    [
        ["estimate", "--max-evaluations", "2", "--method", "mc"],
        ["sweep", "--instances", "2", "--k", "50"],
        ["compare", str(NOISE_TRAINED), "--max-evaluations", "4", "--method", "mc"],
    ],
)
def test_an_answer_outlives_a_full_disk(
    few_inputs: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    name, *more = command
    asked = [name, str(MODEL), *more, "--sigma", "0.05", "--data", str(few_inputs), "--workers", "1"]
    assert run([*asked, "--json", "/dev/full"]) == BAD_INPUT
    told = capsys.readouterr()
    assert "cannot write the result (No space left on device)" in told.err
    assert "KPP" in told.out or "reach" in told.out or "told apart" in told.out


def test_stdout_may_be_full() -> None:
    for command in (["doctor"], ["noise", "--markdown"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "kppstat", *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert done.returncode == BAD_INPUT
        assert done.stderr.startswith("error: the answer cannot be written")
        assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_costs_no_file(few_inputs: Path, tmp_path: Path) -> None:
    """Nor the exit code: here the budget ends the run."""
    asked = ["estimate", str(MODEL), "--sigma", "0.05", "--data", str(few_inputs), "--max-evaluations", "2"]
    written = tmp_path / "result.json"
    closed, writing = os.pipe()
    os.close(closed)
    command = [sys.executable, "-m", "kppstat", *asked, "--method", "mc", "--workers", "1", "--json", str(written)]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == AT_BUDGET
    assert json.loads(written.read_text())["instances"] == 2
    for told in (["check", str(MODEL)], ["noise"]):
        done = subprocess.run(
            [sys.executable, "-m", "kppstat", *told], stdout=writing, stderr=subprocess.PIPE, check=False
        )
        assert done.returncode == 0
    os.close(writing)


def test_stdout_may_be_closed() -> None:
    """Python then has none."""
    code = "import sys; sys.stdout = None; from kppstat.cli import main; main(['doctor'])"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


def interrupted(command: list[str], wait_for: Path, after: float) -> tuple[int, str, str]:
    """Run a command and interrupt it some time after a file is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kppstat", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    begun = time.monotonic()
    while not wait_for.exists() and time.monotonic() - begun < 120:
        time.sleep(0.05)
    time.sleep(after)
    os.kill(process.pid, signal.SIGTERM)  # ends a command as Ctrl-C does, also where that is ignored
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, out, err


def test_an_interrupted_sweep_keeps_the_sigmas_that_are_finished(few_inputs: Path, tmp_path: Path) -> None:
    asked = ["sweep", str(MODEL), "--sigma", "0,0.01", "--k", "50", "--data", str(few_inputs), "--workers", "1"]
    finished = tmp_path / "run" / "sigma-0.01" / "journal.sqlite"
    result = tmp_path / "sweep.json"
    more = ["--run", str(tmp_path / "run"), "--instances", "800", "--json", str(result)]
    code, out, err = interrupted([*asked, *more], finished, 0.5)
    assert code == INTERRUPTED, err
    assert "Traceback" not in err
    assert "sigmas that were not finished are left out" in err
    told = json.loads(result.read_text())
    assert [p["sigma"] for p in told["points"]] == [0.0]
    assert 800 <= told["evaluations"] < 1600
    assert "50" in out


def test_an_interrupt_before_a_result_is_said(few_inputs: Path, tmp_path: Path) -> None:
    asked = ["sweep", str(MODEL), "--sigma", "0,0.01", "--k", "50", "--data", str(few_inputs), "--workers", "1"]
    begun = tmp_path / "run" / "sigma-0" / "journal.sqlite"
    code, _, err = interrupted([*asked, "--run", str(tmp_path / "run"), "--instances", "100000"], begun, 0.5)
    assert code == INTERRUPTED
    assert err.strip().endswith("interrupted before there was a result")


def test_an_interrupted_comparison_says_what_is_known(few_inputs: Path, tmp_path: Path) -> None:
    # A model against itself is never told apart.
    result = tmp_path / "compared.json"
    asked = ["compare", str(MODEL), str(MODEL), "--sigma", "0.05", "--data", str(few_inputs), "--method", "mc"]
    code, out, err = interrupted([*asked, "--half-width", "1e-6", "--json", str(result)], tmp_path, 12)
    assert code == INTERRUPTED, err
    assert "Traceback" not in err
    assert out
    estimates = json.loads(result.read_text())["estimates"]
    assert all(e["ci_low"] <= e["kpp"] <= e["ci_high"] for e in estimates if e["ci_low"] is not None)


def test_nothing_known_is_no_number(few_inputs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = ["estimate", str(MODEL), "--sigma", "0.05", "--data", str(few_inputs), "--max-time", "0.01", "--quiet"]
    for method in ("tilted", "audited"):
        result = tmp_path / f"{method}.json"
        assert run([*asked, "--method", method, "--json", str(result)]) == AT_BUDGET
        assert capsys.readouterr().out.startswith("Nothing is known of the KPP yet")
        told = json.loads(result.read_text())
        assert told["kpp"] is None
        assert told["instances"] == 0


def test_one_file_that_fails_does_not_stop_the_others(
    few_inputs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ["sweep", str(MODEL), "--sigma", "0.05", "--instances", "2", "--k", "50", "--data", str(few_inputs)]
    assert run([*asked, "--json", "/dev/full", "--figure", str(tmp_path / "kpp.svg")]) == BAD_INPUT
    assert "cannot write the result" in capsys.readouterr().err
    assert (tmp_path / "kpp.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["noise", "--figure", "x.svg"], "--figure: no noise model is named"),
        (["noise", "gaussian", "--noise-file", "x.toml"], "--noise-file: gaussian and a noise file are both given"),
        (["sweep", str(MODEL), "--sigma", "0.1", "--resume"], "--resume: there is no run to resume"),
        (["sweep", str(MODEL), "--sigma", "0.1", "--resume", "--run", "nowhere"], "nowhere: there is no run to resume"),
        (["estimate", str(MODEL), "--sigma", "1e300"], "sigma is 1e+300"),
        (["estimate", str(MODEL), "--sigma", "0.1", "--k", "1e-9"], "--k: k is 1e-09"),
        (["estimate", str(MODEL), "--sigma", "0.1", "--workers", "1000000"], "--workers: workers is 1,000,000"),
        (["estimate", str(MODEL), "--sigma", "0.1", "--workers", "2.5"], "--workers: 2.5 is no whole number"),
        (["estimate", str(MODEL), "--sigma", "0.1", "--half-width", "50pp"], "a half-width of 50pp tells nothing"),
        (["estimate", str(MODEL), "--sigma", "0.1", "--half-width", "-1pp"], "'-1pp' is no half-width"),
        (["estimate", str(MODEL), "--sigma", "0.1", "--guarantee", "none"], "--guarantee: guarantee is none"),
        (
            ["sweep", str(MODEL), "--sigma", "0.1:0.2:1000000000"],
            "--sigma: 0.1:0.2:1000000000 are 1,000,000,000 numbers",
        ),
    ],
)
def test_settings_that_mean_nothing(capsys: pytest.CaptureFixture[str], command: list[str], says: str) -> None:
    assert run(command) == BAD_INPUT
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
