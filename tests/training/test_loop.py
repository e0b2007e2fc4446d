import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kppstat.errors import KppstatError
from kppstat.noise import Gaussian, Variation
from kppstat.training import strategies
from tests.training import small

SHORT = sorted(strategies())


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[n], b[n]) for n in a)


def stopped_after(session, epochs: int) -> None:
    """Run until so many epochs are done, and forget everything but the files."""
    for progress in session.states():
        if progress.done is not None and progress.done.number == epochs:
            return
    pytest.fail("the training ended before it was to be stopped")


@pytest.mark.parametrize("strategy", SHORT)
def test_every_strategy_trains_and_goes_on_to_the_same_bits(strategy: str, tmp_path: Path) -> None:
    plan = {"plan": {"augment": ("crop", "flip"), "batch": 32, "from_scratch": True}}
    whole = small.run(small.session(tmp_path, strategy, epochs=3, out=tmp_path / "whole.onnx", **plan))
    interrupted = small.session(tmp_path, strategy, epochs=3, **plan)
    stopped_after(interrupted, 1)
    (tmp_path / ".out.onnx.checkpoint.123.partial").write_bytes(b"of a process that was killed")
    resumed = small.session(tmp_path, strategy, epochs=3, resume=True, **plan)
    assert same(small.run(resumed), whole)
    assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"out.onnx", "whole.onnx"}


def test_kill_9_loses_at_most_an_epoch(tmp_path: Path) -> None:
    plan = {"from_scratch": True, "batch": 32}
    whole = small.run(small.session(tmp_path, "rcg", epochs=12, out=tmp_path / "whole.onnx", plan=plan))
    script = (
        "import sys; from pathlib import Path; from tests.training import small\n"
        "from kppstat.onnx_io.load import load_here\n"
        "model = load_here(Path(sys.argv[1]), fold_batch_norm=False)\n"
        f"session = small.session(Path(sys.argv[2]), 'rcg', epochs=12, model=model, plan={plan})\n"
        "for progress in session.states(): print(progress.done and progress.done.number, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(small.model().path), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    for line in process.stdout:
        if line.strip() == "2":  # its checkpoint is being followed by the third epoch
            process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    resumed = small.session(tmp_path, "rcg", epochs=12, plan=plan, resume=True)
    assert 2 <= resumed.loop.history[-1].number < 12
    assert same(small.run(resumed), whole)


def test_the_seed_decides(tmp_path: Path) -> None:
    one = small.run(small.session(tmp_path, plan={"seed": 1, "from_scratch": True}))
    assert same(small.run(small.session(tmp_path, plan={"seed": 1, "from_scratch": True})), one)
    assert not same(small.run(small.session(tmp_path, plan={"seed": 2, "from_scratch": True})), one)


def test_training_and_validation_share_no_input(tmp_path: Path) -> None:
    examples = small.session(tmp_path).examples
    assert len(examples.validation) == 24
    assert not set(examples.train) & set(examples.validation)
    assert len(set(examples.train) | set(examples.validation)) == 96


def test_the_best_epoch_on_the_validation_part_is_kept(tmp_path: Path) -> None:
    session = small.session(tmp_path, "gaussian", epochs=4)
    small.run(session)
    result = session.finish()
    assert result.best.kpp == max(e.kpp for e in result.history)
    again = session.loop.validation(*session.loop.kept)
    assert again.kpp == result.best.kpp


def test_running_statistics_do_not_depend_on_the_order_of_the_data(tmp_path: Path) -> None:
    """Data sorted by class: a mini-batch of one class varies far less than the data."""
    x, y = small.data()
    x += 4 * y[:, None, None, None].astype(np.float32)
    order = np.argsort(y, kind="stable")
    for network in (small.model(), small.module()):
        session = small.session(tmp_path, "plain", model=network, data=(x[order], y[order]))
        _, values, statistics = session.loop._validated(1, 0, session.loop.members[0])
        weight, bias, name = ("w1", "b1", "var") if "w1" in values else ("0.weight", "0.bias", "1.running_var")
        inputs = torch.from_numpy(x[order][session.examples.train])
        before = torch.nn.functional.conv2d(inputs, values[weight], values[bias], padding=1)
        torch.testing.assert_close(statistics[name], before.var((0, 2, 3)), rtol=0.1, atol=0)


def test_training_helps(tmp_path: Path) -> None:
    session = small.session(tmp_path, "gaussian", epochs=8)
    small.run(session)
    history = session.loop.history
    assert history[-1].loss < 0.7 * history[1].loss
    assert session.loop.best.kpp > history[0].kpp + 0.2


def test_from_scratch_forgets_the_file(tmp_path: Path) -> None:
    session = small.session(tmp_path, "plain", plan={"from_scratch": True})
    assert not torch.equal(session.scene.start["w1"], session.network.start["w1"])
    small.run(session)
    assert session.loop.best.number > 0


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    stopped_after(small.session(tmp_path, "gaussian"), 1)
    with pytest.raises(KppstatError, match="Add --resume"):
        small.session(tmp_path, "gaussian")
    with pytest.raises(KppstatError, match="strategy differ"):
        small.session(tmp_path, "plain", resume=True)
    with pytest.raises(KppstatError, match="noise differ"):
        small.session(tmp_path, "gaussian", resume=True, noise=Variation(Gaussian(0.2)))
    with pytest.raises(KppstatError, match="optimiser differ"):
        small.session(tmp_path, "gaussian", resume=True, optimiser=lambda tensors: torch.optim.SGD(tensors, 0.1))
    with pytest.raises(KppstatError, match="performance differ"):
        small.session(tmp_path, "gaussian", resume=True, performance="cross-entropy")


def test_damaged_and_missing_checkpoints_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(KppstatError, match="nothing to resume"):
        small.session(tmp_path, "gaussian", resume=True)
    stopped_after(small.session(tmp_path, "gaussian"), 1)
    path = tmp_path / "out.onnx.checkpoint"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in [0, 1, 100, *rng.integers(0, len(whole), 5)]:
        path.write_bytes(whole[:cut])
        with pytest.raises(KppstatError, match="damaged"):
            small.session(tmp_path, "gaussian", resume=True)


def test_a_loss_that_explodes_ends_in_one_line(tmp_path: Path) -> None:
    def huge(tensors):
        return torch.optim.SGD(tensors, 1e30)

    with pytest.raises(KppstatError, match="the loss became"):
        small.run(small.session(tmp_path, "plain", optimiser=huge, epochs=5))


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"lr": 0.0}, "--lr"),
        ({"seed": -1}, "--seed"),
        ({"augment": ("turn",)}, "turn"),
        ({"val_inputs": 0}, "--val-in"),
    ],
)
def test_settings_out_of_range_are_refused(plan: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(KppstatError, match=said):
        small.session(tmp_path, plan=plan)
