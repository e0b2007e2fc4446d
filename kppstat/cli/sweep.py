"""``kppstat sweep``: KPP against sigma."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from kppstat.cli import INTERRUPTED
from kppstat.cli.console import Answer, Whole, duration, err, live, plain_table, write_json
from kppstat.cli.outputs import check_outputs, draw, write_each
from kppstat.sampling.result import shown
from kppstat.sampling.sweep import Sweep, read_numbers, sweep_states


def sweep(
    model: Path,
    /,
    *,
    sigma: str,
    k: str = "0.1,1,5,50",
    instances: Whole = 400,
    data: str | None = None,
    performance: str = "top-1",
    confidence: float = 0.95,
    seed: Whole = 0,
    fold_batch_norm: Annotated[bool, Parameter(negative="")] = False,
    workers: Whole | None = None,
    run: Path | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    figure: Path | None = None,
    json: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Estimate the KPP at several sigmas and for several k, with an exact interval at each point.

    The same instances serve all k, and all sigmas share their random numbers.

    Parameters
    ----------
    model
        ONNX file.
    sigma
        Sigmas as 0.02,0.05,0.1 or FIRST:LAST:COUNT.
    k
        Percentages as 0.1,1,5,50.
    instances
        Instances for each sigma.
    data
        As for `kppstat estimate`.
    performance
        As for `kppstat estimate`.
    confidence
        Confidence of the interval of each point.
    seed
        Fixes every random number.
    fold_batch_norm
        Fold batch normalisation into the weights before noise acts on them.
    workers
        How many instances run at a time; chosen by a short probe.
    run
        Folder for the journals, one for each sigma.
    resume
        Continue the runs in that folder.
    figure
        File for the figure; the ending names the format.
    json
        File for the result as JSON; - is stdout.
    quiet
        Say nothing but the answer.
    """
    check_outputs(model, data, json=json, figure=figure)
    begun = time.monotonic()
    result: Sweep | None = None
    with live(quiet=quiet) as show:
        for done, total, finished in sweep_states(
            model,
            read_numbers(sigma, "--sigma"),
            read_numbers(k, "--k"),
            instances=instances,
            confidence=confidence,
            seed=seed,
            run=run,
            resume=resume,
            data=data,
            performance=performance,
            workers=workers,
            fold_batch_norm=fold_batch_norm,
        ):
            result = finished
            passed = time.monotonic() - begun
            show(Text(f"{done:,} of {total:,} evaluations  {duration(passed * (total / done - 1))} left"))
    assert result is not None
    facts = result.to_dict()
    write_each(
        lambda: _print(result) if json != "-" else None, lambda: write_json(facts, json), lambda: draw(result, figure)
    )
    if done == total:
        return 0
    told = f"interrupted after {done:,} of {total:,} evaluations: sigmas that were not finished are left out"
    err.print(told, style="yellow", soft_wrap=True)
    return INTERRUPTED


def _print(result: Sweep) -> None:
    print(result.summary())
    table = plain_table(">sigma", ">k", ">KPP", "interval", ">mean", ">sd")
    before = None
    for p in result.points:
        kpp, low, high, mean, sd = (
            shown(value, fraction=result.fraction) for value in (p.kpp, p.ci_low, p.ci_high, p.mean, p.sd)
        )
        new = p.sigma != before
        table.add_row(f"{p.sigma:g}" if new else "", f"{p.k:g}", kpp, f"[{low}, {high}]", *((mean, sd) if new else ()))
        before = p.sigma
    Answer(highlight=False, soft_wrap=True).print(table)
    for k in sorted({p.k for p in result.points}):
        if result.instances < result.instances_for(k):
            err.print(f"note: k = {k:g} % needs --instances {result.instances_for(k)} to be bounded on both sides.")
