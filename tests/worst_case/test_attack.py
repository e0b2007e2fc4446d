from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from kppstat.data import Dataset
from kppstat.errors import KppstatError, SettingError
from kppstat.onnx_io import Model, load
from kppstat.worst_case import METHODS, Attack, weakest, worst

PASSES = 12
BOUND = 0.005


@pytest.fixture(scope="module")
def found(lenet: Model, few: Dataset) -> dict[str, float]:
    """What each method reaches with equal budgets."""
    return {m: worst(lenet, BOUND, data=few, method=m, passes=PASSES).performance_worst for m in METHODS}


def test_ours_is_at_least_as_low_as_every_other_at_equal_passes(found: dict[str, float]) -> None:
    assert found["ours"] == min(found.values())
    assert found["ours"] < found["pgd"] - 0.02
    assert found["pgd"] < found["fgsm"] < found["random"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_stored_weights_respect_the_bound_and_have_the_accuracy(
    method: str, norm: str, lenet: Model, few: Dataset, tmp_path: Path
) -> None:
    result = worst(lenet, 0.01, norm=norm, data=few, method=method, passes=3)
    result.save(lenet, tmp_path / "worst.onnx")
    stored = {
        t.name: numpy_helper.to_array(t).astype(np.float64)
        for t in onnx.load(tmp_path / "worst.onnx").graph.initializer
    }
    for weight in lenet.weights:
        intended = lenet.graph.constants[weight.name].astype(np.float64)
        unit = abs(intended).max()
        deviation = stored[weight.name] - intended
        if norm == "linf":
            assert (abs(deviation) <= 0.01 * unit).all()
        else:
            assert np.sqrt(np.square(deviation).mean()) <= 0.01 * unit * (1 + 1e-12)
    session = onnxruntime.InferenceSession(str(tmp_path / "worst.onnx"), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    (outputs,) = session.run(None, {name: few.batch(slice(None))[name]})
    assert few.targets is not None
    assert float((outputs.argmax(1) == few.targets).mean()) == result.performance_worst
    assert result.performance_worst <= result.clean
    assert result.reached <= 0.01
    assert result.passes <= 3.5
    assert result.evaluations == pytest.approx(3 * result.passes)


@pytest.mark.parametrize("passes", [2, 5, 16, 17.5])
def test_the_budget_is_kept_whatever_it_buys(passes: float, lenet: Model, few: Dataset) -> None:
    small = few.part(slice(0, 100))
    result = worst(lenet, 0.05, data=small, passes=passes)
    assert result.passes <= passes + 0.25  # two steps
    assert result.performance_worst < 0.6 * result.clean


def test_a_bound_of_zero_leaves_the_model_alone(lenet: Model, few: Dataset) -> None:
    result = worst(lenet, 0.0, data=few)
    assert result.performance_worst == result.clean
    assert result.reached == 0
    assert all((w == lenet.graph.constants[n]).all() for n, w in result.weights.items())


def test_without_targets_it_is_agreement_with_the_clean_model(lenet: Model, few: Dataset) -> None:
    labelled, bare = (worst(lenet, BOUND, data=d, method="fgsm", passes=2) for d in (few, replace(few, targets=None)))
    assert "the worst top-1 accuracy is" in labelled.summary()
    assert "the worst top-1 agreement with the clean model is" in bare.summary()
    assert bare.to_dict()["performance"] == "top-1 agreement with the clean model"
    assert bare.plot().axes[0].get_ylabel().startswith("worst top-1 agreement with the clean model")


def test_same_seed_same_weights(lenet: Model, few: Dataset) -> None:
    one, two = (worst(lenet, BOUND, data=few, passes=4, seed=3) for _ in range(2))
    assert one.performance_worst == two.performance_worst
    assert all((one.weights[n] == two.weights[n]).all() for n in one.weights)


def test_layers_that_are_not_attacked_stay(lenet: Model, few: Dataset, tmp_path: Path) -> None:
    result = worst(lenet, 0.05, data=few, method="fgsm", layers="layers.7.*")
    assert result.layers == ("layers.7.weight",)
    assert result.performance_worst < result.clean
    result.save(lenet, tmp_path / "worst.onnx")
    attacked = load(tmp_path / "worst.onnx").values()
    for name, value in lenet.values().items():
        assert (attacked[name] == value).all() == (name != "layers.7.weight")


def test_each_layer_alone_hurts_less_than_all(lenet: Model, few: Dataset) -> None:
    alone = weakest(lenet, 0.02, data=few, method="pgd", passes=25)
    together = worst(lenet, 0.02, data=few, method="pgd", passes=5)
    assert list(alone) == [w.name for w in lenet.weights]
    assert min(r.performance_worst for r in alone.values()) > together.performance_worst
    assert sum(r.passes for r in alone.values()) <= 25


def test_an_interrupted_search_keeps_what_it_has(lenet: Model, few: Dataset) -> None:
    attack = Attack(lenet, 0.02, data=few, passes=50)
    for state in attack.states():
        if state.passes > 5:
            break
    attack.interrupt()
    result = attack.result()
    assert result.stop_reason == "stopped by hand"
    assert result.performance_worst < result.clean - 0.2


@pytest.mark.parametrize(("method", "passes"), [("ours", 17), ("random", 5)])
def test_an_interruption_does_not_lose_what_was_found_before(
    method: str, passes: float, lenet: Model, few: Dataset
) -> None:
    attack = Attack(lenet, 0.05, data=few, method=method, passes=passes)
    lowest = 1.0
    states = attack.states()
    for state in states:
        if method == "ours" and state.phase.startswith("descent 2"):
            break
        lowest = state.seen if method == "ours" else min(lowest, state.seen)
        if method == "random" and state.seen > lowest:
            break
    attack.interrupt()
    assert attack.result().performance_worst == pytest.approx(lowest, abs=0.01)


def test_the_curve_falls_from_clean_to_worst(lenet: Model, few: Dataset) -> None:
    result = worst(lenet, 0.01, data=few, method="pgd", passes=6, curve=True)
    bounds, accuracies = np.array(result.curve).T
    assert (bounds[0], accuracies[0]) == (0, result.clean)
    assert (bounds[-1], accuracies[-1]) == (0.01, result.performance_worst)
    assert (np.diff(accuracies) <= 0).all()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"bound": -0.1}, "--bound"),
        ({"bound": float("nan")}, "--bound"),
        ({"method": "magic"}, "--method"),
        ({"norm": "l1"}, "--norm"),
        ({"passes": 1}, "--passes"),
        ({"seed": -1}, "--seed"),
        ({"layers": "nothing.*"}, "--layers"),
    ],
)
def test_bad_settings_name_the_option(settings: dict, named: str, lenet: Model, few: Dataset) -> None:
    with pytest.raises(SettingError) as caught:
        worst(lenet, **{"bound": 0.01, "data": few, **settings})
    assert caught.value.where == named
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_kind_error() -> None:
    with pytest.raises(KppstatError):
        worst("nowhere.onnx", 0.01)
