import numpy as np
import pytest
import torch

from kppstat.data import Dataset
from kppstat.noise import Gaussian, Variation
from kppstat.onnx_io import Model
from kppstat.worst_case.network import FORWARD, Network
from kppstat.worst_case.objectives import hinge, smooth, towards
from kppstat.worst_case.region import Norm, Region

OBJECTIVES = {"margin": hinge(1.0), "towards": towards(3, 2.0), "smooth": smooth(2.0)}


@pytest.fixture
def network(lenet: Model, few: Dataset) -> Network:
    assert few.targets is not None
    return Network(lenet, few, few.targets, [w.name for w in lenet.weights], budget=10)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_agree_with_finite_differences(name: str, network: Network) -> None:
    rows = np.arange(40)
    labels = network.targets[:40]
    generator = torch.Generator().manual_seed(1)
    u = 0.01 * torch.randn(network.size, generator=generator)
    gradient, _ = network.gradient(u, OBJECTIVES[name], rows)

    def value(at: torch.Tensor) -> float:
        weights = network.weights(at.double())
        logits = torch.cat([network._logits(weights, part) for part in network.batches(rows)])
        return float(OBJECTIVES[name](logits.double(), labels).sum())

    # Along the gradient of each tensor, where the slope is far above the rounding of float32.
    for part in network.slices.values():
        direction = torch.zeros(network.size)
        direction[part] = gradient[part] / gradient[part].norm()
        step = 2e-4
        slope = (value(u + step * direction) - value(u - step * direction)) / (2 * step)
        assert slope == pytest.approx(float(gradient[part].norm()), rel=0.03)


def test_cost_is_counted_pro_rata(network: Network) -> None:
    u = network.start()
    network.margins(u)
    assert network.passes == pytest.approx(FORWARD)
    network.gradient(u, hinge(), np.arange(30))
    assert network.passes == pytest.approx(FORWARD + 0.1)
    rows = np.arange(30, 60)
    np.testing.assert_allclose(network.margins(u, rows), network.margins(u)[rows], rtol=1e-5, atol=1e-5)
    assert network.passes == pytest.approx(FORWARD + 0.1 + 1.1 * FORWARD)


@pytest.mark.parametrize("norm", ["linf", "l2", "density"])
def test_projection_is_the_nearest_point(norm: Norm, network: Network) -> None:
    region = Region(0.1, norm, Variation(Gaussian(0.1)) if norm == "density" else None)
    u = torch.randn(network.size, generator=torch.Generator().manual_seed(2))
    inside = network.project(u, region)
    assert region.reach(network.split(inside)) <= 0.1 * (1 + 1e-6)
    assert torch.allclose(network.project(inside, region), inside)
    # The nearest point of a convex set: no point of the set lies on the far side (Kolmogorov's criterion).
    other = network.project(torch.randn(network.size, generator=torch.Generator().manual_seed(3)), region)
    assert float(((u - inside) * (other - inside)).sum()) <= 1e-3


def test_the_rarest_class_may_be_one_that_no_input_has(network: Network) -> None:
    network.targets = torch.tensor([0] * 40 + [1] * 30 + [c for c in range(2, 9) for _ in range(10)])[: len(network)]
    before = network.passes
    assert network.rarest() == (9, 0.0)
    assert before < network.passes < before + 0.01
