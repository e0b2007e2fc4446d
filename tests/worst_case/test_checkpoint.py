from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kppstat.data import Dataset
from kppstat.errors import RunError, SettingError
from kppstat.onnx_io import Model
from kppstat.worst_case import Attack, worst

PASSES = 17  # two descents


def test_a_resumed_search_ends_where_it_would_have_ended(lenet: Model, few: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "search.pt"
    attack = Attack(lenet, 0.005, data=few, passes=PASSES, checkpoint=path)
    for state in attack.states():
        if state.phase.startswith("descent 2"):
            break
    resumed = Attack(lenet, 0.005, data=few, passes=PASSES, checkpoint=path)
    first = next(iter(resumed.states()))
    assert first.passes > PASSES / 3
    again = worst(lenet, 0.005, data=few, passes=PASSES, checkpoint=path)
    whole = worst(lenet, 0.005, data=few, passes=PASSES)
    assert again.performance_worst == whole.performance_worst
    assert again.passes == pytest.approx(whole.passes)
    assert all((again.weights[n] == whole.weights[n]).all() for n in whole.weights)
    assert not list(tmp_path.glob(".*"))


def test_a_checkpoint_of_another_search_is_refused(lenet: Model, few: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "search.pt"
    worst(lenet, 0.005, data=few, passes=3, checkpoint=path)
    with pytest.raises(RunError, match="bound"):
        worst(lenet, 0.006, data=few, passes=3, checkpoint=path)
    path.write_bytes(b"something else")
    with pytest.raises(RunError, match="no checkpoint"):
        worst(lenet, 0.005, data=few, passes=3, checkpoint=path)
    torch.save({"state": 1}, path)
    with pytest.raises(RunError, match="no checkpoint"):
        worst(lenet, 0.005, data=few, passes=3, checkpoint=path)
    with pytest.raises(RunError, match="cannot write"):
        worst(lenet, 0.005, data=few, passes=3, checkpoint=tmp_path / "none" / "search.pt")


def test_weights_folded_otherwise_are_another_search(lenet: Model, few: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "search.pt"
    worst(lenet, 0.005, data=few, passes=3, checkpoint=path)
    folded = replace(lenet, factors={"layers.0.weight": np.ones(16)})  # the same file
    with pytest.raises(RunError, match="folded"):
        worst(folded, 0.005, data=few, passes=3, checkpoint=path)


def test_only_ours_keeps_one(lenet: Model, few: Dataset, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="pgd"):
        Attack(lenet, 0.01, data=few, method="pgd", checkpoint=tmp_path / "search.pt")
