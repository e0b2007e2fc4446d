"""``kppstat predict``: the KPP from moments, without a guarantee."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.table import Table

from kppstat.cli.console import Whole, duration, err, plain_table, write_json
from kppstat.cli.outputs import check_outputs, draw, write_each
from kppstat.data import load as load_data
from kppstat.errors import SettingError
from kppstat.noise import read, variation_of
from kppstat.onnx_io import load
from kppstat.prediction import Prediction, predict_sweep
from kppstat.prediction import predict as predict_kpp
from kppstat.sampling.question import Question
from kppstat.sampling.sweep import read_numbers

SHOWN = 12  # weights in the table of shares
PATIENCE = 15  # seconds; what takes longer is announced


def predict(
    model: Path,
    /,
    *,
    sigma: str | None = None,
    k: float = 1.0,
    data: str | None = None,
    performance: str = "top-1",
    inputs: Whole = 1000,
    seed: Whole = 0,
    sensitivity: Annotated[bool, Parameter(negative="")] = False,
    noise_file: Path | None = None,
    fold_batch_norm: Annotated[bool, Parameter(negative="")] = False,
    figure: Path | None = None,
    json: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Predict the KPP in seconds by propagating moments through the network. It carries no guarantee.

    Parameters
    ----------
    model
        ONNX file.
    sigma
        Standard deviation of a weight's deviation, in units of the max abs weight of its tensor; several as
        0.02,0.05,0.1 or FIRST:LAST:COUNT, of which more than three share their derivatives.
    k
        Percent of instances that may fall below the KPP.
    data
        As for `kppstat estimate`.
    performance
        As for `kppstat estimate`.
    inputs
        Inputs that are followed; more are slower and steadier.
    seed
        Fixes every random number.
    sensitivity
        Tell which layer costs the KPP, from gradients. Needs torch.
    noise_file
        TOML file that describes any other device variation.
    fold_batch_norm
        Fold batch normalisation into the weights before noise acts on them.
    figure
        File for the figure; the ending names the format.
    json
        File for the result as JSON; - is stdout.
    quiet
        Say nothing but the answer.
    """
    check_outputs(model, data, noise_file, json=json, figure=figure)
    question = Question(k=k, seed=seed)
    noise = None if noise_file is None else read(noise_file)
    sigmas = [] if sigma is None else read_numbers(sigma, "--sigma")
    if sigma is not None and not sigmas:
        raise SettingError("no sigma is given", where="--sigma", remedy="Give numbers such as 0.02,0.05 or 0.02:0.2:10")
    several = len(sigmas) > 1
    variation = variation_of(sigmas[0] if sigmas else None, noise)
    if figure is not None and several:
        raise SettingError("the figure is of one sigma", where="--figure", remedy="Give one sigma, or leave it out")
    loaded = load(model, fold_batch_norm=fold_batch_norm)
    source = load_data(data, loaded)
    asked: dict[str, Any] = {
        "k": question.k,
        "performance": performance,
        "inputs": inputs,
        "seed": question.seed,
        "sensitivity": sensitivity,
    }

    def tell(seconds: float) -> None:
        if seconds > PATIENCE and not quiet:
            err.print(f"up to about {duration(seconds)} to go; fewer --inputs are quicker and coarser", style="dim")

    results = (
        predict_sweep(loaded, source, sigmas, **asked)
        if several
        else [predict_kpp(loaded, source, variation, tell=tell, **asked)]
    )
    first, *more = results

    def answer() -> None:
        if json == "-":
            return
        for result in results:
            print(f"sigma {result.sigma:g}: {result.summary()}" if more else result.summary())
        if more and not quiet:
            _compare(results)
        elif not quiet:
            _print(first)

    told = {"points": [r.to_dict() for r in results]} if more else first.to_dict()
    write_each(answer, lambda: write_json(told, json), lambda: draw(first, figure))


def _compare(results: Sequence[Prediction]) -> None:
    table = plain_table(">sigma", f">KPP({results[0].k:g})", ">mean", ">sd", ">mse", "in its depth")
    for r in results:
        depth = "; ".join(("yes" if r.trusted else "no", *r.notes))
        table.add_row(f"{r.sigma:g}", r.show(r.kpp), r.show(r.mean), r.show(r.sd), f"{r.mse:.4g}", depth)
    err.print(table)


def _print(result: Prediction) -> None:
    table = plain_table("", "")
    for name, value in (
        (f"KPP({result.k:g})", result.show(result.kpp)),
        ("mean, sd", f"{result.show(result.mean)}, {result.show(result.sd)}"),
        ("clean", result.show(result.clean)),
        ("mse", f"{result.mse:.4g} (mean squared deviation of a logit)"),
        ("guarantee", "none: a prediction; kppstat estimate gives an interval"),
        ("in its depth", "; ".join(("yes, by its own checks" if result.trusted else "no", *result.notes))),
        ("cost", f"{result.evaluations:.1f} evaluations ({result.inputs:,} of {result.total:,} inputs followed)"),
        ("time", duration(result.seconds)),
    ):
        table.add_row(name, value)
    err.print(table)
    err.print(_by_weight(result))


def _by_weight(result: Prediction) -> Table:
    """Return the table of weights, the dearest first."""
    columns = ("weight", ">share in the variance of the logits", ">mse by it alone")
    table = plain_table(*columns, *([">costs"] if result.cost else []))
    ordered = sorted(result.by_weight, key=lambda n: -(result.cost or result.by_weight)[n])

    def row(name: str, share: float, cost: float | None) -> None:
        alone = f"{result.mse_by_weight[name]:.4g}" if name in result.mse_by_weight else ""
        spent = [] if not result.cost else ["" if cost is None else f"{100 * cost:+.2f} points"]
        table.add_row(name, f"{100 * share:.1f} %", alone, *spent)

    for name in ordered[:SHOWN]:
        row(name, result.by_weight[name], result.cost.get(name))
    rest = ordered[SHOWN:]
    if rest:
        more = sum(result.cost[n] for n in rest) if result.cost else None
        row(f"{len(rest)} more", sum(result.by_weight[n] for n in rest), more)
    row("not linear in the weights", result.nonlinear, None)
    return table
