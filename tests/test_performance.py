import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import log_softmax, softmax

from kppstat.errors import DataError, KppstatError, SettingError
from kppstat.performance import (
    CrossEntropy,
    MeanSquaredError,
    Performance,
    Top1,
    TopK,
    performance_named,
)

TABLES = hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(6, 9)), elements=st.floats(-9, 9, width=32))


def labels_for(table: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, table.shape[1], len(table))


@given(TABLES)
def test_top1_is_argmax(table: np.ndarray) -> None:
    labels = labels_for(table)
    np.testing.assert_array_equal(Top1().scores(table, labels), table.argmax(axis=1) == labels)


def test_all_outputs_equal_counts_as_class_0() -> None:
    assert Top1().scores(np.zeros((3, 4)), np.array([0, 1, 3])).tolist() == [1, 0, 0]


@given(TABLES)
def test_topk_is_a_stable_sort_and_top1_is_its_first_case(table: np.ndarray) -> None:
    labels = labels_for(table)
    order = np.argsort(-table, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(TopK().scores(table, labels), (order == labels[:, None]).any(axis=1))
    np.testing.assert_array_equal(TopK(k=1).scores(table, labels), Top1().scores(table, labels))


@pytest.mark.parametrize("performance", [Top1(), TopK(), CrossEntropy()])
def test_nan_never_counts_as_right(performance: Performance) -> None:
    table = np.tile(np.arange(8, dtype=np.float32), (8, 1))
    table[np.arange(8), np.arange(8)] = np.nan
    assert performance.scores(table, np.full(8, 7)).max() <= (0 if performance.high == 1 else -np.inf)


@given(TABLES)
def test_cross_entropy_of_logits(table: np.ndarray) -> None:
    labels = labels_for(table)
    expected = log_softmax(table.astype(np.float64), axis=1)[np.arange(len(table)), labels]
    np.testing.assert_allclose(CrossEntropy().scores(table, labels), expected, rtol=1e-12, atol=1e-12)


def test_cross_entropy_of_probabilities_takes_their_logarithm_and_says_so() -> None:
    table = softmax(np.random.default_rng(0).normal(size=(20, 5)), axis=1)
    labels = labels_for(table)
    fitted = CrossEntropy().fitted(table, labels)
    assert "probabilities" in fitted.name
    np.testing.assert_allclose(fitted.scores(table, labels), np.log(table[np.arange(20), labels]))
    assert fitted.scores(np.array([[1.0, 0.0]]), np.array([1])).tolist() == [-np.inf]
    logits = CrossEntropy().fitted(np.log(table), labels)
    np.testing.assert_allclose(logits.scores(np.log(table), labels), fitted.scores(table, labels))


@given(hnp.arrays(np.float64, (4, 2, 3), elements=st.floats(-5, 5)))
def test_mse_over_all_outputs_of_an_input(outputs: np.ndarray) -> None:
    targets = np.random.default_rng(1).normal(size=(4, 6))
    expected = [-np.mean((o.reshape(-1) - t) ** 2) for o, t in zip(outputs, targets, strict=True)]
    np.testing.assert_allclose(MeanSquaredError().scores(outputs, targets), expected)
    assert (MeanSquaredError().scores(outputs * np.nan, targets) == -np.inf).all()


@pytest.mark.parametrize(
    ("performance", "outputs", "targets", "words"),
    [
        ("top-1", (4, 3), np.array([0, 1, 2, 3]), "label 3 is out of range"),
        ("top-1", (4, 3), np.array([0, -1, 2, 1]), "label -1 is out of range"),
        ("top-1", (4, 3), np.zeros((4, 3)), "one-hot"),
        ("top-1", (4, 3), np.zeros(4), "integer labels"),
        ("top-1", (4, 1), np.zeros(4, int), "2 or more classes"),
        ("cross-entropy", (4, 3, 5), np.zeros(4, int), "2 or more classes"),
        ("top-5", (4, 3), np.zeros(4, int), "always 1"),
        ("mse", (4, 3), np.zeros(4), "differ"),
    ],
)
def test_targets_that_do_not_fit_are_refused(
    performance: str, outputs: tuple[int, ...], targets: np.ndarray, words: str
) -> None:
    with pytest.raises(KppstatError, match=words) as caught:
        performance_named(performance).fitted(np.zeros(outputs), targets)
    assert "\n" not in str(caught.value)


def test_labels_may_have_an_axis_of_length_1_and_outputs_too() -> None:
    outputs = np.eye(3)[:, :, None, None]
    assert Top1().scores(outputs, np.arange(3, dtype=np.uint8)[:, None]).tolist() == [1, 1, 1]


def test_without_targets_the_clean_model_gives_them() -> None:
    outputs = np.random.default_rng(0).normal(size=(9, 7))
    for name, best in (("top-1", 1.0), ("top-5", 1.0), ("mse", 0.0)):
        performance = performance_named(name)
        assert (performance.scores(outputs, performance.targets_from(outputs)) == best).all()


def margin(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return outputs[np.arange(len(outputs)), targets] - outputs.mean(axis=1)


def test_a_function_of_the_user_is_a_performance() -> None:
    performance = performance_named("tests.test_performance:margin")
    assert performance.name == "tests.test_performance:margin"
    assert performance_named(margin).scores(np.eye(2), np.array([0, 1])).tolist() == [0.5, 0.5]
    assert pickle.loads(pickle.dumps(performance)) == performance
    assert (performance.low, performance.high, performance.loss) == (-np.inf, np.inf, False)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda o, t: 1 / 0, "ZeroDivisionError"),
        (lambda o, t: 1.0, "one number for each input"),
        (lambda o, t: np.full(len(o), np.nan), "NaN"),
        (lambda o, t: ["a"] * len(o), "ValueError"),
    ],
)
def test_what_a_function_of_the_user_does_wrong_is_named(function, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        performance_named(function).scores(np.eye(2), np.array([0, 1]))


def test_scores_outside_stated_bounds_are_refused() -> None:
    def bounded(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return outputs[:, 0]

    bounded.low, bounded.high = 0, 1  # type: ignore[attr-defined]
    assert performance_named(bounded).scores(np.eye(2), np.zeros(2)).tolist() == [1, 0]
    with pytest.raises(SettingError, match="outside"):
        performance_named(bounded).scores(2 * np.eye(2), np.zeros(2))


@pytest.mark.parametrize("name", ["top1", "no.module.anywhere:f", "math:nothing", "math:pi"])
def test_an_unknown_performance_is_named(name: str) -> None:
    with pytest.raises(SettingError) as caught:
        performance_named(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("odd", [5, None, ["top-1"]])
def test_what_is_no_performance_is_refused(odd: object) -> None:
    with pytest.raises(SettingError, match="is no performance"):
        performance_named(odd)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("targets", "remedy"), [(np.zeros(3), r"y\.astype\(int\)"), (np.eye(3), r"y\.argmax\(axis=1\)")]
)
def test_the_remedy_for_labels_suits_their_shape(targets: np.ndarray, remedy: str) -> None:
    with pytest.raises(DataError, match=remedy):
        Top1().fitted(np.eye(3), targets)


def test_mse_without_an_axis_names_targets() -> None:
    with pytest.raises(DataError, match="targets"):
        MeanSquaredError().scores(np.zeros((2, 2)), np.zeros((2, 3)))
