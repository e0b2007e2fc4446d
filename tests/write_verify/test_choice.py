from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import kppstat
from kppstat.data import Dataset
from kppstat.engine import Evaluator
from kppstat.errors import KppstatError, NoiseError
from kppstat.noise import Gaussian, Variation, WriteVerify, read
from kppstat.onnx_io import Model
from kppstat.performance import Top1
from kppstat.write_verify import METHODS, Selection, select
from tests.prediction.made import made

SIGMA = 0.1


@pytest.fixture(scope="module")
def chosen(lenet: Model, few: Dataset) -> dict[str, Selection]:
    return {m: select(lenet, 0.05, 0.01, sigma=SIGMA, data=few, method=m, passes=8) for m in METHODS}  # type: ignore[arg-type]


def mean(model: Model, variation: Variation, data: Dataset) -> float:
    evaluator = Evaluator(model, variation, data, Top1(), seed=5)
    evaluator.fit(evaluator.outputs(None))
    assert evaluator.targets is not None
    return float(np.mean([evaluator.performance.scores(evaluator.outputs(i), evaluator.targets) for i in range(16)]))


def test_sensitive_weights_are_worth_more_than_large_or_random_ones(
    chosen: dict[str, Selection], lenet: Model, few: Dataset
) -> None:
    found = {m: mean(lenet, s.variation, few) for m, s in chosen.items()}
    none = mean(lenet, Variation(Gaussian(SIGMA)), few)
    assert min(found["ours"], found["swim"]) > max(found["magnitude"], found["random"], none) + 0.05
    assert found["ours"] > found["swim"] - 0.01


@pytest.mark.parametrize("method", METHODS)
def test_the_share_is_met_and_the_cost_counted(chosen: dict[str, Selection], method: str) -> None:
    selection = chosen[method]
    assert selection.count == round(0.05 * selection.weights)
    assert sum(a for a, _ in selection.by_tensor.values()) == selection.count
    assert sum(b for _, b in selection.by_tensor.values()) == selection.weights
    assert selection.passes == pytest.approx({"ours": 8, "swim": 1}.get(method, 0), abs=0.5)
    assert selection.evaluations == pytest.approx(3 * selection.passes)
    assert f"{selection.count:,} of" in selection.summary()


@pytest.mark.parametrize("inputs", [1, 5, 9, 20])
def test_few_inputs_do_not_overrun_the_budget(lenet: Model, few: Dataset, inputs: int) -> None:
    selection = select(lenet, 0.05, 0.01, sigma=SIGMA, data=few.part(np.arange(inputs)), passes=7.5)
    assert 4 < selection.passes <= 7.5


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_of_zeros_is_never_worth_verifying(method: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "zeros"], ["a"]),
        helper.make_node("MatMul", ["x", "w"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((60, 4)), rng.standard_normal((4, 3))
    model, data = made(tmp_path, nodes, {"zeros": np.zeros((4, 3)), "w": w}, x, (x @ w).argmax(axis=1))
    selection = select(model, 0.5, 0.01, sigma=SIGMA, data=data, method=method)  # type: ignore[arg-type]
    assert selection.by_tensor == {"zeros": (0, 12), "w": (12, 12)}


def test_the_file_holds_the_same_law(chosen: dict[str, Selection], lenet: Model, few: Dataset, tmp_path: Path) -> None:
    chosen["ours"].save(tmp_path / "verified.toml")
    variation = read(tmp_path / "verified.toml")
    assert variation == chosen["ours"].variation
    result = kppstat.estimate(lenet, noise=variation, data=few, k=10, method="mc", max_evaluations=20, workers=1)
    assert result.mean > mean(lenet, Variation(Gaussian(SIGMA)), few)


def test_the_same_seed_chooses_the_same(chosen: dict[str, Selection], lenet: Model, few: Dataset) -> None:
    again = select(lenet, 0.05, 0.01, sigma=SIGMA, data=few, passes=8)
    assert again.variation == chosen["ours"].variation


def test_all_or_none_may_be_verified_under_any_law(lenet: Model, few: Dataset) -> None:
    law = WriteVerify(0.3, 0.06)
    whole = select(lenet, 1.0, law, noise=Variation(Gaussian(0.1)), data=few, method="magnitude")
    weight = lenet.weights[0]
    values = lenet.graph.constants[weight.name]
    for a, b in zip(whole.variation.of(weight.name).moments(values), law.moments(values), strict=True):
        np.testing.assert_array_equal(a, b)
    none = select(lenet, 0.0, law, sigma=0.1, data=few, method="magnitude")
    assert none.variation.of(weight.name) == Gaussian(0.1)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"fraction": 1.5}, "--fraction"),
        ({"method": "magic"}, "--method"),
        ({"k": 0}, "--k"),
        ({"passes": 1}, "--passes"),
        ({"seed": -1}, "--seed"),
        ({"sigma": None}, "--sigma, --noise-file"),
        ({"sigma": 0.01}, "--verified-sigma"),
        ({"sigma": None, "noise": Variation(Gaussian(0.1), {"fc*": Gaussian(0.2)})}, "--noise-file"),
    ],
)
def test_bad_settings_name_the_option(settings: dict, named: str, lenet: Model, few: Dataset) -> None:
    with pytest.raises(KppstatError) as caught:
        select(lenet, **{"fraction": 0.1, "verified": 0.01, "sigma": 0.1, "data": few, **settings})
    assert caught.value.where == named


def test_verified_twice_is_refused(chosen: dict[str, Selection], lenet: Model, few: Dataset) -> None:
    with pytest.raises(NoiseError, match="verified already"):
        select(lenet, 0.1, 0.01, noise=chosen["swim"].variation, data=few)
