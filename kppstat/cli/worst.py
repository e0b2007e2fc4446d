"""``kppstat worst``: the weights within a bound that lower the accuracy most."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.text import Text

from kppstat.cli import INTERRUPTED
from kppstat.cli.console import Whole, duration, err, live, plain_table, write_json
from kppstat.cli.outputs import check_outputs, draw, write_each
from kppstat.errors import SettingError
from kppstat.noise import Variation, read, variation_of
from kppstat.report import check, write_worst
from kppstat.sampling.result import shown

if TYPE_CHECKING:
    from kppstat.worst_case import Attack, DesignPoint, Probability, WorstCase

NEAREST = 50  # gradient passes, about, that the search for the nearest point takes at most


def worst(
    model: Path,
    /,
    *,
    bound: float,
    norm: Literal["linf", "l2", "density"] = "linf",
    data: str | None = None,
    method: Literal["ours", "lwc", "pgd", "fgsm", "random"] = "ours",
    passes: float = 100.0,
    layers: str | None = None,
    per_layer: Annotated[bool, Parameter(negative="")] = False,
    sigma: float | None = None,
    noise_file: Path | None = None,
    instances: Whole = 300,
    limit: float | None = None,
    seed: Whole = 0,
    fold_batch_norm: Annotated[bool, Parameter(negative="")] = False,
    checkpoint: Path | None = None,
    out: Path | None = None,
    figure: Path | None = None,
    report: Path | None = None,
    json: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Find weights within a bound of the intended ones that lower the top-1 accuracy most.

    The weights found are evaluated on all inputs as they are stored, so the true worst case is at the accuracy
    reported or below it.

    Parameters
    ----------
    model
        ONNX file.
    bound
        Largest deviation, in units of the max abs weight of its tensor; for density in standard deviations.
    norm
        linf bounds every weight; l2 the root mean square over each tensor; density that over all tensors, in standard
        deviations of --sigma or --noise-file: chips drawn at random have about 1, denser ones less.
    data
        As for `kppstat estimate`.
    method
        ours; for comparison lwc (as published), pgd, fgsm or random.
    passes
        Budget of gradient passes over all inputs. One costs three evaluations.
    layers
        Attack only tensors of this name or pattern (several with commas between).
    per_layer
        Attack each tensor alone, with an equal share of the budget: which layer is the weak one.
    sigma
        Also say how likely a chip is to be as bad, under Gaussian variation of this sigma: from instances that
        are shown inputs until it is certain on which side they lie.
    noise_file
        TOML file with any other device variation, instead of --sigma.
    instances
        How many to draw for that.
    limit
        With --sigma, also find the point nearest to the intended weights, in standard deviations, at which the
        accuracy falls to this fraction, and what it suggests about probability (guarantee none). Costs up to 50
        gradient passes more.
    seed
        Fixes every random number.
    fold_batch_norm
        Fold batch normalisation into the weights first.
    checkpoint
        File that keeps where the search is: the same command goes on from there.
    out
        ONNX file to write, with the weights found.
    figure
        File for the figure of accuracy against bound; the ending names the format.
    report
        HTML page to write, with that figure.
    json
        File for the result as JSON; - is stdout.
    quiet
        Say nothing but the answer.
    """
    from kppstat.worst_case import Attack
    from kppstat.worst_case.chance import check_chips
    from kppstat.worst_case.form import check_question

    for where, given in (
        ("--out", out),
        ("--figure", figure),
        ("--report", report),
        ("--sigma", sigma),
        ("--noise-file", noise_file),
        ("--limit", limit),
        ("--checkpoint", checkpoint),
    ):
        its_own = norm == "density" and where in ("--sigma", "--noise-file")  # part of the bound
        if per_layer and given is not None and not its_own:
            raise SettingError("each tensor is attacked apart", where=where, remedy="Leave out --per-layer")
    variation = None
    if sigma is not None or noise_file is not None:
        variation = variation_of(sigma, None if noise_file is None else read(noise_file))
    check_outputs(model, data, noise_file, json=json, out=out, figure=figure, report=report)
    if report is not None:
        check(report)
    if limit is not None and sigma is None:
        raise SettingError("a limit alone asks for nothing", where="--limit", remedy="Add --sigma")
    attack = Attack(
        model,
        bound,
        norm=norm,
        noise=variation if norm == "density" else None,
        data=data,
        method=method,
        passes=passes,
        layers=layers,
        seed=seed,
        fold_batch_norm=fold_batch_norm,
        checkpoint=checkpoint,
    )
    if sigma is not None:
        check_question(attack.clean, sigma, limit)
    if variation is not None:
        check_chips(attack.model, variation, instances)
    if not quiet:
        _introduce(attack)
    if per_layer:
        return _each(attack, json=json, quiet=quiet)
    interrupted = _run(attack, quiet=quiet)
    if figure is not None or report is not None:
        attack.trace_curve()
    result = attack.result()
    chance, point = None, None
    if not interrupted and variation is not None:
        try:
            chance = _chance(attack, variation, instances, quiet=quiet)
            if sigma is not None and limit is not None:
                each = result.seconds / max(result.passes, 1)
                point = _nearest(attack, sigma, limit, each, quiet=quiet)
        except KeyboardInterrupt:
            interrupted = True

    def answer() -> None:
        if json == "-":
            return
        _answer(result, quiet=quiet)
        for found in (chance, point):
            if found is not None:
                print(found.summary())
        if limit is not None and chance is not None and point is None and not interrupted:
            print("No point was found at which the accuracy falls to the limit.")

    asked = {"probability": chance, "design_point": point}
    told = {**result.to_dict(), **{name: found.to_dict() for name, found in asked.items() if found is not None}}

    def save() -> None:
        if out is not None:
            result.save(attack.model, out)
            err.print(f"wrote {out}", style="dim", soft_wrap=True)

    def page() -> None:
        if report is not None:
            written = write_worst(result, chance, report, point=point, command=shlex.join(["kppstat", *sys.argv[1:]]))
            err.print(f"wrote {written[0]}", style="dim", soft_wrap=True)

    write_each(answer, save, lambda: write_json(told, json), lambda: draw(result, figure), page)
    return INTERRUPTED if interrupted else 0


