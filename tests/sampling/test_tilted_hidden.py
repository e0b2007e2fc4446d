"""The bound on failures that the surrogate does not see."""

from __future__ import annotations

import numpy as np
import pytest

from kppstat.sampling.tilted_hidden import _ERROR, HiddenMass
from kppstat.sampling.tilted_ledger import Looks
from kppstat.stats.share import share_bound_ever
from tests.sampling.test_tilted import INPUTS, World, useless


@pytest.fixture
def looks() -> Looks:
    looks = Looks(World(useless).reveal, INPUTS, 0.0, 1.0, 0, 0)
    looks.add([None] * 8)
    middle = float(np.median(list(looks.ledger.pilot(8))))
    looks.ledger.start(middle / 2, middle / 2, middle)
    looks.learn(middle / 2, middle)
    return looks


def test_audits_instances_whose_first_look_was_left_out(looks: Looks) -> None:
    ids = looks.add([None] * 40)
    hidden = HiddenMass(looks, 0.95, 0.3)
    for _ in hidden.audit(ids, np.ones(len(ids), bool), 1.0, 20.0):
        pass
    assert looks.ledger.book.seen(ids).min() > 0
    assert 0.05 < hidden.bound() < 0.5


def test_knows_nothing_before_the_first_audit(looks: Looks) -> None:
    hidden = HiddenMass(looks, 0.95, 0.3)
    none = looks.add([])
    assert list(hidden.audit(none, np.zeros(0, bool), 1.0, 5.0)) == []
    assert hidden.bound() == 1.0


def test_failures_count_and_places_that_the_surrogate_sees_do_not(looks: Looks) -> None:
    ids = looks.add([None] * 40)
    all_fail, none_blind = HiddenMass(looks, 0.95, 0.999), HiddenMass(looks, 0.95, 0.999)
    for _ in none_blind.audit(ids, np.zeros(len(ids), bool), 1.0, 40.0):
        pass
    for _ in all_fail.audit(ids, np.ones(len(ids), bool), 1.0, 40.0):
        pass
    assert all_fail.bound() > 0.9
    assert none_blind.bound() < 0.2


def test_the_counts_of_all_waves_are_bounded_at_once_and_audits_may_err(looks: Looks) -> None:
    hidden = HiddenMass(looks, 0.95, 0.999)
    best = 1.0
    for count, blind in ((30, 0), (20, 20), (30, 0)):
        ids = looks.add([None] * count)
        for _ in hidden.audit(ids, np.arange(count) < blind, 1.0, 40.0):
            pass
        best = min(best, share_bound_ever(hidden._hits, hidden._draws, 0.95) / (1 - _ERROR))
        assert hidden.bound() == best
    assert (hidden._draws, hidden._hits) == (80, 20)


def test_what_the_plan_allows_decides_how_many_count(looks: Looks) -> None:
    ids = looks.add([None] * 40)
    hidden = HiddenMass(looks, 0.95, 0.3)
    for _ in hidden.audit(ids, np.ones(len(ids), bool), 1.0, 1.0):
        pass
    assert 0 < hidden._draws < 40
