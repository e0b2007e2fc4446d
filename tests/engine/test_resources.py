import os
from pathlib import Path

import numpy as np
import pytest

from kppstat.engine import resources


@pytest.mark.parametrize(
    ("quota", "most"), [("max 100000", 64), ("150000 100000", 2), ("20000 100000", 1), ("junk", 64)]
)
def test_the_quota_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, most: int
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(resources, "_GROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert resources.cores() == most


def test_a_limit_of_memory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_GROUP", tmp_path)
    free = resources.free_memory()
    assert free > 1e6
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert resources.free_memory() == 3000


def test_peak_memory_grows_with_use() -> None:
    before = resources.peak_memory()
    held = np.ones(int(before / 8) + 10**7)
    assert resources.peak_memory() - before > 0.5 * held.nbytes - before
    assert resources.peak_memory() > before
