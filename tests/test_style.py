import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.errors import SettingError
from kppstat.style import ROLES, house_style, need, new_figure, save, spread

matplotlib = pytest.importorskip("matplotlib")


@settings(deadline=None)  # the first call loads scipy
@given(st.lists(st.tuples(st.floats(-0.2, 1.2), st.floats(0.01, 0.15)), min_size=1, max_size=6))
def test_labels_keep_their_order_and_never_overlap(labels):
    labels = sorted(labels)
    sizes = np.array([size for _, size in labels])
    places = spread([at for at, _ in labels], sizes, 0, 1)
    assert (np.diff(places) >= (sizes[1:] + sizes[:-1]) / 2 - 1e-12).all()
    assert places[0] - sizes[0] / 2 >= -1e-12
    assert places[-1] + sizes[-1] / 2 <= 1 + 1e-12


@settings(deadline=None)  # the first call loads scipy
@given(st.lists(st.floats(0.01, 0.15), min_size=1, max_size=6))
def test_labels_that_have_room_stay_where_they_are(sizes):
    wanted = np.linspace(0.1, 0.9, len(sizes)) if len(sizes) > 1 else np.array([0.5])
    np.testing.assert_allclose(spread(wanted, sizes, 0, 1), wanted, atol=1e-12)


def test_the_look_does_not_depend_on_the_settings_of_the_user_and_leaves_them_alone():
    with matplotlib.rc_context({"axes.linewidth": 9, "font.size": 30, "axes.grid": True}):
        with house_style():
            assert matplotlib.rcParams["axes.linewidth"] < 1
            assert not matplotlib.rcParams["axes.grid"]
        assert matplotlib.rcParams["font.size"] == 30


def test_roles_stay_apart_in_greyscale():
    light = sorted(np.dot(matplotlib.colors.to_rgb(colour), (0.299, 0.587, 0.114)) for colour in ROLES.values())
    ink, accent, muted, fill, tint = light
    assert min(fill - muted, tint - fill) > 0.1
    assert accent - ink > 0.1


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_a_missing_extra_is_an_error_that_says_what_to_install(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingError, match=rf"{module}.*pip install 'kppstat\[report\]'"):
        need(module)


def test_figures_have_one_or_two_columns():
    with house_style(), pytest.raises(SettingError, match="columns is 3"):
        new_figure(3, 2.0)


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_equal_figures_give_equal_files(kind, tmp_path):
    for name in "ab":
        with house_style():
            figure = new_figure(1, 2.0)
            figure.subplots().plot([1, 2], [3, 4])
        save(figure, tmp_path / f"{name}.{kind}")
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


@pytest.mark.parametrize(
    ("name", "what"), [("figure.bmp", "ending"), ("figure", "ending"), ("no/figure.svg", "cannot")]
)
def test_a_figure_that_cannot_be_saved_is_a_kind_error(name, what, tmp_path):
    with house_style():
        figure = new_figure(1, 2.0)
    with pytest.raises(SettingError, match=what) as caught:
        save(figure, tmp_path / name)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
