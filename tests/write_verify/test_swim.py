from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch

from kppstat import data
from kppstat.errors import ModelError
from kppstat.onnx_io import Model, load
from kppstat.worst_case.network import Network
from kppstat.write_verify import curvature

ONE_PATH = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2] x) => (float[N, 3] y)
<float[2, 3] a = {1, -0.5, 0.3, 0.2, 0.8, -1}> { y = MatMul(x, a) }"""
CHAIN = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 1, 4, 4] x) => (float[N, 2] y)
<float[2, 1, 3, 3] k = {1, -0.5, 0.3, 0.2, 0.8, -1, 0.1, 0.4, -0.6, -1, 0.5, 0.3, 0.2, -0.8, 1, 0.1, -0.4, 0.6},
 float[2] s = {1.5, 0.5}, float[2] b = {0.1, -0.1}, float[2] m = {0, 0.2}, float[2] v = {1, 2},
 float[2, 2] w = {1, -1, 0.5, 0.7}>
{ c = Conv <pads = [1, 1, 1, 1]> (x, k)
  n = BatchNormalization(c, s, b, m, v)
  r = Relu(n)
  d = Add(r, c)
  g = GlobalAveragePool(d)
  f = Flatten(g)
  y = MatMul(f, w) }"""


def network(text: str, folder: Path, x: np.ndarray) -> tuple[Model, Network]:
    onnx.save(onnx.parser.parse_model(text), folder / "net.onnx")
    model = load(folder / "net.onnx")
    dataset = data.from_arrays({"x": x}, np.zeros(len(x), int), model)
    assert dataset.targets is not None
    return model, Network(model, dataset, dataset.targets, [w.name for w in model.weights])


def test_the_last_layer_has_its_exact_hessian(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    _, net = network(ONE_PATH, tmp_path, x)

    def loss(u: torch.Tensor) -> torch.Tensor:
        logits = torch.from_numpy(x) @ net.weights(u)["a"]
        return torch.nn.functional.cross_entropy(logits, net.targets)

    exact = torch.autograd.functional.hessian(loss, net.start()).diagonal()
    torch.testing.assert_close(curvature(net), exact)
    assert net.passes == 1


def test_squares_go_back_through_every_kind_of_operator(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(1, 1, 4, 4)).astype(np.float32)
    model, net = network(CHAIN, tmp_path, x)
    found = dict(zip(net.slices, (curvature(net)[s] for s in net.slices.values()), strict=True))
    # The recursion by hand: squares of derivatives along each path, from p (1 - p) at the logits.
    k, w, s, v = (torch.from_numpy(model.graph.constants[n].copy()) for n in ("k", "w", "s", "v"))
    c = torch.nn.functional.conv2d(torch.from_numpy(x), k, padding=1)
    gain = s / (v + 1e-5).sqrt()
    normal = (c - torch.tensor([0, 0.2])[:, None, None]) * gain[:, None, None] + torch.tensor([0.1, -0.1])[
        :, None, None
    ]
    features = (normal.relu() + c).mean((2, 3))
    p = torch.softmax(features @ w, 1)[0]
    h = p * (1 - p)
    torch.testing.assert_close(found["w"], (features[0][:, None] ** 2 * h * 1.0).reshape(-1))
    at_pixels = (w**2 @ h)[:, None, None] / 16**2 * (1 + (normal[0] > 0) * gain[:, None, None] ** 2)
    patches = torch.nn.functional.unfold(torch.from_numpy(x) ** 2, 3, padding=1)[0]
    torch.testing.assert_close(found["k"], (at_pixels.reshape(2, 16) @ patches.T).reshape(-1))


def test_an_operator_without_a_rule_is_named(tmp_path: Path) -> None:
    text = ONE_PATH.replace("y = MatMul(x, a)", "h = Softmax(x) y = MatMul(h, a)")
    _, net = network(text, tmp_path, np.ones((2, 2), np.float32))
    curvature(net)  # nothing that deviates lies before it
    text = ONE_PATH.replace("y = MatMul(x, a)", "h = MatMul(x, a) t = LpNormalization(h) y = Relu(t)")
    _, net = network(text, tmp_path, np.ones((2, 2), np.float32))
    with pytest.raises(ModelError, match="no rule for LpNormalization"):
        curvature(net)
