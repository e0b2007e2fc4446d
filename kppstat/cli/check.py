"""``kppstat check``: what kppstat makes of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kppstat.cli.console import Answer, exact_lines, plain_table, write_json
from kppstat.cli.outputs import check_outputs
from kppstat.onnx_io import load


def check(
    model: Path,
    /,
    *,
    fold_batch_norm: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
) -> None:
    """Show which weights of a model carry device variation, which constants do not and why, and what is unsupported.

    Parameters
    ----------
    model
        ONNX file.
    fold_batch_norm
        Fold batch normalisation into the weights first.
    json
        File for the same as JSON; - is stdout.
    """
    from kppstat.prediction.predict import predictable
    from kppstat.propagate import describe, unsupported

    check_outputs(model, json=json)
    loaded = load(model, fold_batch_norm=fold_batch_norm)
    missing = unsupported(loaded.graph)
    unpredicted = predictable(loaded)
    if json is not None:
        facts = {
            "model": str(loaded.path),
            "model_sha256": loaded.sha256,
            "batch": loaded.batch,
            "weights": [
                {"name": w.name, "shape": w.shape, "max_abs": w.max_abs, "in": w.consumers} for w in loaded.weights
            ],
            "exact": [{"name": e.name, "shape": e.shape, "reason": e.reason} for e in loaded.exact],
            "notes": loaded.notes,
            "without_moment_rule": unpredicted,
            "unsupported": [{"op": node.op, "node": node.name} for node in missing],
        }
        write_json(facts, json)
        if json == "-":
            return
    out = Answer(highlight=False, soft_wrap=True)
    out.print(f"[bold]{loaded.path.name}[/]  sha256 {loaded.sha256[:16]}  {len(loaded.graph.nodes)} nodes")
    for kind, ports in (("input", loaded.graph.inputs), ("output", loaded.graph.outputs)):
        for port in ports:
            shape = "?" if port.shape is None else "x".join("?" if n is None else str(n) for n in port.shape)
            out.print(f"{kind} {port.name}: {port.dtype} {shape}", markup=False)
    table = plain_table("weights with device variation", "shape", ">count", ">max abs", "stored in")
    for w in loaded.weights:
        table.add_row(w.name, "x".join(map(str, w.shape)), f"{w.size:,}", f"{w.max_abs:.4g}", ", ".join(w.consumers))
    out.print(table)
    out.print(
        f"{sum(w.size for w in loaded.weights):,} weights in {len(loaded.weights)} tensors carry device variation."
    )
    for line in exact_lines(loaded.exact):
        out.print(f"exact: {line}", markup=False)
    for note in loaded.notes:
        out.print(f"note: {note}", markup=False)
    if missing:
        out.print(
            f"Sampling runs this model in onnxruntime; prediction and training lack {describe(missing)}.", markup=False
        )
    elif unpredicted:
        out.print(f"Sampling and training take this model; prediction lacks a rule for {', '.join(unpredicted)}.")
    else:
        out.print("Every operator is supported: sampling, prediction and training.")
