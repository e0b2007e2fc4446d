"""``kppstat merge``: join the runs of several machines."""

from __future__ import annotations

from pathlib import Path

from kppstat.runs import merge as merge_runs


def merge(out: Path, /, *runs: Path) -> None:
    """Merge runs of the same question (other instances of the same seed) into one folder.

    Go on from it with ``kppstat estimate ... --run OUT --resume``. An exact interval of the merged run holds if its
    budget and half-width were decided on before the results of the parts were seen.

    Parameters
    ----------
    out
        Folder of the merged run.
    runs
        Folders that were given to ``--run``.
    """
    print(f"{out} holds {merge_runs(out, runs):,} evaluations.")
