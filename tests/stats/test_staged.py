import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from kppstat.errors import DataError
from kppstat.stats.staged import Wave, below, chance, distribution, staged_interval, staged_quantile


def law(location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Logistic laws as mixtures of one part."""
    return np.stack([np.ones_like(location), location, scale])[:, None]


def pool(
    rng: np.random.Generator, size: int = 4000, truth: float = 0.8, quality: float = 0.8, flat: bool = False
) -> tuple[Wave, np.ndarray]:
    """A pool of standard normal values with guesses of a correlation, looked at in two stages."""
    guess = rng.normal(size=size)
    value = quality * guess + np.sqrt(1 - quality**2) * rng.normal(size=size)
    kinds = np.linspace(-4, 4, 81)
    kind = np.clip(np.round((guess + 4) * 10).astype(int), 0, 80)
    guesses = law(truth * kinds, np.full(81, 0.4))
    first = np.ones(81) if flat else np.clip(0.05 + np.exp(-((kinds + 1.3) ** 2)), 0, 1)
    into = np.flatnonzero(rng.random(size) < first[kind])
    noisy = value[into] + 0.3 * rng.normal(size=len(into))
    second = np.clip(0.1 + np.exp(-4 * (noisy + 1.3) ** 2), 0, 1)
    on = np.flatnonzero(rng.random(len(into)) < second)
    start = guesses[..., kind[into]]
    middle = law(noisy, np.full(len(into), 0.15))
    known = law(value[into][on], np.zeros(len(on)))
    reach = first[kind[into]]
    wave = Wave(
        size, guesses, np.bincount(kind, minlength=81) / size, kind[into],
        np.concatenate([np.arange(len(into)), on]), np.concatenate([start, middle[..., on]], axis=-1),
        np.concatenate([middle, known], axis=-1), np.concatenate([reach, (reach * second)[on]]),
    )  # fmt: skip
    return wave, value


@pytest.mark.parametrize(("truth", "quality"), [(0.8, 0.8), (0.0, 0.0), (-0.8, 0.8), (0.8, 0.999)])
def test_unbiased_and_as_sure_as_it_says_whatever_the_guess(truth: float, quality: float) -> None:
    rng = np.random.default_rng(1)
    found = np.array(
        [np.concatenate(distribution([pool(rng, 2000, truth, quality)[0]], np.array([-1.2816]))) for _ in range(300)]
    )
    error = found[:, 0].std()
    assert abs(found[:, 0].mean() - 0.1) < 4 * error / np.sqrt(300)
    assert found[:, 1].mean() == pytest.approx(error, rel=0.2)


def test_a_good_guess_makes_the_same_looks_tell_more() -> None:
    rng = np.random.default_rng(2)
    at = np.array([-1.2816])
    good, bad = (np.mean([distribution([pool(rng, 4000, t)[0]], at)[1] for _ in range(10)]) for t in (0.8, -0.8))
    assert good < 0.8 * bad


def test_complete_knowledge_is_the_empirical_distribution() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=500).round(1)
    every = np.arange(500)
    wave = Wave(
        500, law(np.zeros(1), np.ones(1)), np.ones(1), 0 * every, every, law(np.zeros(500), np.ones(500)),
        law(values, np.zeros(500)), np.ones(500),
    )  # fmt: skip
    x = np.array([-1.0, 0.0, 0.5])
    mean, error = distribution([wave], x)
    np.testing.assert_allclose(mean, [(values <= v).mean() for v in x], atol=1e-12)
    np.testing.assert_allclose(error, np.sqrt(mean * (1 - mean) / 500), atol=1e-12)
    assert staged_quantile([wave], 0.3, -5, 5) == pytest.approx(np.sort(values)[149], abs=1e-3)


@given(st.integers(0, 10**6), st.floats(0.05, 20), st.floats(-3, 3))
@settings(max_examples=25, deadline=None)
def test_follows_the_scale_of_the_values_and_no_order(seed: int, scale: float, shift: float) -> None:
    wave, _ = pool(np.random.default_rng(seed), 500)
    order = np.random.default_rng(seed + 1).permutation(len(wave.draw))

    def moved(known: np.ndarray) -> np.ndarray:
        return np.stack([known[0], scale * known[1] + shift, scale * known[2]])

    other = Wave(
        wave.size, moved(wave.first), wave.share, wave.kind, wave.draw[order],
        moved(wave.before)[..., order], moved(wave.after)[..., order], wave.inclusion[order],
    )  # fmt: skip
    x = np.linspace(-2, 2, 9)
    for one, two in zip(distribution([wave], x), distribution([other], scale * x + shift), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-9)


def test_waves_add_up_by_their_weights() -> None:
    rng = np.random.default_rng(5)
    waves = [pool(rng, 1000)[0] for _ in range(2)]
    x = np.array([-1.0])
    (one, s1), (two, s2), (both, s) = distribution(waves[:1], x), distribution(waves[1:], x), distribution(waves, x)
    assert both == pytest.approx((one + two) / 2)
    assert s == pytest.approx(np.sqrt(s1**2 + s2**2) / 2)


def test_intervals_are_nested_and_hold() -> None:
    rng = np.random.default_rng(6)
    hits = 0
    for _ in range(200):
        waves = [pool(rng, 1500)[0] for _ in range(2)]
        quantile, narrow = staged_interval(waves, 0.1, 0.8, low=-8, high=8)
        _, wide = staged_interval(waves, 0.1, 0.95, low=-8, high=8)
        assert wide.low <= narrow.low <= quantile <= narrow.high <= wide.high
        hits += -1.28155 in wide
    assert hits >= 180


def test_few_looks_by_useless_guesses_do_not_make_it_too_sure() -> None:
    rng = np.random.default_rng(5)
    held = [
        -1.28155 in staged_interval([pool(rng, 400, 0.0, 0.0)[0]], 0.1, 0.95, low=-8, high=8)[1] for _ in range(120)
    ]
    assert sum(held) >= 110  # without the floor under the standard error 99


def test_refuses_what_is_no_probability() -> None:
    wave, _ = pool(np.random.default_rng(0), 100)
    with pytest.raises(DataError, match="inclusion"):
        Wave(
            100,
            wave.first,
            wave.share,
            wave.kind,
            wave.draw,
            wave.before,
            wave.after,
            0 * wave.inclusion,
        )


def test_the_chance_of_a_known_value_is_a_step() -> None:
    x = np.array([0.2])
    assert chance(x, law(np.array([0.2, 0.3]), np.zeros(2))).tolist() == [[1.0, 0.0]]
    soft = chance(np.linspace(-9, 9, 50), law(np.zeros(1), np.ones(1)))[:, 0]
    assert (np.diff(soft) > 0).all()
    assert soft[0] + soft[-1] == pytest.approx(1)


@given(st.integers(0, 10**6), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_a_mixture_lies_between_its_parts_and_grows(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(parts), size=3).T
    mixed = np.stack([weights, rng.normal(size=(parts, 3)), rng.exponential(size=(parts, 3))])
    x = np.linspace(-5, 5, 41)
    each = below(x, np.stack([np.ones_like(weights), *mixed[1:]]))
    found = chance(x, mixed)
    assert (np.diff(found, axis=0) >= 0).all()
    assert (found >= each.min(1) - 1e-12).all()
    assert (found <= each.max(1) + 1e-12).all()


def test_where_few_draws_make_up_the_error_ends_are_as_far_as_students_law_says() -> None:
    wave, _ = pool(np.random.default_rng(8), 60)
    quantile, interval = staged_interval([wave], 0.3, 0.95, low=-8, high=8)
    square = wave.corrections(np.array([quantile]))[0] ** 2
    needed = student.ppf(0.975, square.sum() ** 2 / (square**2).sum() - 1)
    mean, error = distribution([wave], np.linspace(quantile, interval.high, 400))
    ratio = (mean - 0.3) / np.maximum(error, error[0])
    assert needed > 2.1  # what a normal law says is 1.96
    assert ratio[-1] >= needed
    assert ratio[:-2].max() < needed
