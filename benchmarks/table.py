"""Results as a table in a file."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any


def write_table(rows: Sequence[Any], path: Path) -> None:
    """Write rows, mappings or dataclasses alike, as CSV; all that are known at a time, so that nothing is lost."""
    records = [dict(row) if isinstance(row, Mapping) else asdict(row) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(records[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(records)
