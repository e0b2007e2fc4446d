"""What this machine grants the process: cores and memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Return how many cores this process may use.

    Examples
    --------
    >>> cores() >= 1
    True
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        # The quota of a container: microseconds allowed in a period (Linux control groups, version 2).
        quota, period = (_GROUP / "cpu.max").read_text().split()
        return count if quota == "max" else min(count, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return count


def free_memory() -> float:
    """Return the bytes of memory that can still be taken; infinite where the system does not tell.

    Examples
    --------
    >>> free_memory() > 0
    True
    """
    free = float("inf")
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:"))
        limit = (_GROUP / "memory.max").read_text().strip()
        used = int((_GROUP / "memory.current").read_text())
        return free if limit == "max" else min(free, float(int(limit) - used))
    except (OSError, ValueError, StopIteration):
        return free


def peak_memory() -> float:
    """Return the most bytes that this process has held so far; 0 where the system does not tell.

    Examples
    --------
    >>> peak_memory() >= 0
    True
    """
    if sys.platform == "win32":
        return 0.0
    import resource

    most = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return most if sys.platform == "darwin" else most * 1024
