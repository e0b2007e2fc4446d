"""What is asked is checked before anything is computed, whoever asks."""

from __future__ import annotations

from typing import Any

import pytest

from kppstat.errors import SettingError
from kppstat.sampling.question import Question, read_half_width


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"k": "5"}, r"--k: k is '5'\. Give a number"),
        ({"k": None}, r"--k: k is None\. Give a number"),
        ({"k": float("nan")}, r"--k: k is nan"),
        ({"half_width": "0.5pp"}, r"--half-width: half-width is '0\.5pp'"),
        ({"max_time": "10s"}, r"--max-time: max-time is '10s'"),
        ({"max_evaluations": 0}, r"--max-evaluations: max-evaluations is 0"),
        ({"seed": 1.5}, r"--seed: seed is 1\.5\. Give a whole number"),
        ({"guarantee": "none"}, r"--guarantee: guarantee is none"),
    ],
)
def test_what_cannot_be_asked(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        Question(**asked)


def test_a_half_width_keeps_its_unit() -> None:
    assert read_half_width("49pp") == pytest.approx(0.49)
    assert read_half_width("60") == 60
    with pytest.raises(SettingError, match="half-width of 50% tells nothing"):
        read_half_width("50%")
