import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import kppstat
from kppstat.data import from_arrays
from kppstat.errors import KppstatError
from kppstat.training import compared, judge
from tests.training import small


def dataset():
    x, y = small.data(60)
    return from_arrays({small.model().graph.inputs[0].name: x}, y, small.model(), source="test")


def judged(instances: int = 40, seed: int = 0, workers: int = 1, sigma: float = 0.3):
    return judge(small.model(), data=dataset(), sigma=sigma, instances=instances, seed=seed, workers=workers)


def test_the_accuracies_are_those_of_the_estimator() -> None:
    result = kppstat.estimate(
        small.model(), sigma=0.3, data=dataset(), method="mc", k=50, half_width=1e-9, max_evaluations=40, workers=1
    )
    found = judged(len(result.values))
    np.testing.assert_array_equal(np.sort(found.accuracies), np.sort(result.values))
    assert found.clean == result.clean
    assert found.kpp(50) in found.interval(50)


def test_the_likelihood_is_that_of_the_estimator() -> None:
    result = kppstat.estimate(
        small.model(), sigma=0.3, data=dataset(), method="mc", k=50, half_width=1e-9, max_evaluations=40, workers=1,
        performance="cross-entropy",
    )  # fmt: skip
    assert judged(len(result.values)).nll == pytest.approx(result.mean, rel=1e-6)


def test_an_interval_reaches_to_the_end_of_the_scale_where_there_are_too_few_instances() -> None:
    found = judged(40)
    assert found.interval(1).low == 0
    assert found.worst == found.kpp(1) <= found.interval(1).high < 1
    assert found.interval(50).low > 0
    told = found.to_dict()
    assert told["kpp"]["0.1"] == {"kpp": found.worst, "ci_low": 0, "ci_high": found.interval(0.1).high}
    assert told["instances"] == 40
    json.dumps(told)


def test_a_judgement_tells_and_draws_itself(tmp_path: Path) -> None:
    found = replace(judged(2), accuracies=np.linspace(0.5, 0.9, 401), clean=0.95)
    interval = found.interval(1)
    assert interval.low > 0
    said = found.summary()
    assert said.startswith(f"All but 1 % of the instances reach a top-1 accuracy of {100 * found.kpp(1):.2f} %; 95 %")
    assert f"[{100 * interval.low:.2f} %, {100 * interval.high:.2f} %], guarantee exact, from 401 instances" in said
    line = found.plot(str(tmp_path / "found.svg")).axes[0].lines[0]
    assert (tmp_path / "found.svg").stat().st_size > 1000
    # The curve passes 1 % where the KPP is.
    x, y = line.get_xdata(), line.get_ydata()
    assert x[np.searchsorted(y, 1)] == pytest.approx(100 * found.kpp(1))


def test_workers_do_not_matter() -> None:
    one, three = judged(10), judged(10, workers=3)
    np.testing.assert_array_equal(one.accuracies, three.accuracies)
    assert (one.nll, one.ece, one.epistemic) == (three.nll, three.ece, three.epistemic)


def test_without_variation_there_is_nothing_epistemic() -> None:
    assert judged(5, sigma=0.0).epistemic == pytest.approx(0, abs=1e-12)
    assert 0 < judged(20, sigma=0.1).epistemic < judged(20, sigma=0.5).epistemic


def test_a_network_differs_from_itself_by_nothing() -> None:
    found = judged(100)
    assert 0.0 in compared(found, found, 20)


def test_what_was_judged_otherwise_is_not_compared() -> None:
    found = judged(10)
    for other in (judged(10, seed=1), judged(10, sigma=0.2), replace(found, data_sha256="other")):
        with pytest.raises(KppstatError, match="differ"):
            compared(found, other, 20)


def test_data_without_labels_cannot_judge() -> None:
    x, _ = small.data(10)
    unlabelled = from_arrays({small.model().graph.inputs[0].name: x}, None, small.model(), source="test")
    with pytest.raises(KppstatError, match="no targets"):
        judge(small.model(), data=unlabelled, sigma=0.1)
