import numpy as np
import pytest

from kppstat.stats.audit import AuditBook, Design
from kppstat.stats.audit_design import draw_weights, payoffs, shifted
from kppstat.stats.audit_factors import common_factors

INPUTS = 1500


def grouped(count: int, rng: np.random.Generator) -> np.ndarray:
    """Scores of instances that fail whole groups of inputs."""
    group = np.arange(INPUTS) % 5
    weakness = rng.normal(0, 1.2, (count, 5))
    return (rng.random((count, INPUTS)) < 1 / (1 + np.exp(-(2 + weakness[:, group])))).astype(float)


def test_factors_are_those_of_the_groups() -> None:
    rng = np.random.default_rng(0)
    loadings = common_factors(grouped(200, rng), np.full(INPUTS, 0.83))
    assert 3 <= len(loadings) <= 8
    # Groups share their loadings: their means explain nearly all of the variance of the loadings.
    grouped_loadings = loadings[:3].reshape(3, -1, 5)
    assert grouped_loadings.mean(1).var(1).sum() > 0.7 * loadings[:3].var(1).sum()


def test_no_factors_from_few_instances_or_pure_noise() -> None:
    rng = np.random.default_rng(1)
    assert len(common_factors(np.ones((3, 40)), np.full(40, 0.9))) == 0
    noise = (rng.random((100, 4000)) < 0.8).astype(float)
    assert len(common_factors(noise, np.full(4000, 0.8))) == 0


@pytest.mark.parametrize("kind", ["helpful", "misleading"])
def test_bounds_by_factors_hold_and_are_tighter_where_factors_help(kind: str) -> None:
    """Factors learnt from other instances may be right or nonsense: the bounds err as seldom either way."""
    rng = np.random.default_rng(2)
    scores = grouped(250, rng)
    if kind == "misleading":
        scores = scores[:, rng.permutation(INPUTS)]
    known = grouped(60, rng)
    mean = scores.mean(1)
    expected = np.full(INPUTS, 0.83)
    weights = draw_weights(expected)
    widths, wrong = [], []
    for with_factors in (False, True):
        low, high = 0.8, 0.86
        bets = [payoffs(shifted(expected, low + 0.05), weights, low)]
        bets.append(payoffs(1 - shifted(expected, high - 0.05), weights, 1 - high))
        book = AuditBook(INPUTS, Design(weights, expected, np.array(bets), 1, low, high))
        book.grow(310)
        zero = np.zeros(60, np.int64)
        every = np.full(60, INPUTS)
        book.absorb(np.arange(60), every, np.tile(np.arange(INPUTS), 60), known.ravel(), zero, zero)
        if with_factors:
            book.learn_factors()
            assert book._loadings.shape[1] >= 3
        ids = np.arange(60, 310)
        ever_low, ever_high = np.zeros(250), np.ones(250)
        for batch in (200, 300, 400):
            rows = [book.draw(int(i), batch, rng.integers(2**32, size=5 * INPUTS, dtype=np.uint32)) for i in ids]
            flat = np.concatenate([s[r] for s, r in zip(scores, rows, strict=True)])
            none = np.zeros(250, np.int64)
            book.absorb(ids, np.full(250, batch), np.concatenate(rows), flat, none, none)
            ever_low, ever_high = book.bounds(ids, 0.1, 0.1)
        wrong.append(((ever_low > mean + 1e-12).mean(), (ever_high < mean - 1e-12).mean()))
        widths.append((ever_high - ever_low).mean())
        hidden = np.unpackbits(book._seen[ids[0]], count=INPUTS, bitorder="little") == 0
        np.testing.assert_allclose(book._sums[ids[0], 5], book.design.payoffs[0][hidden].sum())
        right = np.unpackbits(book._right[ids[0]], count=INPUTS, bitorder="little")
        np.testing.assert_array_equal(right[~hidden], scores[0][~hidden])
    assert max(max(w) for w in wrong) <= 0.1 + 0.06
    if kind == "helpful":
        assert widths[1] < 0.98 * widths[0]
