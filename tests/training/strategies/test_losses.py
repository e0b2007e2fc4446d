"""The losses of strategies, against values computed by hand or in another way."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kppstat.errors import KppstatError
from kppstat.training import Session, strategies, strategy_named
from kppstat.training.strategies import Step
from kppstat.training.strategies.adversarial_rcg import margin
from kppstat.training.strategies.clip import clip_to
from kppstat.training.strategies.correctnet import orthogonality
from kppstat.training.strategies.negative_feedback import feedback
from kppstat.training.strategies.rcg_controls import censored_mean
from tests.training import small

CROSS_ENTROPY = torch.nn.functional.cross_entropy


def step_of(session: Session, seed: int = 0, member: int = 0) -> Step:
    inputs, targets = session.examples.batch(session.examples.train[:16])
    m = session.loop.members[member]
    generator = torch.Generator().manual_seed(seed)
    return Step(session.scene, m.values, m.extra, inputs, targets, session.objective, generator, member, 0.0)


def watched(session: Session) -> list[dict[str, torch.Tensor]]:
    """Remember the weights of every pass through the network."""
    passes: list[dict[str, torch.Tensor]] = []
    run = session.network.run

    def remember(values, statistics, inputs, **options):
        passes.append({n: v.detach().clone() for n, v in values.items()})
        return run(values, statistics, inputs, **options)

    session.network.run = remember
    return passes


def test_feedback_by_hand() -> None:
    # logits (2, 0), others (1, 1), (0, 1), (3, 0); beta 0.5: (2 - .5 - 0 - .015, 0 - .5 - .05 - 0) / 4
    others = [torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0, 0.0]])]
    fed = feedback(torch.tensor([[2.0, 0.0]]), others, 0.5)
    torch.testing.assert_close(fed, torch.tensor([[0.37125, -0.1375]]))
    assert float(CROSS_ENTROPY(fed, torch.tensor([0]))) == pytest.approx(math.log1p(math.exp(-0.50875)), abs=1e-6)


def test_ovf_loss_by_hand(tmp_path: Path) -> None:
    session = small.session(tmp_path, "ovf", settings={"beta": 0.3})
    step = step_of(session)
    (loss,) = session.strategy.losses(step)
    again = step_of(session)
    found = []
    for offset in (0.0, 0.15, 0.10, 0.05):
        values = dict(again.values)
        for name in session.network.noisy:
            w = again.values[name]
            z = torch.randn(w.numel(), generator=again.generator).reshape(w.shape)
            values[name] = w + (0.1 + 0.77763 * offset) * w.detach().abs().max() * z
        found.append(again.run(values)[0])
    wanted = CROSS_ENTROPY((found[0] - 0.3 * (found[1] + found[2] / 10 + found[3] / 100)) / 4, step.targets)
    torch.testing.assert_close(loss, wanted)


def test_larger_variation_reaches_every_layer(tmp_path: Path) -> None:
    session = small.session(tmp_path, "ovf")
    passes = watched(session)
    list(session.strategy.losses(step_of(session)))
    assert len(passes) == 4
    for name in session.network.noisy:
        w = session.scene.start[name]
        sizes = [float((p[name] - w).square().mean().sqrt() / w.abs().max()) for p in passes]
        for size, offset in zip(sizes, (0, 0.15, 0.10, 0.05), strict=True):
            assert size == pytest.approx(0.1 + 0.77763 * offset, rel=0.35), name


def test_irs_loss_by_hand(tmp_path: Path) -> None:
    session = small.session(tmp_path, "irs", settings={"beta": 0.2, "hidden": 5})
    step = step_of(session)
    (loss,) = session.strategy.losses(step)
    again = step_of(session)
    output, kept = again.run(again.programmed(), keep=["p"])
    noisy = {}
    for layer in (0, 1):
        w = again.extra[f"head 0 weight {layer}"]
        z = torch.randn(w.numel(), generator=again.generator).reshape(w.shape)
        noisy[layer] = w + 0.1 * w.detach().abs().max() * z
    hidden = torch.relu(kept["p"].flatten(1) @ noisy[0].T + again.extra["head 0 bias 0"])
    head = hidden @ noisy[1].T + again.extra["head 0 bias 1"]
    torch.testing.assert_close(loss, CROSS_ENTROPY((output - 0.2 * head) / 2, step.targets))


def test_heads_are_trained_and_dropped_at_export(tmp_path: Path) -> None:
    session = small.session(tmp_path, "irs", settings={"at": "p"}, epochs=1)
    before = {n: v.detach().clone() for n, v in session.loop.members[0].extra.items()}
    kept = small.run(session)
    assert set(kept) == {*session.network.start, *session.network.statistics}
    assert all(not torch.equal(before[n], v) for n, v in session.loop.members[0].extra.items())


def test_a_head_that_cannot_be_placed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KppstatError, match="no head can read 'nowhere'"):
        small.session(tmp_path, "irs", settings={"at": "nowhere"})


@pytest.mark.parametrize("name", sorted(strategies()))
def test_gradients_reach_every_weight(name: str, tmp_path: Path) -> None:
    session = small.session(tmp_path, name)
    step = step_of(session)
    total = dict.fromkeys(session.network.noisy, 0.0)
    for loss in session.strategy.losses(step):
        assert loss.ndim == 0
        assert torch.isfinite(loss)
        loss.backward()
    for tensor in total:
        gradient = step.values[tensor].grad
        assert float((gradient.abs() > 0).float().mean()) > 0.8, tensor


NOISELESS = {"plain", "correctnet", "rcg-mean-only"}


@pytest.mark.parametrize("name", sorted(set(strategies()) - NOISELESS))
def test_noise_reaches_every_layer_and_nothing_digital(name: str, tmp_path: Path) -> None:
    session = small.session(tmp_path, name)
    clean = session.strategy.intended(session.loop.members[0].values, session.loop.members[0].extra, 0)
    passes = watched(session)
    list(session.strategy.losses(step_of(session)))
    last = passes[-1]
    for tensor, w in clean.items():
        moved = float((last[tensor] != w).float().mean())
        assert moved > 0.9 if tensor in session.network.noisy else moved == 0, tensor


def test_draws_differ_from_one_mini_batch_to_the_next(tmp_path: Path) -> None:
    session = small.session(tmp_path, "gaussian")
    step = step_of(session)
    assert not torch.equal(step.programmed()["w1"], step.programmed()["w1"])


def test_orthogonality_of_convolutions_is_that_of_their_spatial_kernels() -> None:
    w = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    wanted = sum(
        float(((kernel.T @ kernel - np.eye(3)) ** 2).sum()) for kernel in w.numpy().reshape(-1, 3, 3).astype(np.float64)
    )
    assert float(orthogonality(w, 1.0)) == pytest.approx(wanted, rel=1e-5)


def test_correctnet_loss_by_hand(tmp_path: Path) -> None:
    session = small.session(tmp_path, "correctnet", settings={"beta": 0.1})
    step = step_of(session)
    (loss,) = session.strategy.losses(step)
    penalty = orthogonality(step.values["w1"], 1.0) + orthogonality(step.values["w2"], 1.0)
    torch.testing.assert_close(loss, CROSS_ENTROPY(step.run(step.values)[0], step.targets) + 0.1 * penalty)


def test_clipping_is_at_a_multiple_of_the_root_mean_square() -> None:
    values = {"w": torch.tensor([3.0, -4.0, 0.5, 0.0]), "b": torch.tensor([9.0])}
    limit = 1.5 * math.sqrt((9 + 16 + 0.25) / 4)
    clip_to(values, ["w"], 1.5)
    assert values["w"].tolist() == pytest.approx([3.0, -limit, 0.5, 0.0])
    assert values["b"].tolist() == [9.0]


def test_randbet_quantises_and_flips_bits(tmp_path: Path) -> None:
    session = small.session(tmp_path, "randbet", settings={"probability": 0.2})
    step = step_of(session)
    easy = replace(step, targets=step.run(step.values)[0].argmax(1))  # errors come once the loss is low
    passes = watched(session)
    list(session.strategy.losses(easy))
    quantised, flipped = passes
    for name in session.network.noisy:
        w = session.scene.start[name]
        level = float(w.max() - w.min()) / 255
        assert float((quantised[name] - w).abs().max()) <= 0.51 * level
        levels = (flipped[name] - w.min()) / level
        assert float((levels - levels.round()).abs().max()) < 0.01
        assert float((flipped[name] != quantised[name]).float().mean()) > 0.5
        assert float((flipped[name] - quantised[name]).abs().max()) > 100 * level


def test_randbet_averages_a_plain_gradient_and_a_clipped_one(tmp_path: Path) -> None:
    session = small.session(tmp_path, "randbet", settings={"probability": 0.2})
    step = step_of(session)
    easy = replace(step, targets=step.run(step.values)[0].argmax(1))
    passes = watched(session)
    (loss,) = session.strategy.losses(easy)
    loss.backward()
    clipped = 0
    slopes = []
    for values in list(passes):  # each pass below is one more
        leaves = {n: v.requires_grad_() for n, v in values.items()}
        easy.loss(leaves).backward()
        slopes.append({n: leaves[n].grad for n in session.network.noisy})
    for name in session.network.noisy:
        clean, flipped = (s[name] for s in slopes)
        clipped += int((flipped.abs() > 0.05).sum())
        torch.testing.assert_close(step.values[name].grad, (clean + flipped.clamp(-0.05, 0.05)) / 2)
    assert clipped > 10


def test_randbet_waits_until_the_loss_is_low(tmp_path: Path) -> None:
    session = small.session(tmp_path, "randbet")
    step = step_of(session)
    hard = replace(step, targets=step.run(step.values)[0].argmin(1))
    passes = watched(session)
    list(session.strategy.losses(hard))
    assert len(passes) == 1


def test_the_margin_counts_only_where_the_answer_is_right() -> None:
    logits = torch.tensor([[3.0, 1.0, -1.0], [0.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    assert float(margin(logits, torch.tensor([0, 0, 1]))) == 2.0


def test_the_adversarial_step_lowers_the_margin_and_stays(tmp_path: Path) -> None:
    session = small.session(tmp_path, "adversarial-rcg", settings={"step": 0.2})
    step = step_of(session)
    passes = watched(session)
    losses = session.strategy.losses(step)
    next(iter(losses))
    centre, attacked = passes[0], passes[1]
    sigma = session.strategy.interval.candidates[0]
    for name in session.network.noisy:
        w = session.scene.start[name]
        torch.testing.assert_close(centre[name], w + censored_mean(1.0) * sigma * w.abs().max())
        move = (attacked[name] - centre[name]).abs() / w.abs().max()
        assert float(move.max()) == pytest.approx(0.2 * 0.1, rel=1e-3)
    network, inputs, labels = session.network, step.inputs, step.targets
    before, after = (network.run(p, network.statistics, inputs, training=True)[0] for p in (centre, attacked))
    assert float(margin(after, labels)) < float(margin(before, labels))


def test_the_adversary_sees_the_statistics_of_the_mini_batch(tmp_path: Path) -> None:
    """Those of the network as it was given are of other weights once training has begun."""
    attacked = []
    for shift in (0.0, 2.0):
        session = small.session(tmp_path, "adversarial-rcg")
        session.network.statistics = {n: s + shift for n, s in session.network.statistics.items()}
        passes = watched(session)
        next(iter(session.strategy.losses(step_of(session))))
        attacked.append(passes[1])
    assert all(torch.equal(attacked[0][n], attacked[1][n]) for n in session.network.noisy)


def test_strategies_say_what_they_are() -> None:
    for name, cls in strategies().items():
        assert strategy_named(name).to_dict()["strategy"] == name
        assert cls.__doc__
