"""Directions of a small real network, and tilted estimation of it from end to end."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import kppstat
from kppstat.engine import Engine, Task
from kppstat.engine import probe as probe_room
from kppstat.engine.evaluator import Evaluator
from kppstat.errors import KppstatError, SettingError
from kppstat.noise import Gaussian, Variation
from kppstat.onnx_io import load
from kppstat.report.facts import caption
from kppstat.sampling.question import Question
from kppstat.sampling.study import Study
from kppstat.sampling.subset import SubsetSpace
from kppstat.sampling.tilted_slopes import gradients, passes, require_gradients
from kppstat.sampling.tilted_space import NetworkSpace
from tests.engine.networks import evaluator
from tests.onnx_io import zoo

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(8)


def dense() -> object:
    return zoo.parse(
        """net (float[N, 6] x) => (float[N, 4] y) {
            h = MatMul (x, w1)
            r = Relu (h)
            y = MatMul (r, w2)
        }""",
        w1=RNG.standard_normal((6, 12)).astype(np.float32),
        w2=RNG.standard_normal((12, 4)).astype(np.float32),
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_room, "_TRIAL", 0.002)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluator, Path]:
    folder = tmp_path_factory.mktemp("dense")
    made = evaluator(folder, dense(), Gaussian(0.15), n=400)  # type: ignore[arg-type]
    made.fit(made.outputs(None))
    data = made.dataset
    np.savez(folder / "net.npz", x=next(iter(data.inputs.values())), y=data.targets)
    return made, folder / "net.onnx"


def graph(path: Path) -> object:
    return load(path).graph


def test_gradients_point_where_performance_rises(made: tuple[Evaluator, Path]) -> None:
    ready, path = made
    points = [(i, ()) for i in range(6)]
    slopes = gradients(ready, graph(path), points, 400)  # type: ignore[arg-type]
    sizes = [len(z) for z in ready.normals(0).values()]
    assert slopes.shape == (6, sum(sizes))
    rises = []
    for (index, _), slope in zip(points, slopes, strict=True):
        step = np.split(0.7 * slope / np.linalg.norm(slope), np.cumsum(sizes)[:-1])
        normals = ready.normals(index)
        scores = []
        for sign in (-1, 1):
            weights = {
                name: ready.variation.of(name).weights(ready.intended[name], z + np.float32(sign) * part)
                for (name, z), part in zip(normals.items(), step, strict=True)
            }
            template = ready._ready_template()
            from kppstat.engine.session import build

            outputs = ready.run(build(template.patched(weights), optimised=template.optimised))
            scores.append(ready.performance.scores(outputs, ready.targets).mean())  # type: ignore[arg-type]
        rises.append(scores[1] - scores[0])
    assert np.mean(rises) > 0.01
    assert sum(r > 0 for r in rises) >= 5


@pytest.mark.parametrize("kind", [NetworkSpace, SubsetSpace])
def test_finds_directions_that_tell_of_performance(made: tuple[Evaluator, Path], kind: type[NetworkSpace]) -> None:
    ready, path = made
    with Engine(ready, workers=1) as engine:
        more = {"p": 0.01} if kind is SubsetSpace else {}
        space = kind(engine, graph(path), 0, **more)  # type: ignore[arg-type]
        space.find(engine.map)
        assert space.cost >= passes(8, 256, 400)
        assert space.used == (32 if kind is NetworkSpace else 16)  # the others were found by the search
        places = space.pool(0, 0, 120)
        moved = [Task(1000 + i, np.arange(400), space.move(place)) for i, place in enumerate(places)]
        found = np.array([e.scores.mean() for e in engine.map(moved)])
        nominal = np.array([e.scores.mean() for e in engine.map(Task(5000 + i) for i in range(120))])
    # Places from the nominal law give performances of the nominal law.
    assert found.mean() == pytest.approx(nominal.mean(), abs=5 * nominal.std() / np.sqrt(60))
    assert found.std() == pytest.approx(nominal.std(), rel=0.35)
    assert space.guess is not None
    assert np.corrcoef(space.guess(places), found)[0, 1] > 0.4
    if kind is SubsetSpace:
        assert len(space.hints) > 5
        failed = space.guess(space.hints.astype(float))
        assert failed.mean() < space.guess(places).mean()


def test_says_why_there_are_no_gradients(made: tuple[Evaluator, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    ready, path = made
    net = graph(path)
    require_gradients(ready, net)  # type: ignore[arg-type]
    monkeypatch.setattr("kppstat.sampling.tilted_slopes.find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"torch is not installed.*audited"):
        gradients(ready, net, [(0, ())], 10)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["tilted", "subset"])
def test_a_budget_that_gradients_alone_would_exceed_is_refused(made: tuple[Evaluator, Path], method: str) -> None:
    _, path = made
    with pytest.raises(SettingError, match=r"finding directions on 400 inputs.*Give \d+ or more") as caught:
        kppstat.estimate(path, sigma=0.1, k=1, method=method, workers=1, max_evaluations=20)
    assert caught.value.where == "--max-evaluations"


def test_gradients_elsewhere_are_kept_apart(made: tuple[Evaluator, Path]) -> None:
    ready, path = made
    names: list[str] = []

    def keep(name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        names.append(name)
        return make()

    with Engine(ready, workers=1) as engine:
        for kind, first in ((NetworkSpace, 0), (NetworkSpace, 0), (NetworkSpace, 50)):
            kind(engine, graph(path), first, keep).find(engine.map)
        SubsetSpace(engine, graph(path), 0, keep, p=0.01).find(engine.map)
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_torch_is_missed_before_anything_is_evaluated(
    made: tuple[Evaluator, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = made
    monkeypatch.setattr("kppstat.sampling.tilted_slopes.find_spec", lambda name: None)
    with pytest.raises(SettingError, match="torch"):
        Study(path, Question(method="tilted"), Variation(Gaussian(0.1)), workers=1)


def test_a_network_without_slope_is_told_to_be_audited(made: tuple[Evaluator, Path]) -> None:
    _, path = made
    with pytest.raises(KppstatError, match=r"no slope.*audited"):
        kppstat.estimate(path, sigma=0.0, k=1, method="tilted", workers=1, max_evaluations=90)


@pytest.mark.parametrize("method", ["tilted", "subset"])
def test_estimates_from_end_to_end_and_resumes(made: tuple[Evaluator, Path], tmp_path: Path, method: str) -> None:
    _, path = made
    asked = {"sigma": 0.15, "k": 1, "guarantee": "asymptotic", "method": method, "half_width": 1e-6, "workers": 1}
    whole = kppstat.estimate(path, **asked, max_evaluations=400, run=tmp_path / "run")  # type: ignore[arg-type]
    again = kppstat.estimate(path, **asked, max_evaluations=400, run=tmp_path / "run", resume=True)  # type: ignore[arg-type]
    other = kppstat.estimate(path, **{**asked, "workers": 3}, max_evaluations=400)  # type: ignore[arg-type]
    for result in (again, other):
        assert (result.kpp, result.ci_low, result.ci_high) == (whole.kpp, whole.ci_low, whole.ci_high)
        assert result.evaluations == whole.evaluations
    assert whole.method == method
    told = whole.to_dict()
    assert told["factor"] > 0
    assert 0 < told["hidden_mass"] <= 1
    assert 0 <= told["hidden_threshold"] <= whole.clean
    assert any("exactly" in note for note in whole.notes)
    assert whole.values.size < whole.instances  # only the nominal ones have mean and spread
    assert f"Performance of {whole.values.size:,} instances" in caption(whole, "distribution")
