from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kppstat.errors import KppstatError
from kppstat.noise import Gaussian, Variation
from kppstat.training import strategy_named
from tests.training import small
from tests.training.strategies.test_losses import step_of


def test_loss_by_hand(tmp_path: Path) -> None:
    session = small.session(tmp_path, "kpp", settings={"instances": 3, "scale": 1.5, "width": 1.2})
    step = step_of(session)
    (loss,) = session.strategy.losses(step)
    again, found = step_of(session), []
    intended = {n: _clamped(v.detach(), 1.2) if n in session.network.noisy else v for n, v in again.values.items()}
    before = torch.nn.functional.conv2d(again.inputs["x"], intended["w1"], intended["b1"], padding=1)
    statistics = {"mean": before.mean((0, 2, 3)), "var": before.var((0, 2, 3), correction=0)}
    for rows in (slice(0, 5), slice(5, 10), slice(10, 16)):
        values = dict(again.values)
        for name in session.network.noisy:
            w = intended[name]
            z = torch.randn(w.numel(), generator=again.generator).reshape(w.shape)
            values[name] = w + 1.5 * 0.1 * float(w.abs().max()) * z
        inputs = {name: x[rows] for name, x in again.inputs.items()}
        outputs, _ = session.network.run(values, statistics, inputs, training=False)
        found.append(torch.nn.functional.cross_entropy(outputs, again.targets[rows], reduction="sum"))
    torch.testing.assert_close(loss, sum(found) / 16)


def _clamped(w: torch.Tensor, width: float) -> torch.Tensor:
    limit = width * float(w.square().mean().sqrt())
    return w.clamp(-limit, limit)


def test_more_instances_than_inputs_are_one_for_each(tmp_path: Path) -> None:
    step = step_of(small.session(tmp_path, "kpp"))
    parts = step.dealt(100)
    assert [len(part.targets) for part in parts] == [1] * 16
    assert torch.equal(torch.cat([part.targets for part in parts]), step.targets)


def test_a_fixed_number_of_inputs_is_not_dealt(tmp_path: Path) -> None:
    session = small.session(tmp_path, "kpp")
    step = step_of(session)
    session.network.group = 16
    assert len(step.dealt(4)) == 1


def test_dealing_takes_chance_out_of_the_gradient(tmp_path: Path) -> None:
    def spread(instances: int) -> float:
        session = small.session(tmp_path, "kpp", settings={"instances": instances}, noise=Variation(Gaussian(0.3)))
        found = []
        for seed in range(30):
            step = step_of(session, seed)
            (loss,) = session.strategy.losses(step)
            found.append(torch.autograd.grad(loss, step.values["w2"])[0])
        return float(torch.stack(found).var(0).sum())

    assert spread(8) < 0.6 * spread(1)


def test_the_size_is_trained_by_weights_and_deviations(tmp_path: Path) -> None:
    step = step_of(session := small.session(tmp_path, "kpp", settings={"width": 1.0}))
    (loss,) = session.strategy.losses(step)
    loss.backward()
    slope = {name: float(size.grad.abs()) for name, size in step.extra.items()}
    # A normalisation follows w1: all that is left of its size would be that deviations do not grow with it.
    assert slope["size of w1"] < 1e-3
    assert slope["size of w2"] > 0.1


def test_a_weight_beyond_its_clamp_can_come_back(tmp_path: Path) -> None:
    step = step_of(session := small.session(tmp_path, "kpp"))
    with torch.no_grad():
        step.values["w2"].view(-1)[0] = 10 * session.strategy.limits["w2"]
    session.strategy.after_step(step.values, step.extra, session.network.noisy)
    session.strategy.intended(step.values, step.extra, 0)["w2"].sum().backward()
    assert float(step.values["w2"].grad.view(-1)[0]) > 0


def test_a_step_counts_as_much_of_the_range_however_small_the_size(tmp_path: Path) -> None:
    step = step_of(session := small.session(tmp_path, "kpp"))
    moved = {n: v + 0.01 for n, v in step.values.items()}

    def share() -> dict[str, torch.Tensor]:
        before, after = (session.strategy.intended(v, step.extra, 0) for v in (step.values, moved))
        return {n: (after[n] - before[n]) / before[n].abs().max() for n in session.network.noisy}

    usual = share()
    for size in step.extra.values():
        size.data -= 4
    for name, small_size in share().items():
        torch.testing.assert_close(small_size, usual[name])


@pytest.mark.parametrize("factor", [0.0, 1e-3])
def test_a_tensor_that_begins_small_can_grow(tmp_path: Path, factor: float) -> None:
    session = small.session(tmp_path, "kpp")
    scene = session.loop.scene
    session.strategy.begin(replace(scene, start={n: factor * v for n, v in scene.start.items()}))
    assert all(limit >= 0.02 for limit in session.strategy.limits.values())


def test_many_weights_share_the_end_of_the_range(tmp_path: Path) -> None:
    start = {"from_scratch": True}
    ours = small.run(small.session(tmp_path, "kpp", settings={"width": 1.0}, plan=start))
    usual = small.run(small.session(tmp_path, "gaussian", plan=start))
    for name in ("w1", "w2"):
        at_end, alone = (int((kept[name].abs() == kept[name].abs().max()).sum()) for kept in (ours, usual))
        assert alone == 1
        assert at_end >= 3


@pytest.mark.parametrize("setting", [{"width": 0}, {"scale": -1}, {"instances": 0}, {"instances": 1.5}])
def test_settings_out_of_range_are_refused(setting: dict) -> None:
    with pytest.raises(KppstatError, match=next(iter(setting))):
        strategy_named("kpp", setting)
