import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.stats.audit import LOWER, UPPER, AuditBook, Design
from kppstat.stats.audit_design import draw_weights, expected_scores, payoffs, shifted

INPUTS = 120


def plan(expected: np.ndarray, low: float, high: float) -> Design:
    weights = draw_weights(expected)
    top, bottom = shifted(expected, (1 + 2 * low) / 3), shifted(expected, 2 * high / 3)
    bets = np.array([payoffs(top, weights, low), payoffs(1 - bottom, weights, 1 - high)])
    return Design(weights, expected, bets, lower=1)


def audit(book: AuditBook, scores: np.ndarray, batches: list[int], rng: np.random.Generator) -> tuple[list, list]:
    """Audit all instances of `scores` in batches and return the bounds after each."""
    ids, lows, highs = np.arange(len(scores)), [], []
    book.grow(len(scores))
    zeros = np.zeros(len(scores), np.int64)
    for batch in batches:
        rows = [book.draw(i, batch, rng.integers(2**32, size=60 * INPUTS, dtype=np.uint32)) for i in ids]
        counts = np.array([len(r) for r in rows])
        revealed = np.concatenate([s[r] for s, r in zip(scores, rows, strict=True)])
        book.absorb(ids, counts, np.concatenate(rows), revealed, zeros, zeros)
        low, high = book.bounds(ids, 0.1, 0.1)
        lows.append(low)
        highs.append(high)
    return lows, highs


@pytest.mark.parametrize("kind", ["as expected", "reversed", "real-valued", "all equal"])
def test_bounds_hold_at_every_look_together(kind: str) -> None:
    """In 3,000 instances the share whose bound is ever wrong is at most the error, whatever the expectation."""
    rng = np.random.default_rng(1)
    expected = np.clip(rng.beta(4, 1, INPUTS), 0.02, 0.98)
    truth = {
        "as expected": expected,
        "reversed": 1 - expected,
        "real-valued": expected,
        "all equal": np.full(INPUTS, 0.5),
    }
    if kind == "real-valued":
        scores = rng.beta(2 * truth[kind], 2 - 2 * truth[kind], (3000, INPUTS))
    else:
        scores = (rng.random((3000, INPUTS)) < truth[kind]).astype(float)
    mean = scores.mean(1)
    book = AuditBook(INPUTS, plan(expected, float(np.median(mean)) * 0.98, min(0.99, float(np.median(mean)) * 1.02)))
    lows, highs = audit(book, scores, [10, 10, 20, 20, 20], rng)
    wrong_low = np.any([low > mean + 1e-12 for low in lows], axis=0).mean()
    wrong_high = np.any([high < mean - 1e-12 for high in highs], axis=0).mean()
    slack = 3 * np.sqrt(0.1 * 0.9 / 3000)
    assert wrong_low <= 0.1 + slack
    assert wrong_high <= 0.1 + slack
    assert (np.diff(lows, axis=0) >= 0).all()
    assert (np.diff(highs, axis=0) <= 0).all()
    assert (highs[-1] - lows[-1]).mean() < (highs[0] - lows[0]).mean() < 1


