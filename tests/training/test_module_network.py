import copy

import numpy as np
import pytest
import torch
from torch import nn

from kppstat.errors import KppstatError
from kppstat.training import train
from kppstat.training.module_network import ModuleNetwork
from tests.training import small

CPU = torch.device("cpu")


def trained(strategy: str = "gaussian", **settings: object) -> tuple[nn.Module, object]:
    module = small.module()
    plan = {"epochs": 2, "batch": 16, "val_share": 0.25, "instances": 4, "k": 10, "lr": 0.01}
    return module, train(module, strategy, sigma=0.1, data=small.data(), device="cpu", **{**plan, **settings})


def test_a_module_is_trained_in_place_and_reproducibly() -> None:
    small.module()
    state = torch.get_rng_state()
    one, result = trained()
    assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers are used up"
    two, again = trained()
    assert result.best.number > 0
    assert again.best.kpp == result.best.kpp
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one[0].weight, small.module()[0].weight)


def test_only_matrices_of_layers_carry_noise() -> None:
    network = ModuleNetwork(small.module(), CPU)
    assert network.noisy == ("0.weight", "6.weight")
    assert set(network.start) == {"0.weight", "0.bias", "1.weight", "1.bias", "6.weight", "6.bias"}


class Attention(nn.Module):
    """Tokens that look at each other."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        e = self.embedding(x)
        return self.out(self.norm(e + self.attention(e, e, e)[0]).mean(1))


def test_attention_carries_noise_too() -> None:
    network = ModuleNetwork(Attention(), CPU)
    assert network.noisy == ("attention.in_proj_weight", "attention.out_proj.weight", "out.weight")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 7, (64, 5))
    done = train(
        Attention(), "gaussian", sigma=0.05, data=(x, (x == 3).sum(1).clip(0, 2)), device="cpu", epochs=1, instances=2,
        from_scratch=True,
    )  # fmt: skip
    assert np.isfinite(done.best.kpp)


def test_random_matrices_are_drawn_and_vectors_are_gains_or_biases() -> None:
    network = ModuleNetwork(Attention(), CPU)
    drawn = network.random(0)
    for name, value in drawn.items():
        if value.ndim > 1:
            assert float(value.std()) > 0.1, name
        else:
            assert value.unique().tolist() == [1.0 if name == "norm.weight" else 0.0], name


def test_statistics_are_measured_without_touching_the_module() -> None:
    module = small.module()
    before = copy.deepcopy(module.state_dict())
    network = ModuleNetwork(module, CPU)
    x = torch.from_numpy(small.data(48)[0])
    statistics = network.refreshed(network.start, [{"x": part} for part in x.split(16)])
    hidden = module[0](x)
    torch.testing.assert_close(statistics["1.running_mean"], hidden.mean((0, 2, 3)))
    assert module[1].momentum == 0.1
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_batch_normalisation_that_is_called_twice_has_the_mean_of_both_as_its_statistics() -> None:
    norm, generator = nn.BatchNorm1d(4), torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 4), norm, nn.ReLU(), nn.Linear(4, 4), norm)
    network, x = ModuleNetwork(module, CPU), {"x": torch.randn(64, 4, generator=generator)}
    measured, running = network.measured(network.start, x), network.refreshed(network.start, [x])
    torch.testing.assert_close(measured["1.running_mean"], running["1.running_mean"])
    torch.testing.assert_close(measured["1.running_var"], running["1.running_var"] * 63 / 64)  # that is unbiased


def test_every_strategy_trains_a_module() -> None:
    for strategy in ("plain", "irs", "rcg", "kpp"):
        module, result = trained(strategy, epochs=1)
        assert np.isfinite(result.best.kpp)
        assert torch.isfinite(module(torch.from_numpy(small.data()[0]))).all()


def test_what_cannot_be_trained_is_said_in_one_line() -> None:
    with pytest.raises(KppstatError, match="no parameter carries device variation"):
        ModuleNetwork(nn.ReLU(), CPU)
    with pytest.raises(KppstatError, match="cannot be run on the data"):
        train(small.module(), "plain", sigma=0.1, data=(np.zeros((40, 5), np.float32), np.zeros(40, int)), device="cpu")
    with pytest.raises(KppstatError, match="must be a pair"):
        train(small.module(), "plain", sigma=0.1, data=np.zeros(3), device="cpu")
