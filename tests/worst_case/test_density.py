"""The densest chips: of linear networks the worst of them is known exactly."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from scipy.stats import chi2

from kppstat import data
from kppstat.errors import KppstatError
from kppstat.noise import (
    Correlated,
    FourLevel,
    Gaussian,
    LogNormal,
    Mask,
    Proportional,
    RightCensored,
    Selective,
    Table,
    Variation,
    instance_normals,
)
from kppstat.onnx_io import Model, load
from kppstat.worst_case import METHODS, Attack, probability, worst
from kppstat.worst_case.region import spread

TWO = """<ir_version: 8, opset_import: ["" : 17]>
linear (float[N, 3] x) => (float[N, 2] y)
<float[3, 2] w = {1, -1, 2, -2, 0.5, -0.5}, float[3, 2] v = {-0.5, 0.25, 0.5, 0.25, 0.5, 0.5}>
{ a = MatMul(x, w) b = MatMul(x, v) y = Add(a, b) }"""
W = np.array([-1.0, -0.4, 0.0, 0.3, 0.8])
VARIATION = Variation(Gaussian(0.1), {"v": Proportional(0.2)})


@pytest.fixture
def model(tmp_path: Path) -> Model:
    onnx.save(onnx.parser.parse_model(TWO), tmp_path / "two.onnx")
    return load(tmp_path / "two.onnx")


def distances(model: Model, x: np.ndarray) -> np.ndarray:
    """How many standard deviations away each input of class 0 is lost: its margin over the margin's own spread."""
    values, out = model.values(), []
    for row in x:
        margin = sum(float(row @ (values[n][:, 0] - values[n][:, 1])) for n in ("w", "v"))
        sd = {n: np.sqrt(VARIATION.of(n).moments(values[n].astype(np.float64))[1]) for n in ("w", "v")}
        out.append(margin / np.sqrt(sum(np.square(sd[n] * row[:, None]).sum() for n in ("w", "v"))))
    return np.array(out)


@pytest.mark.parametrize("method", ["ours", "pgd", "fgsm"])
def test_one_input_is_lost_at_its_distance_and_not_before(method: str, model: Model) -> None:
    x = np.array([[1.0, 2.0, 0.5]], np.float32)
    inputs = data.from_arrays({"x": x}, np.array([0]), model)
    edge = distances(model, x)[0] / np.sqrt(12)
    passes = 40 if method == "pgd" else 20
    near, far = (
        worst(model, part * edge, norm="density", noise=VARIATION, data=inputs, method=method, passes=passes)
        for part in (0.99, 1.03)
    )
    assert (near.performance_worst, far.performance_worst) == (1, 0)
    assert near.reached <= near.bound


def test_inputs_at_right_angles_are_lost_no_sooner_than_their_squared_distances_add_up(model: Model) -> None:
    x = np.diag([3.0, 1.0, 2.0]).astype(np.float32)
    inputs = data.from_arrays({"x": x}, np.zeros(3, int), model)
    squares = np.sort(distances(model, x)) ** 2
    edges = np.sqrt(np.cumsum(squares) / 12)
    for lost, edge in enumerate(edges):
        found = worst(model, 0.99 * edge, norm="density", noise=VARIATION, data=inputs, passes=60)
        assert found.performance_worst >= 1 - lost / 3 - 1e-9
    found = worst(model, 1.1 * edges[-1], norm="density", noise=VARIATION, data=inputs, passes=60)
    assert found.performance_worst == 0


@pytest.mark.parametrize("method", METHODS)
def test_stored_weights_are_as_dense_as_asked(method: str, lenet: Model, few: data.Dataset) -> None:
    variation = Variation(FourLevel(0.05, "FeFET2"), {"layers.0.*": Gaussian(0.0)})
    found = worst(lenet, 0.05, norm="density", noise=variation, data=few, method=method, passes=3)
    assert "layers.0.weight" not in found.layers  # no variation
    squares, count = 0.0, 0
    for name, stored in found.weights.items():
        w = lenet.graph.constants[name].astype(np.float64)
        squares += float((np.square(stored - w) / variation.of(name).moments(w)[1]).sum())
        count += w.size
    assert np.sqrt(squares / count) <= 0.05
    assert found.reached == pytest.approx(np.sqrt(squares / count))
    assert found.reached > 0.04 or found.performance_worst == found.clean
    assert f"exp(-{count * 0.05**2 / 2:.4g})" in found.summary()


def test_the_share_of_chips_that_dense_is_that_of_samples(model: Model) -> None:
    inputs = data.from_arrays({"x": np.eye(3, dtype=np.float32)}, np.zeros(3, int), model)
    attack = Attack(model, 1.1, norm="density", noise=VARIATION, data=inputs, method="fgsm")
    for _ in attack.states():
        pass
    found = probability(attack, VARIATION, instances=20)
    assert found.within == pytest.approx(chi2.cdf(12 * 1.1**2, 12))
    assert probability(attack, Variation(Gaussian(0.1)), instances=20).within is None  # the density of another law
    inside = []
    for i in range(4000):
        chip = {}
        for position, (name, w) in enumerate(model.values().items()):
            law = VARIATION.of(name)
            chip[name] = law.weights(w, instance_normals(law, 0, i, position, w.shape))
        inside.append(attack.region.reach(attack.region.deviations(model.values(), chip)) <= 1.1)
    assert np.mean(inside) == pytest.approx(found.within, abs=6 * 0.5 / np.sqrt(4000))


def test_only_normal_deviations_of_weights_have_a_density() -> None:
    masked = Selective(Gaussian(0.1), Proportional(0.2), Mask.of(W > 0))
    for law in (Gaussian(0.1), Proportional(0.2), FourLevel(0.1, "RRAM4"), masked):
        found = spread(law, W)
        assert found is not None
        np.testing.assert_allclose(found**2, law.moments(W)[1])
    shifted = Table((-1.0, 1.0), (-0.9, 1.1), (0.1, 0.1))
    for law in (LogNormal(0.1), RightCensored(0.1, 1.0), Correlated(Gaussian(0.1), row=0.5), shifted):
        assert spread(law, W) is None


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "--sigma, --noise-file"),
        ({"sigma": 0.0}, "--norm density"),
        ({"noise": Variation(LogNormal(0.1))}, "--norm density"),
        ({"noise": Variation(Gaussian(0.1), {"fc*": Gaussian(0.2)})}, "--noise-file"),
        ({"sigma": 0.1, "norm": "l2"}, "--norm l2"),
    ],
)
def test_bad_questions_name_the_option(settings: dict, named: str, lenet: Model, few: data.Dataset) -> None:
    with pytest.raises(KppstatError) as caught:
        Attack(lenet, 0.1, **{"norm": "density", "data": few, **settings})
    assert caught.value.where == named
