"""Laws corrected by how instances differ from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kppstat.prediction.correction import Few, corrected, difference, variance_of_all

INPUTS = np.full(256, 1 / 256)


def law(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how far out instances lie, and their performances: with a tail, and a spread that grows there."""
    guess = rng.standard_normal(count)
    return guess, 0.8 + 0.04 * guess - 0.01 * guess**2 + 0.01 * (1.5 - 0.2 * guess) * rng.standard_normal(count)


@given(
    shift=st.floats(-0.1, 0.1),
    slope=st.floats(-0.02, 0.02),
    stretch=st.floats(0.5, 2),
    seed=st.integers(0, 10**6),
)
def test_a_line_and_a_stretch_are_found(shift: float, slope: float, stretch: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    guess, there = law(rng, 4096)
    terms = guess[:, None] ** np.arange(4)
    expected = terms @ np.linalg.lstsq(terms, there, rcond=None)[0]
    truth = expected + shift + slope * guess + stretch * (there - expected)
    some = rng.choice(4096, 512)
    by = difference(guess, there, guess[some], truth[some], INPUTS)
    error = 5 * 0.02 * stretch / np.sqrt(512)
    np.testing.assert_allclose(by.shift, [shift, slope], atol=error)
    assert by.stretch == pytest.approx(stretch, rel=0.2)
    found = corrected(there, guess, by)
    assert found.mean() == pytest.approx(truth.mean(), abs=error)
    assert np.quantile(found, 0.01) == pytest.approx(np.quantile(truth, 0.01), abs=0.03)


def test_a_law_that_holds_is_seldom_denied_and_another_often() -> None:
    rng = np.random.default_rng(0)
    guess, there = law(rng, 4096)
    denied = met = 0
    for _ in range(300):
        at, seen = law(rng, 128)
        denied += difference(guess, there, at, seen, INPUTS).certain
        met += difference(guess, there, at, seen + 0.02 * np.minimum(at, 0), INPUTS).certain
    assert denied <= 9
    assert met >= 270


def test_where_nothing_varies_nothing_is_corrected() -> None:
    guess, there = np.zeros(100), np.full(100, 0.9)
    by = difference(guess, there, np.zeros(20), np.full(20, 0.9), INPUTS)
    assert not by.certain
    np.testing.assert_allclose(corrected(there, guess, by), 0.9)


def test_without_a_guess_mean_and_spread_are_those_of_instances() -> None:
    rng = np.random.default_rng(1)
    there, seen = rng.normal(0.8, 0.01, 4000), rng.normal(0.7, 0.03, 2000)
    by = difference(np.zeros(4000), there, np.zeros(2000), seen, INPUTS)
    found = corrected(there, np.zeros(4000), by)
    assert found.mean() == pytest.approx(seen.mean(), abs=1e-3)
    assert found.std() == pytest.approx(seen.std(), rel=0.02)


def test_a_part_tells_by_how_much_the_spread_of_the_whole_grows() -> None:
    """Inputs that share a chance, which deviates twice as much in instances: so does performance on all of them."""
    rng = np.random.default_rng(2)

    def instances(count: int, deviation: float, inputs: int) -> np.ndarray:
        chance = np.clip(0.8 + deviation * rng.standard_normal((count, 1)), 0, 1)
        return (rng.random((count, inputs)) < chance).astype(float)

    drawn, seen, whole = instances(4000, 0.03, 400), instances(512, 0.06, 400), instances(4000, 0.06, 4000)
    few = Few(np.arange(100), np.full(100, 0.01), np.ones(100))
    here, there = few.change(drawn[:, :100]), few.change(seen[:, :100])
    by = difference(np.zeros(4000), here, np.zeros(512), there, few.weights)
    changed = corrected(here, np.zeros(4000), by)
    found = variance_of_all(drawn, np.full(400, 1 / 400), few, changed, seen[:, :100].var(axis=0), 512, 4000)
    assert np.sqrt(found) == pytest.approx(whole.mean(axis=1).std(), rel=0.1)
    # A law that lets inputs share nothing tells nothing of it: then the few inputs do.
    apart = (rng.random((4000, 400)) < 0.8).astype(float)
    alone = variance_of_all(apart, np.full(400, 1 / 400), few, changed, seen[:, :100].var(axis=0), 512, 4000)
    assert np.sqrt(alone) == pytest.approx(whole.mean(axis=1).std(), rel=0.2)
