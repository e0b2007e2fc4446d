"""Runs a benchmark that has a row for each of its settings, from the command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import write_table


def run_settings(
    description: str | None,
    settings: Iterable[str],
    measure: Callable[[str, int], Any],
    holds: Callable[[Any], bool],
    out: Path,
) -> int:
    """Measure the settings that are asked for, write a table, and return 1 if a row does not hold what is promised.

    Parameters
    ----------
    description : str
        Of the benchmark.
    settings : iterable of str
    measure : callable
        From a setting and a number of replications to a row, a dataclass with the field ``setting``.
    holds : callable
        Whether a row holds what is promised.
    out : path
        Where the table goes unless another place is asked for.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--only", default="", help="part of the name of a setting")
    parser.add_argument("--out", type=Path, default=out)
    given = parser.parse_args()
    rows = []
    for name in settings:
        if given.only not in name:
            continue
        rows.append(measure(name, given.replications))
        print({k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(rows[-1]).items()}, flush=True)
        write_table(rows, given.out)
    failed = [row.setting for row in rows if not holds(row)]
    print("below what is promised: " + ", ".join(failed) if failed else "all as promised")
    return 1 if failed else 0


def order_statistic(values: np.ndarray, k: float, count: int | None = None) -> float:
    """Return the k-th percentile of drawn values, inf{a : P(A <= a) >= k/100}; of `count` if these are the lowest."""
    at = math.ceil(k / 100 * (count or values.size) - 1e-9) - 1
    return float(np.partition(values, at)[at])
