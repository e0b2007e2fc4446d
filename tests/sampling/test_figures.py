import math
import re
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.sampling.figures import convergence, distribution
from kppstat.sampling.result import State
from kppstat.sampling.scale import interval
from kppstat.style import ACCENT, FILL, INK, ROLES, save_to
from tests.sampling.made import DEGENERATE, accuracies, made

matplotlib = pytest.importorskip("matplotlib")
samples = st.lists(st.integers(0, 40), min_size=1, max_size=60).map(lambda counts: np.array(counts) / 40)


def curve(axes):
    """Return the share curve of a panel as x and y."""
    (line,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post" and line.get_color() == INK]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def overlapping(figure):
    """Return pairs of texts that lie on one another."""
    axes = figure.axes
    texts = [(t, t.get_window_extent()) for a in axes for t in (*a.texts, a.xaxis.label, a.yaxis.label) if t.get_text()]
    return [
        (a.get_text(), b.get_text())
        for i, (a, one) in enumerate(texts)
        for b, two in texts[:i]
        if min(one.x1, two.x1) - max(one.x0, two.x0) > 1 and min(one.y1, two.y1) - max(one.y0, two.y0) > 1
    ]


@settings(max_examples=12, deadline=None)
@given(samples, st.sampled_from([1.0, 5.0, 50.0]))
def test_the_curve_is_the_share_of_instances_at_or_below(values, k):
    x, y = curve(distribution(made(values, k=k, inputs=40)).axes[1])
    for at in np.unique(values):
        assert y[np.isclose(x, 100 * at)].max() == pytest.approx(100 * np.mean(values <= at))


@settings(max_examples=10, deadline=None)
@given(samples)
def test_for_a_loss_the_curve_is_the_share_at_or_above(values):
    x, y = curve(distribution(made(values, loss=True, performance="mse")).axes[1])
    for at in np.unique(values):
        assert y[np.isclose(x, at)].max() == pytest.approx(100 * np.mean(values >= at))


@settings(max_examples=12, deadline=None)
@given(samples, st.sampled_from(["top-1 accuracy", "m:score"]))
def test_every_instance_is_in_one_bar(values, performance):
    axes = distribution(made(values, inputs=40, performance=performance)).axes[0]
    bars = [p for p in axes.patches if matplotlib.colors.to_hex(p.get_facecolor()) == FILL]
    assert sum(bar.get_height() for bar in bars) == len(values)


def test_bars_of_an_accuracy_are_whole_numbers_of_inputs_wide():
    axes = distribution(made(np.round(25 * accuracies()) / 25, inputs=25)).axes[0]
    widths = {bar.get_width() for bar in axes.patches if matplotlib.colors.to_hex(bar.get_facecolor()) == FILL}
    assert all(abs(width / 4 - round(width / 4)) < 1e-9 for width in widths)


@pytest.mark.parametrize("loss", [False, True])
def test_the_kpp_is_read_off_at_k_percent(loss):
    estimate = made(accuracies(), k=5, loss=loss, performance="mse")
    below = distribution(estimate).axes[1]
    (point,) = [line for line in below.lines if line.get_marker() == "o"]
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (estimate.kpp, 5)
    x, y = curve(below)
    assert y[x == estimate.kpp].max() >= 5


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("name", DEGENERATE)
def test_any_estimate_can_be_drawn_and_no_two_labels_overlap(name, columns):
    for draw in (distribution, convergence):
        figure = draw(DEGENERATE[name], columns=columns)
        assert figure.get_size_inches()[0] == {1: 3.5, 2: 7.16}[columns]
        assert overlapping(figure) == []
        page = figure.bbox
        for axes in figure.axes:
            for text in axes.texts:
                box = text.get_window_extent()
                assert page.x0 - 1 <= box.x0
                assert box.x1 <= page.x1 + 1
                assert page.y0 - 1 <= box.y0
                assert box.y1 <= page.y1 + 1


def test_figures_use_the_colours_of_the_house_alone():
    estimate = made(accuracies(), k=5)
    for figure in (distribution(estimate), convergence(estimate)):
        file = BytesIO()
        save_to(figure, file, "svg", transparent=True)
        assert set(re.findall(r"#[0-9a-f]{6}\b", file.getvalue().decode())) <= set(ROLES.values())


def test_a_clean_performance_far_away_is_an_arrow_at_the_edge():
    texts = [t.get_text() for t in distribution(DEGENERATE["clean far away"]).axes[0].texts]
    assert any(t.startswith("clean") and t.endswith("99.00 % →") for t in texts)


def test_the_wanted_width_holds_the_whole_interval_once_it_is_reached():
    estimate = made(accuracies(), ci_low=0.790, ci_high=0.799, kpp=0.791, converged=True)
    lines = [line for line in convergence(estimate).axes[0].lines if line.get_color() == INK and line.is_dashed()]
    low, high = sorted(line.get_ydata()[0] for line in lines)
    assert low <= 79.0 < 79.9 <= high
    assert high - low == pytest.approx(2 * 100 * estimate.half_width)


def test_states_of_a_loss_are_drawn_as_losses():
    trace = (
        State(10, 10.0, -3.0, -math.inf, -2.5, "exact", "sampling"),
        State(20, 20.0, -2.8, -3.1, -2.6, "exact", "sampling", done=True),
    )
    loss = made(
        [2.5, 2.8, 3.0], loss=True, performance="mse", trace=trace, evaluations=20.0, kpp=2.8, ci_low=2.6, ci_high=3.1
    )
    axes = convergence(loss).axes[0]
    steps = [line for line in axes.lines if line.get_drawstyle() == "steps-post" and line.get_color() == ACCENT]
    low, high, kpp = (np.asarray(line.get_ydata()) for line in steps)
    np.testing.assert_allclose(kpp, [3.0, 2.8])
    np.testing.assert_allclose(low, [2.5, 2.6])
    assert high[0] > axes.get_ylim()[1]  # an end that is not known lies outside the picture
    assert high[1] == 3.1


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.8, 0.9, "80.00 % to 90.00 %"),
        (-math.inf, 0.9, "at most 90.00 %"),
        (0.8, math.inf, "at least 80.00 %"),
        (-math.inf, math.inf, "not known yet"),
    ],
)
def test_an_end_that_is_not_known_is_not_shown_as_a_number(low, high, words):
    assert interval(made([0.85], ci_low=low, ci_high=high)) == words


def test_an_estimate_plots_itself(tmp_path):
    made(accuracies()).plot(str(tmp_path / "figure.pdf"))
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_matplotlib_is_loaded_only_to_draw():
    code = "import sys, kppstat.sampling.figures, kppstat.report; print({'matplotlib', 'jinja2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
