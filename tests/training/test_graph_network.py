from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from kppstat.errors import ModelError
from kppstat.onnx_io import load
from kppstat.training.graph_network import GraphNetwork
from kppstat.training.module_network import ModuleNetwork
from tests.onnx_io import zoo
from tests.training import small

CPU = torch.device("cpu")


@pytest.fixture
def network() -> GraphNetwork:
    return GraphNetwork(small.model(), CPU)


def test_weights_carry_noise_and_biases_and_gains_are_trained_without(network: GraphNetwork) -> None:
    assert network.noisy == ("w1", "w2")
    assert set(network.start) == {"w1", "w2", "b1", "b2", "gamma", "beta"}
    assert set(network.statistics) == {"mean", "var"}


def test_gradients_reach_every_trained_tensor(network: GraphNetwork) -> None:
    x, y = small.data(16)
    values = {n: v.clone().requires_grad_() for n, v in network.start.items()}
    logits, _ = network.run(values, network.statistics, {"x": torch.from_numpy(x)}, training=True)
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(y)).backward()
    assert set(values) == {n for n, v in values.items() if v.grad is not None}
    # The bias before a batch normalisation is taken out again by it.
    assert {n for n, v in values.items() if v.grad.abs().max() > 1e-6} == set(values) - {"b1"}


def test_training_uses_the_statistics_of_the_mini_batch(network: GraphNetwork) -> None:
    x = {"x": torch.from_numpy(small.data(16)[0])}
    moved = {n: s + 1 for n, s in network.statistics.items()}
    in_training = [network.run(network.start, s, x, training=True)[0] for s in (network.statistics, moved)]
    afterwards = [network.run(network.start, s, x, training=False)[0] for s in (network.statistics, moved)]
    assert torch.equal(*in_training)
    assert not torch.allclose(*afterwards)


@pytest.mark.parametrize("of", ["graph", "module"])
def test_measured_statistics_in_the_place_of_those_of_the_mini_batch(of: str, network: GraphNetwork) -> None:
    """With the weights that they were measured with, outputs and gradients are those of the mini-batch's own."""
    module = torch.nn.Sequential(*(m for m in small.module() if not isinstance(m, torch.nn.Dropout)))
    tested = network if of == "graph" else ModuleNetwork(module, CPU)
    images, y = small.data(16)
    x, found = {"x": torch.from_numpy(images)}, []
    for by_hand in (False, True):
        values = {n: v.clone().requires_grad_() for n, v in tested.start.items()}
        measured = tested.measured(values, x) if by_hand else None
        logits, _ = tested.run(values, tested.statistics, x, training=True, measured=measured)
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(y)).backward()
        found.append({"logits": logits.detach(), **{n: v.grad for n, v in values.items()}})
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    others = {n: 2 * v for n, v in tested.start.items()}
    other, _ = tested.run(tested.start, tested.statistics, x, training=True, measured=tested.measured(others, x))
    assert not torch.allclose(other, found[0]["logits"], atol=0.01)


def test_refreshed_statistics_are_those_of_all_inputs(network: GraphNetwork) -> None:
    x = torch.from_numpy(small.data(48)[0])
    statistics = network.refreshed(network.start, [{"x": part} for part in x.split(16)])
    before = torch.nn.functional.conv2d(x, network.start["w1"], network.start["b1"], padding=1)
    torch.testing.assert_close(statistics["mean"], before.mean((0, 2, 3)))
    torch.testing.assert_close(statistics["var"], before.var((0, 2, 3), correction=0))
    # With them the network gives what batch normalisation over all inputs gives.
    torch.testing.assert_close(
        network.run(network.start, statistics, {"x": x}, training=False)[0],
        network.run(network.start, statistics, {"x": x}, training=True)[0],
        rtol=1e-4,
        atol=1e-4,
    )


def test_the_exported_file_gives_the_trained_outputs(tmp_path: Path) -> None:
    session = small.session(tmp_path, "gaussian", plan={"from_scratch": True})
    kept = small.run(session)
    x = small.data()[0]
    wanted, _ = session.network.run(kept, kept, {"x": torch.from_numpy(x)}, training=False)
    (got,) = onnxruntime.InferenceSession(tmp_path / "out.onnx").run(None, {"x": x})
    np.testing.assert_allclose(got, wanted.detach().numpy(), rtol=1e-5, atol=1e-6 * np.abs(got).max())
    constants = load(tmp_path / "out.onnx").graph.constants
    for name, value in kept.items():
        np.testing.assert_array_equal(constants[name], value.detach().numpy())
        assert not np.array_equal(value.detach().numpy(), session.network.model.graph.constants[name]), name


def test_random_weights_have_the_variance_of_he(network: GraphNetwork) -> None:
    drawn = network.random(3)
    assert drawn["gamma"].tolist() == [1] * 4
    assert drawn["b1"].abs().max() == drawn["b2"].abs().max() == drawn["beta"].abs().max() == 0
    wide = np.mean([float(network.random(s)["w2"].square().mean()) for s in range(40)])
    assert wide == pytest.approx(2 / 36, rel=0.1)  # Gemm with transB: 36 products for an output
    wide = np.mean([float(network.random(s)["w1"].square().mean()) for s in range(40)])
    assert wide == pytest.approx(2 / 18, rel=0.1)


def test_sites_are_what_later_layers_read(network: GraphNetwork) -> None:
    sites = network.sites({"x": torch.from_numpy(small.data(4)[0])})
    assert [(s.name, s.shape) for s in sites] == [("p", (4, 3, 3))]


def test_an_operator_that_cannot_be_trained_is_named(tmp_path: Path) -> None:
    proto = zoo.parse(
        "net (float[N, 4] x) => (float[N, 3] y) { h = Det (q)  m = MatMul (x, w)  y = Add (m, h) }",
        w=zoo.draw(4, 3),
        q=zoo.draw(2, 2),
    )
    loaded = load(zoo.save(proto, tmp_path / "det.onnx"))
    if all(n.op != "Det" for n in loaded.graph.nodes):
        pytest.skip("the constant is folded")
    with pytest.raises(ModelError, match="Det"):
        GraphNetwork(loaded, CPU)
