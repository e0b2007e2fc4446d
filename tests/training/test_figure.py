import math
from dataclasses import replace
from pathlib import Path

import pytest

from kppstat.training import Training
from tests.training import small


@pytest.fixture
def training(tmp_path: Path) -> Training:
    session = small.session(tmp_path, "gaussian", epochs=3, plan={"batch": 32})
    small.run(session)
    return session.finish()


def test_three_curves_and_the_epoch_that_was_kept(training: Training, tmp_path: Path) -> None:
    figure = training.plot(str(tmp_path / "t.svg"))
    (axes,) = figure.axes
    curves = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert [list(c.get_ydata()) for c in curves] == [
        [100 * getattr(e, name) for e in training.history] for name in ("clean", "mean", "kpp")
    ]
    kept = [line for line in axes.lines if list(line.get_xdata()) == [training.best.number]]
    assert list(kept[0].get_ydata()) == [100 * training.best.kpp]
    assert {t.get_text() for t in axes.texts} == {"clean", "mean", "KPP(10)"}
    assert (tmp_path / "t.svg").stat().st_size > 1000


def test_infinite_losses_are_gaps(training: Training) -> None:
    history = (replace(training.history[0], kpp=-math.inf, mean=-math.inf), *training.history[1:])
    figure = replace(training, history=history, loss=True, fraction=False).plot()
    assert math.isnan(figure.axes[0].lines[2].get_ydata()[0])