def _chance(attack: Attack, variation: Variation, instances: int, *, quiet: bool) -> Probability:
    """Draw instances, with a line that says how far that is."""
    from kppstat.worst_case import probability

    begun = time.monotonic()
    with live(quiet=quiet) as show:

        def progress(done: int, as_bad: int) -> None:
            left = (time.monotonic() - begun) / done * (instances - done)
            show(Text(f"{as_bad} as bad of {done:,} instances  {duration(left)} left"))

        return probability(attack, variation, instances=instances, progress=progress)


def _nearest(attack: Attack, sigma: float, limit: float, each: float, *, quiet: bool) -> DesignPoint | None:
    """Look for the design point; a gradient pass takes `each` seconds."""
    from kppstat.worst_case import design_point

    if not quiet:
        err.print(f"looking for the nearest point: up to {duration(NEAREST * each)}", style="dim")
    return design_point(attack, sigma, limit)


def _introduce(attack: Attack) -> None:
    model, data = attack.model, attack.data
    err.print(f"[bold]{model.path.name}[/] on {len(data):,} inputs from {data.source}", soft_wrap=True)
    err.print(f"clean {attack.certifier.performance}: [bold]{shown(attack.clean, fraction=True)}[/]")
    err.print(f"{attack.network.size:,} weights in {len(attack.names)} of {len(model.weights)} tensors are attacked")
    for note in (*model.notes, *data.notes):
        err.print(f"note: {note}", style="dim", soft_wrap=True, markup=False)


def _run(attack: Attack, *, quiet: bool, of: str = "") -> bool:
    """Drive the search; return whether the user stopped it."""
    begun = time.monotonic()
    try:
        with live(quiet=quiet) as show:
            for state in attack.states():
                left = (time.monotonic() - begun) * max(state.budget / state.passes - 1, 0) if state.passes else 0
                parts = [
                    *([of] if of else []),
                    f"worst {shown(state.worst, fraction=True)}",
                    f"last seen {shown(state.seen, fraction=True)}",
                    f"{state.passes:.1f} of {state.budget:g} passes",
                    f"{duration(left)} left",
                    state.phase,
                ]
                show(Text("  ".join(parts), overflow="ellipsis", no_wrap=True))
    except KeyboardInterrupt:
        attack.interrupt()
        return True
    return False


def _each(attack: Attack, *, json: str | None, quiet: bool) -> int:
    """Attack each tensor alone and print a table; after an interruption, of those that were attacked."""
    table = plain_table("tensor", ">weights", ">worst accuracy", ">lost", ">passes")
    results: list[WorstCase] = []
    interrupted = False
    for alone in attack.apart():
        interrupted = _run(alone, quiet=quiet, of=alone.names[0])
        result = alone.result()
        results.append(result)
        lost = f"{100 * (result.clean - result.performance_worst):.2f} pp"
        worst_found = result.show(result.performance_worst)
        table.add_row(alone.names[0], f"{alone.network.size:,}", worst_found, lost, f"{result.passes:.1f}")
        if interrupted:
            break

    def answer() -> None:
        if json == "-":
            return
        weak = min(results, key=lambda result: result.performance_worst)
        print(f"The weakest tensor is {weak.layers[0]}. {weak.summary()}")
        if not quiet:
            err.print(table)

    write_each(answer, lambda: write_json({"tensors": [result.to_dict() for result in results]}, json))
    return INTERRUPTED if interrupted else 0


def _answer(result: WorstCase, *, quiet: bool) -> None:
    print(result.summary())
    if quiet:
        return
    table = plain_table("", "")
    for name, value in (
        ("worst found", f"{result.show(result.performance_worst)} of {result.inputs:,} inputs"),
        ("guarantee", "exact: the weights are exhibited, so the worst case is this low or lower"),
        ("clean", result.show(result.clean)),
        ("reached", f"{result.reached:.6g} of {result.bound:g} ({result.norm})"),
        ("cost", f"{result.passes:.1f} gradient passes = {result.evaluations:.1f} evaluations, everything counted"),
        ("time", duration(result.seconds)),
        ("method, seed", f"{result.method}, {result.seed}"),
        ("stopped", result.stop_reason),
    ):
        table.add_row(name, value)
    err.print(table)
