"""``kppstat compare``: which of several models has the better KPP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.text import Text

from kppstat.cli import AT_BUDGET, INTERRUPTED
from kppstat.cli.console import Whole, duration, err, live, plain_table, write_json
from kppstat.cli.outputs import check_outputs, write_each
from kppstat.noise import read, variation_of
from kppstat.sampling.compare import Comparison, compare_states
from kppstat.sampling.question import Question, read_half_width, read_time
from kppstat.sampling.result import STOPPED


def compare(
    first: Path,
    second: Path,
    /,
    *more: Path,
    sigma: float | None = None,
    k: float = 1.0,
    data: str | None = None,
    performance: str = "top-1",
    confidence: float = 0.95,
    half_width: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    method: Literal["auto", "mc", "audited"] = "auto",
    max_evaluations: float | None = None,
    max_time: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    seed: Whole = 0,
    noise_file: Path | None = None,
    fold_batch_norm: Annotated[bool, Parameter(negative="")] = False,
    workers: Whole | None = None,
    json: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Compare the KPP of models on the same instances and inputs, until it is clear which is better.

    All intervals hold at once, whenever the run stops.

    Parameters
    ----------
    first
        ONNX file; its data serve all models.
    second
        ONNX file.
    more
        Further ONNX files.
    sigma
        Standard deviation of a weight's deviation, in units of the max abs weight of its tensor.
    k
        Percent of instances that may fall below the KPP.
    data
        As for `kppstat estimate`.
    performance
        As for `kppstat estimate`.
    confidence
        With which all intervals hold at once.
    half_width
        Wanted half-width of each interval, where the models are not told apart before.
    method
        auto, mc or audited.
    max_evaluations
        Budget of full passes over the inputs, all models together.
    max_time
        Budget of time: 90s, 10m, 1.5h.
    seed
        Fixes every random number.
    noise_file
        TOML file that describes any other device variation.
    fold_batch_norm
        Fold batch normalisation into the weights before noise acts on them.
    workers
        How many instances of a model run at a time; chosen by a short probe.
    json
        File for the result as JSON; - is stdout.
    quiet
        Say nothing but the answer.
    """
    models = [first, second, *more]
    for model in models:
        check_outputs(model, data, noise_file, json=json)
    question = Question(
        k=k,
        confidence=confidence,
        half_width=None if half_width is None else read_half_width(half_width),
        method=method,
        max_evaluations=max_evaluations,
        max_time=None if max_time is None else read_time(max_time),
        seed=seed,
    )
    variation = variation_of(sigma, None if noise_file is None else read(noise_file))
    result: Comparison | None = None
    with live(quiet=quiet) as show:
        for states, finished in compare_states(
            models,
            question,
            variation,
            data=data,
            performance=performance,
            workers=workers,
            fold_batch_norm=fold_batch_norm,
        ):
            result = finished
            parts = (
                f"{model.name} [{state.low:.4f}, {state.high:.4f}] {state.evaluations:,.0f}"
                for model, state in zip(models, states, strict=True)
            )
            show(Text("   ".join(parts), overflow="ellipsis", no_wrap=True))
    assert result is not None
    told = result.to_dict()
    write_each(lambda: _print(result, quiet=quiet) if json != "-" else None, lambda: write_json(told, json))
    if any(state.phase == STOPPED for state in states):
        return INTERRUPTED
    return 0 if all(d.told_apart for d in result.differences) else AT_BUDGET


def _print(result: Comparison, *, quiet: bool) -> None:
    print(result.summary())
    if quiet:
        return
    table = plain_table("model", ">KPP", "interval", ">clean", ">instances", ">evaluations")
    for e in result.estimates:
        interval = f"[{e.show(e.ci_low)}, {e.show(e.ci_high)}]"
        table.add_row(
            Path(e.model).name, e.show(e.kpp), interval, e.show(e.clean), f"{e.instances:,}", f"{e.evaluations:,.0f}"
        )
    err.print(table)
    err.print(
        f"{100 * result.confidence:.12g} % for all intervals at once, guarantee {result.guarantee}; "
        f"{result.evaluations:,.0f} evaluations in {duration(result.seconds)}"
    )
