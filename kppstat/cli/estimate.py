"""``kppstat estimate``: the KPP of a model under device variation, with an interval that holds."""

from __future__ import annotations

import math
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from kppstat.cli import AT_BUDGET, INTERRUPTED
from kppstat.cli.console import Whole, as_given, duration, err, exact_lines, live, plain_table, write_json
from kppstat.cli.outputs import check_outputs, write_each
from kppstat.noise import read, variation_of
from kppstat.report import Tensors, write
from kppstat.report import check as check_report
from kppstat.sampling.question import Guarantee, Method, Question, read_half_width, read_time
from kppstat.sampling.result import GUARANTEES, STOPPED, Estimate, State
from kppstat.sampling.study import Study

LONG = 600  # seconds from which on a run is announced as long


def estimate(
    model: Path,
    /,
    *,
    sigma: float | None = None,
    k: float = 1.0,
    data: str | None = None,
    performance: str = "top-1",
    confidence: float = 0.95,
    half_width: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    method: Method = "auto",
    guarantee: Annotated[Guarantee | None, Parameter(converter=as_given)] = None,
    max_evaluations: float | None = None,
    max_time: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    seed: Whole = 0,
    noise_file: Path | None = None,
    fold_batch_norm: Annotated[bool, Parameter(negative="")] = False,
    workers: Whole | None = None,
    run: Path | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    first: Whole = 0,
    report: Path | None = None,
    json: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Estimate the k-th percentile performance (KPP): what all but k % of the chips reach.

    Parameters
    ----------
    model
        ONNX file.
    sigma
        Standard deviation of a weight's deviation, in units of the max abs weight of its tensor.
    k
        Percent of instances that may fall below the KPP.
    data
        Labelled inputs: FILE.npz (x, y), "X.npy,Y.npy", IDX files, an image folder, or MODULE:FUNCTION. Without it,
        MODEL.npz beside MODEL.onnx is taken.
    performance
        top-1, top-5, cross-entropy, mse, or MODULE:FUNCTION of (outputs, targets) giving the score of each input.
    confidence
        Confidence of the interval.
    half_width
        Wanted half-width of the interval: percentage points as 0.5pp, or a number in the unit of the performance.
        Half a point where performance is a fraction.
    method
        auto; mc: full evaluations; audited: most instances are judged by a random part of the inputs; tilted: more
        instances where failures are expected, for small k (needs torch); subset: the same, searching failures first.
    guarantee
        exact, anytime (holds whenever you stop) or asymptotic. Without it exact, or asymptotic for tilted and subset.
    max_evaluations
        Budget of full passes over the inputs, everything counted.
    max_time
        Budget of time: 90s, 10m, 1.5h.
    seed
        Fixes every random number.
    noise_file
        TOML file that describes any other device variation, also by layer.
    fold_batch_norm
        Fold batch normalisation into the weights before noise acts on them.
    workers
        How many instances run at a time; chosen by a short probe.
    run
        Folder for the journal: what is evaluated is never lost.
    resume
        Continue the run in that folder. With the budget and half-width that it was begun with an exact interval stays
        exact; with others, or after --max-time ended it, the interval is anytime.
    first
        Number of the first instance, to share a run between machines (join them with `kppstat merge`).
    report
        HTML page to write, with its figures beside it as SVG and PNG.
    json
        File for the result as JSON; - is stdout.
    quiet
        Say nothing but the answer.
    """
    check_outputs(model, data, noise_file, json=json, report=report)
    if report is not None:
        check_report(report)
    question = Question(
        k=k,
        confidence=confidence,
        half_width=None if half_width is None else read_half_width(half_width),
        guarantee=guarantee,
        method=method,
        max_evaluations=max_evaluations,
        max_time=None if max_time is None else read_time(max_time),
        seed=seed,
    )
    variation = variation_of(sigma, None if noise_file is None else read(noise_file))
    study = Study(
        model,
        question,
        variation,
        data=data,
        performance=performance,
        workers=workers,
        run=run,
        resume=resume,
        first=first,
        fold_batch_norm=fold_batch_norm,
    )
    with study:
        if not quiet:
            _introduce(study)
        interrupted = _run(study, quiet=quiet)
        if interrupted and not study.trace[-1].evaluations:
            err.print("interrupted before any instance was evaluated")
            return INTERRUPTED
        result = study.result()
        write_each(
            lambda: _answer(result, study.outcome, quiet=quiet) if json != "-" else None,
            lambda: write_json(result.to_dict(), json),
            lambda: _report(study, result, report),
        )
    if interrupted:
        return INTERRUPTED
    return 0 if result.converged else AT_BUDGET


def _introduce(study: Study) -> None:
    model, data = study.model, study.data
    err.print(f"[bold]{model.path.name}[/] on {len(data):,} inputs from {data.source}", soft_wrap=True)
    err.print(f"clean {study.performance.name}: [bold]{study.show(study.clean)}[/]")
    table = plain_table("weights with device variation", "shape", ">count", ">sd of the deviation")
    for t in Tensors.of(model, study.variation).noisy:
        table.add_row(t.name, "x".join(map(str, t.shape)), f"{t.count:,}", f"{t.sd:.4g}")
    err.print(table)
    for line in exact_lines(model.exact):
        err.print(f"exact: {line}", style="dim", soft_wrap=True, markup=False)
    for note in (*model.notes, *data.notes, *study.notes, *study.engine.plan.notes):
        err.print(f"note: {note}", style="dim", soft_wrap=True, markup=False)
    plan = study.engine.plan
    err.print(f"{plan.workers} workers, about {plan.rate:.3g} evaluations a second", style="dim")


def _run(study: Study, *, quiet: bool) -> bool:
    """Drive the study; return whether the user stopped it."""
    begun, warned = time.monotonic(), False
    try:
        with live(quiet=quiet) as show:
            for state in study.states():
                show(_line(study, state, begun))
                left = _time_left(state, begun)
                if left > LONG and not warned and not quiet:
                    warned = True
                    _warn(study, left)
    except KeyboardInterrupt:
        study.conclude(STOPPED)
        return True
    return False


def _time_left(state: State, begun: float) -> float:
    """Seconds left by the cost so far and the cost expected; 0 where the estimator cannot tell yet."""
    if not state.expected > state.evaluations > 0:
        return 0.0
    return (time.monotonic() - begun) * (state.expected / state.evaluations - 1)


def _warn(study: Study, left: float) -> None:
    limit = study.question.max_time
    if limit is not None and limit < left:
        return
    wide = 2 * study.half_width
    err.print(
        f"This run will take about {duration(left)}. Cheaper: --half-width {wide:g} (a quarter of the time), "
        f"--max-time 10m (the interval reached by then), or a larger k. Ctrl-C ends with the interval valid so far.",
        style="yellow",
    )


def _line(study: Study, state: State, begun: float) -> Text:
    q, passed = study.question, time.monotonic() - begun
    low, high = max(state.low, study.performance.low), min(state.high, study.performance.high)
    left = _time_left(state, begun)
    estimate = f" {study.show(state.kpp)}" if math.isfinite(state.kpp) else ""
    parts = [
        f"KPP({q.k:g}){estimate} [{study.show(low)}, {study.show(high)}] {state.guarantee}",
        f"{state.instances:,} instances",
        f"{state.evaluations:,.1f} evaluations",
        f"{state.evaluations / max(passed, 1e-9):.3g}/s",
        f"{duration(left)} left" if left else state.phase,
    ]
    return Text("  ".join(parts), overflow="ellipsis", no_wrap=True)


def _answer(result: Estimate, outcome: tuple[str, ...], *, quiet: bool) -> None:
    print(result.summary())
    if quiet:
        return
    table = plain_table("", "")
    for name, value in (
        (
            f"KPP({result.k:g})",
            f"{result.show(result.kpp)}  [{result.show(result.ci_low)}, {result.show(result.ci_high)}]",
        ),
        ("confidence", f"{100 * result.confidence:.12g} %"),
        ("guarantee", GUARANTEES[result.guarantee]),
        ("mean, sd", f"{result.show(result.mean)}, {result.show(result.sd)} over {result.values.size:,} instances"),
        ("clean", result.show(result.clean)),
        ("cost", f"{result.evaluations:,.1f} evaluations of {result.inputs:,} inputs, everything counted"),
        ("plain Monte Carlo", f"about {result.factor:.2g} times the cost" if result.factor else "not compared"),
        ("time", duration(result.seconds)),
        ("method, seed", f"{result.method}, {result.seed}"),
        ("stopped", result.stop_reason),
    ):
        table.add_row(name, value)
    err.print(table)
    for note in outcome:
        err.print(f"note: {note}", style="dim", soft_wrap=True, markup=False)


def _report(study: Study, result: Estimate, path: Path | None) -> None:
    if path is None:
        return
    command = shlex.join(["kppstat", *sys.argv[1:]])
    for written in write(result, Tensors.of(study.model, study.variation), path, command=command):
        err.print(f"wrote {written}", style="dim", soft_wrap=True)
