import numpy as np
import onnx
import onnx.parser
import pytest
from scipy.special import ndtr

from kppstat import data
from kppstat.data import Dataset
from kppstat.errors import SettingError
from kppstat.onnx_io import Model, load
from kppstat.worst_case import Attack, design_point

LINEAR = """<ir_version: 8, opset_import: ["" : 17]>
linear (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w = {1, -1, 2, -2, 0.5, -0.5}> { y = MatMul(x, w) }"""


@pytest.fixture(scope="module")
def attack(lenet: Model, few: Dataset) -> Attack:
    hundred = data.from_arrays({n: a[:100] for n, a in few.inputs.items()}, few.targets[:100], lenet)  # type: ignore[index]
    attack = Attack(lenet, 0.01, data=hundred, passes=8)
    for _ in attack.states():
        pass
    return attack


def test_a_linear_network_has_the_distance_of_its_hyperplane(tmp_path) -> None:  # type: ignore[no-untyped-def]
    onnx.save(onnx.parser.parse_model(LINEAR), tmp_path / "linear.onnx")
    model = load(tmp_path / "linear.onnx")
    x = np.array([[1.0, 2.0, 0.5]], np.float32)
    attack = Attack(model, 3.0, data=data.from_arrays({"x": x}, np.array([0]), model), passes=30)
    for _ in attack.states():
        pass
    assert attack.worst == 0
    point = design_point(attack, 0.1)
    assert point is not None
    # The margin is x.(w0 - w1); under dw = 0.1 * 2 * z it is normal, so its tail is exact: FORM is right here.
    weights = model.values()["w"]
    margin = float((x[0] * (weights[:, 0] - weights[:, 1])).sum())
    exact = margin / (0.1 * 2 * np.sqrt(2 * np.square(x).sum()))
    assert point.beta == pytest.approx(exact, rel=0.03)
    assert point.beta >= exact * (1 - 1e-6)
    assert point.beta <= point.beta_attack
    assert point.tail == pytest.approx(float(ndtr(-point.beta)))


def test_the_point_is_exhibited_and_nearer_than_the_attack(attack: Attack) -> None:
    point = design_point(attack, 0.03, 0.8)
    assert point is not None
    assert point.performance <= 0.8
    assert point.beta < 0.7 * point.beta_attack
    assert point.guarantee == "none"
    stored = {
        n: attack.model.values()[n] + 0.03 * point.beta * abs(attack.model.values()[n]).max() * d
        for n, d in point.direction.items()
    }
    assert attack.certifier.accuracy({n: w.astype(np.float32) for n, w in stored.items()}) <= 0.8 + 1 / 100
    assert sum(np.square(d.astype(np.float64)).sum() for d in point.direction.values()) == pytest.approx(1, rel=1e-4)
    assert "guarantee none" in point.summary()


def test_lower_limits_and_smaller_sigmas_are_further(attack: Attack) -> None:
    near, far = (design_point(attack, sigma, limit) for sigma, limit in ((0.03, 0.85), (0.015, 0.5)))
    assert near is not None
    assert far is not None
    assert far.beta > 2 * near.beta


@pytest.mark.parametrize(
    ("sigma", "limit", "named"), [(0.0, 0.5, "--sigma"), (0.1, 1.0, "--limit"), (0.1, -1, "--limit")]
)
def test_bad_questions_name_the_option(sigma: float, limit: float, named: str, attack: Attack) -> None:
    with pytest.raises(SettingError) as caught:
        design_point(attack, sigma, limit)
    assert caught.value.where == named
