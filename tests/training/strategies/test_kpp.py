from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.errors import KppstatError
from kppstat.training import strategy_named
from kppstat.training.strategies.kpp import worst
from tests.training import small
from tests.training.strategies.test_losses import step_of


@settings(max_examples=40, deadline=None)
@given(losses=st.lists(st.floats(0, 10), min_size=1, max_size=9), tail=st.floats(0, 1))
def test_the_worst_draws_cost_at_least_as_much_as_all(losses: list[float], tail: float) -> None:
    found, values = float(worst(torch.tensor(losses), tail)), torch.tensor(losses)
    assert float(values.mean()) - 1e-5 <= found <= float(values.max()) + 1e-5


def test_loss_by_hand(tmp_path: Path) -> None:
    session = small.session(tmp_path, "kpp", settings={"draws": 3, "tail": 0.34, "width": 1.2})
    step = step_of(session)
    (loss,) = session.strategy.losses(step)
    again, found = step_of(session), []
    for _ in range(3):
        values = dict(again.values)
        for name in session.network.noisy:
            w = again.values[name].detach()
            limit = 1.2 * float(w.square().mean().sqrt())
            z = torch.randn(w.numel(), generator=again.generator).reshape(w.shape)
            clamped = w.clamp(-limit, limit)
            values[name] = clamped + 0.1 * float(clamped.abs().max()) * z
        found.append(torch.nn.functional.cross_entropy(again.run(values)[0], again.targets))
    torch.testing.assert_close(loss, max(found))


def test_the_range_is_trained_by_its_ends_and_by_every_deviation(tmp_path: Path) -> None:
    session = small.session(tmp_path, "kpp", settings={"width": 1.0})
    step = step_of(session)
    (loss,) = session.strategy.losses(step)
    loss.backward()
    assert all(float(limit.grad.abs()) > 0 for limit in step.extra.values())


def test_many_weights_share_the_end_of_the_range(tmp_path: Path) -> None:
    start = {"from_scratch": True}
    ours = small.run(small.session(tmp_path, "kpp", settings={"width": 1.0, "averaging": 0}, plan=start))
    usual = small.run(small.session(tmp_path, "gaussian", plan=start))
    for name in ("w1", "w2"):
        at_end, alone = (int((kept[name].abs() == kept[name].abs().max()).sum()) for kept in (ours, usual))
        assert alone == 1
        assert at_end >= 3


def test_the_average_is_kept_and_not_the_last_weights(tmp_path: Path) -> None:
    session = small.session(tmp_path, "kpp", plan={"from_scratch": True})
    kept = small.run(session)
    member = session.loop.members[0]
    assert not torch.equal(kept["b2"], member.values["b2"])
    assert torch.allclose(kept["b2"], member.values["b2"], atol=0.3)


@pytest.mark.parametrize("setting", [{"width": 0}, {"draws": 0}, {"tail": 2}, {"averaging": 1}, {"draws": 1.5}])
def test_settings_out_of_range_are_refused(setting: dict) -> None:
    with pytest.raises(KppstatError, match=next(iter(setting))):
        strategy_named("kpp", setting)
