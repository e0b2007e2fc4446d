"""``kppstat verify``: the weights that are worth programming by write-verify."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.text import Text

from kppstat.cli.console import Whole, err, live, plain_table, write_json
from kppstat.cli.outputs import check_outputs, write_each
from kppstat.noise import read


def verify(
    model: Path,
    /,
    *,
    fraction: float,
    verified_sigma: float,
    sigma: float | None = None,
    noise_file: Path | None = None,
    k: float = 1.0,
    data: str | None = None,
    method: Literal["ours", "swim", "magnitude", "random"] = "ours",
    passes: float = 20.0,
    seed: Whole = 0,
    fold_batch_norm: Annotated[bool, Parameter(negative="")] = False,
    out: Path | None = None,
    json: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Choose the weights that raise the KPP most if they are programmed by write-verify.

    Weights are ranked by how fast the KPP falls with the variance of each one's deviation. The file that --out names
    is a noise file with these weights verified: `kppstat estimate MODEL --noise-file FILE` gives the KPP.

    Parameters
    ----------
    model
        ONNX file.
    fraction
        Of all weights with device variation, to be verified.
    verified_sigma
        Sigma left on a verified weight, in units of the max abs weight of its tensor.
    sigma
        Sigma of additive Gaussian variation of the others.
    noise_file
        TOML file with any other device variation, instead of --sigma.
    k
        Percent of instances that may fall below.
    data
        As for `kppstat estimate`. Best are inputs other than those the KPP is judged on.
    method
        ours; for comparison swim (second derivative of the loss, as published), magnitude or random.
    passes
        Budget of gradient passes over all inputs. One costs three evaluations.
    seed
        Fixes every random number.
    fold_batch_norm
        Fold batch normalisation into the weights first.
    out
        Noise file to write.
    json
        File for the result as JSON; - is stdout.
    quiet
        Say nothing but the answer.
    """
    from kppstat.write_verify import select

    check_outputs(model, data, noise_file, json=json, out=out)
    with live(quiet=quiet) as show:
        chosen = select(
            model,
            fraction,
            verified_sigma,
            sigma=sigma,
            noise=None if noise_file is None else read(noise_file),
            data=data,
            k=k,
            method=method,
            passes=passes,
            seed=seed,
            fold_batch_norm=fold_batch_norm,
            progress=lambda spent: show(Text(f"ranking weights: {spent:.1f} of {passes:g} gradient passes")),
        )
    write_each(
        lambda: print(chosen.summary()) if json != "-" else None,
        lambda: chosen.save(out) if out is not None else None,
        lambda: write_json(chosen.to_dict(), json),
    )
    if quiet:
        return 0
    table = plain_table("tensor", ">weights", ">verified", ">share")
    for name, (count, weights) in chosen.by_tensor.items():
        table.add_row(name, f"{weights:,}", f"{count:,}", f"{100 * count / weights:.1f} %")
    err.print(table)
    if out is not None:
        following = shlex.join(["kppstat", "estimate", str(model), "--noise-file", str(out), "--k", f"{k:g}"])
        err.print(f"wrote {out}; next: {following}", style="dim", soft_wrap=True, markup=False)
    return 0
