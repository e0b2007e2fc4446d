from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kppstat.training import Session, strategies
from kppstat.training.precision import fast_precision, products_in, raised
from tests.training import small
from tests.training.strategies.test_losses import step_of

CPU = torch.device("cpu")


def lowered(session: Session) -> Session:
    """Let products be computed in bfloat16, which the CPU can do as well."""
    session.loop.scene = session.scene = replace(session.scene, precision=torch.bfloat16)
    return session


def test_products_alone_are_lowered() -> None:
    a, b = torch.randn(4, 5), torch.randn(5, 3)
    with products_in(torch.bfloat16, CPU):
        product, total = a @ b, a + 1
    assert (product.dtype, total.dtype) == (torch.bfloat16, torch.float32)
    assert raised(product).dtype == torch.float32
    assert raised(torch.zeros(2, dtype=torch.int64)).dtype == torch.int64
    torch.testing.assert_close(raised(product), a @ b, rtol=0.02, atol=0.05)


def test_float32_changes_no_bit() -> None:
    a, b = torch.randn(40, 50), torch.randn(50, 30)
    with products_in(torch.float32, CPU):
        product = a @ b
    assert torch.equal(product, a @ b)
    assert raised(product) is product


def test_a_cpu_trains_in_float32(tmp_path: Path) -> None:
    assert fast_precision(CPU) == torch.float32
    assert small.session(tmp_path).scene.precision == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_trains_in_mixed_precision(tmp_path: Path) -> None:
    session = small.session(tmp_path, "kpp", device="cuda", plan={"from_scratch": True}, epochs=8)
    assert session.scene.precision == fast_precision(torch.device("cuda"))
    assert all(v.dtype == torch.float32 for v in small.run(session).values())
    assert session.loop.best.kpp > session.loop.history[0].kpp + 0.2


@pytest.mark.parametrize("strategy", sorted(strategies()))
def test_losses_and_gradients_are_float32_and_near_those_of_full_precision(strategy: str, tmp_path: Path) -> None:
    found = {}
    for precision in (torch.float32, torch.bfloat16):
        session = small.session(tmp_path, strategy)
        session.scene = replace(session.scene, precision=precision)
        step = step_of(session)
        loss = torch.stack(list(session.strategy.losses(step))).sum()
        loss.backward()
        assert loss.dtype == step.values["w1"].grad.dtype == torch.float32
        found[precision] = loss.detach()
    one, other = found.values()
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=0.1, atol=0.1)


def test_training_in_mixed_precision_helps(tmp_path: Path) -> None:
    session = lowered(small.session(tmp_path, "kpp", plan={"from_scratch": True}, epochs=8))
    assert all(v.dtype == torch.float32 for v in small.run(session).values())
    assert session.loop.best.kpp > session.loop.history[0].kpp + 0.2