def test_a_book_that_forgets_its_weights_is_caught() -> None:
    """The negative control: drawing by weights but accounting for even ones must break the bounds."""
    rng = np.random.default_rng(2)
    expected = np.full(INPUTS, 0.5)
    scores = np.tile((np.arange(INPUTS) < INPUTS // 2).astype(float), (500, 1))
    honest = AuditBook(INPUTS, plan(expected, 0.45, 0.55))
    liar = AuditBook(INPUTS, plan(expected, 0.45, 0.55))
    liar._cut = np.where(scores[0] > 0, 1.0, 0.3)
    liar._alias = np.arange(INPUTS)[::-1].copy()
    wrong = [(np.max(audit(book, scores, [15, 15, 15], rng)[0], axis=0) > 0.5).mean() for book in (honest, liar)]
    assert wrong[0] <= 0.1 + 0.04
    assert wrong[1] > 0.2


def test_draws_follow_the_weights_without_replacement() -> None:
    weights = np.array([0.5, 0.3, 0.15, 0.05])
    flat = Design(weights, np.full(4, 0.5), np.ones((2, 4)), 1)
    rng = np.random.default_rng(3)
    book = AuditBook(4, flat)
    book.grow(20000)
    orders = np.array([book.draw(i, 3, rng.integers(2**32, size=400, dtype=np.uint32)) for i in range(20000)])
    assert all(len(set(order)) == 3 for order in orders[:200].tolist())
    first = np.bincount(orders[:, 0], minlength=4) / 20000
    np.testing.assert_allclose(first, weights, atol=0.012)
    after_zero = orders[orders[:, 0] == 0][:, 1]
    np.testing.assert_allclose(np.bincount(after_zero, minlength=4)[1:] / len(after_zero), weights[1:] / 0.5, atol=0.02)


def test_words_that_run_out_draw_nothing() -> None:
    book = AuditBook(50, plan(np.full(50, 0.8), 0.7, 0.9))
    book.grow(1)
    words = np.random.default_rng(4).integers(2**32, size=60, dtype=np.uint32)
    assert len(book.draw(0, 40, words)) == 0
    assert len(book.rest(0)) == 50


def test_all_inputs_give_the_mean_itself() -> None:
    rng = np.random.default_rng(5)
    scores = rng.random(INPUTS)
    book = AuditBook(INPUTS, plan(np.full(INPUTS, 0.5), 0.4, 0.6))
    book.grow(1)
    one, zero = np.array([0]), np.array([0])
    rows = book.draw(0, 30, rng.integers(2**32, size=400, dtype=np.uint32))
    book.absorb(one * 0, np.array([30]), rows, scores[rows], zero, zero)
    rest = book.rest(0)
    assert sorted([*rows, *rest]) == list(range(INPUTS))
    book.absorb(one * 0, np.array([len(rest)]), rest, scores[rest], zero, zero)
    low, high = book.bounds(one * 0, 0.05, 0.05)
    assert low[0] == high[0] == pytest.approx(scores.mean())
    assert book.estimates(one * 0)[0] == pytest.approx(scores.mean())
    assert book.evidence(one * 0, float(low[0]), LOWER)[0] == -np.inf
    assert book.evidence(one * 0, float(low[0]) - 1e-6, LOWER)[0] == np.inf
    assert book.evidence(one * 0, float(low[0]) + 1e-6, UPPER)[0] == np.inf


def test_a_new_design_keeps_what_is_known() -> None:
    """Evidence gathered so far stays; the sums over inputs not revealed are those of the new design."""
    rng = np.random.default_rng(6)
    scores = (rng.random((40, INPUTS)) < 0.8).astype(float)
    book = AuditBook(INPUTS, plan(np.full(INPUTS, 0.8), 0.6, 0.9))
    audit(book, scores, [25], rng)
    ids = np.arange(40)
    before = book.evidence(ids, 0.6, LOWER)
    new = plan(np.clip(rng.beta(3, 1, INPUTS), 0.05, 0.95), 0.5, 0.9)
    book.redesign(new)
    np.testing.assert_array_equal(before, book.evidence(ids, 0.6, LOWER))
    for i in range(5):
        hidden = np.flatnonzero(np.unpackbits(book._seen[i], count=INPUTS, bitorder="little") == 0)
        np.testing.assert_allclose(book._sums[i, 2], new.weights[hidden].sum())
        np.testing.assert_allclose(book._sums[i, 5:], new.payoffs[:, hidden].sum(1))


@given(
    seed=st.integers(0, 2**32 - 1),
    inputs=st.integers(2, 60),
    batches=st.lists(st.integers(1, 12), min_size=1, max_size=30),
    flip=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_audit_gives_ordered_bounds_that_mirror(seed: int, inputs: int, batches: list[int], flip: bool) -> None:
    """Bounds stay in [0, 1], only tighten, and swap when right and wrong do."""
    rng = np.random.default_rng(seed)
    scores = rng.random(inputs).round(int(rng.integers(0, 3)))
    expected = np.clip(rng.random(inputs), 0.01, 0.99)
    weights = draw_weights(expected)
    bets = rng.exponential(size=(2, inputs)) + 1e-3
    book = AuditBook(inputs, Design(weights, expected, bets, 1))
    mirror = AuditBook(inputs, Design(weights, 1 - expected, bets[::-1].copy(), 1))
    zero, ids = np.array([0]), np.array([0])
    last = (0.0, 1.0)
    for b in (book, mirror):
        b.grow(1)
    left = inputs
    for batch in batches:
        if batch >= left:
            break
        words = rng.integers(2**32, size=4000, dtype=np.uint32)
        for b, s in ((book, scores), (mirror, 1 - scores)):
            rows = b.draw(0, batch, words)
            if not len(rows):
                return
            b.absorb(ids, np.array([batch]), rows, s[rows], zero, zero)
        left -= batch
        low, high = (float(x[0]) for x in book.bounds(ids, 0.05, 0.05))
        assert 0 <= last[0] <= low <= 1
        assert 0 <= high <= last[1] <= 1
        mirrored = mirror.bounds(ids, 0.05, 0.05)
        assert mirrored[0][0] == pytest.approx(1 - high, abs=0.02 / inputs)
        assert mirrored[1][0] == pytest.approx(1 - low, abs=0.02 / inputs)
        last = (low, high)


def test_expected_scores_follow_the_law_of_the_inputs() -> None:
    rng = np.random.default_rng(7)
    truth = np.where(rng.random(4000) < 0.7, 0.999, rng.random(4000))
    for seen in (10, 40):
        total = rng.binomial(seen, truth).astype(float)
        guess = expected_scores(total, np.full(4000, float(seen)))
        naive = (total + 1) / (seen + 2)
        assert np.mean((guess - truth) ** 2) < 0.8 * np.mean((naive - truth) ** 2)


def test_payoffs_are_the_best_ones() -> None:
    """No nearby payoffs grow faster, and growth is that of drawing by the model."""
    from kppstat.stats.audit_design import growth

    rng = np.random.default_rng(8)
    expected = shifted(np.clip(rng.beta(4, 1, 300), 0.01, 0.99), 0.85)
    weights = draw_weights(expected)
    best = payoffs(expected, weights, 0.8)
    rate = growth(expected, weights, best, 0.8)
    assert rate > 0
    for _ in range(20):
        assert growth(expected, weights, best * np.exp(0.2 * rng.normal(size=300)), 0.8) < rate
    assert shifted(expected, 0.4).mean() == pytest.approx(0.4, abs=1e-6)


def test_a_fully_known_instance_is_told_from_its_own_mean_on_neither_side() -> None:
    """Rounding of one minus the threshold used to say that 9 of 10 is less than 0.9."""
    for right in range(11):
        book = AuditBook(10, Design(np.full(10, 0.1), np.full(10, 0.5), np.ones((2, 10)), lower=1))
        book.grow(1)
        scores = (np.arange(10) < right).astype(float)
        book.absorb(np.array([0]), np.array([10]), np.arange(10), scores, np.array([0]), np.array([0]))
        for side in (LOWER, UPPER):
            told = [float(book.evidence(np.array([0]), t / 10, side)[0]) for t in range(11)]
            beyond = [t < right if side == LOWER else t > right for t in range(11)]
            assert told == [np.inf if b else -np.inf for b in beyond]
