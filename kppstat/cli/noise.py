"""``kppstat noise``: the noise models, one page each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from kppstat.cli.console import Answer, plain_table
from kppstat.errors import SettingError
from kppstat.noise import Variation, model_from_dict, models, read
from kppstat.noise.figure import law
from kppstat.noise.page import devices, page, table
from kppstat.noise.presets import UNITS
from kppstat.style import save


def noise(
    name: str | None = None,
    /,
    *,
    noise_file: Path | None = None,
    model: Path | None = None,
    figure: Path | None = None,
    markdown: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Show a noise model: formula, unit, source, parameters, and what it does to the weights. Without a name, list all.

    Parameters
    ----------
    name
        Name of a noise model or of a device, shown with example parameters.
    noise_file
        TOML noise file instead, shown with its parameters.
    model
        ONNX file: show what the noise does to its tensors.
    figure
        File for the figure of the law; the ending names the format.
    markdown
        List all as a table in Markdown.
    """
    out = Answer(highlight=False, soft_wrap=True, markup=False)
    if markdown:
        print(table())
        return
    if name is not None and noise_file is not None:
        raise SettingError(f"{name} and a noise file are both given", where="--noise-file", remedy="Leave out one")
    if name is None and noise_file is None:
        if model is not None or figure is not None:
            where = "--model" if figure is None else "--figure"
            raise SettingError("no noise model is named", where=where, remedy="Name one, as in kppstat noise gaussian")
        _list(out)
        return
    variation = read(noise_file) if noise_file is not None else None
    shown = page(variation.default if variation is not None else str(name))
    out.print(f"{shown.name}: {shown.summary}")
    out.print(f"programmed weight: {shown.formula}")
    out.print(f"unit: {shown.unit}")
    out.print(f"source: {shown.source}")
    for parameter, meaning, default in shown.parameters:
        value = shown.shown.get(parameter)
        out.print(f"  {parameter} = {value}: {meaning}" + ("" if default is None else f" (default {default})"))
    law_table = plain_table(">intended / max|W|", ">mean", ">sd")
    for i in range(0, len(shown.intended), 5):
        law_table.add_row(f"{shown.intended[i]:+.2f}", f"{shown.mean[i]:+.4f}", f"{shown.sd[i]:.4f}")
    out.print(law_table)
    if variation is not None:
        for line in _elsewhere(variation):
            out.print(line)
    if model is not None:
        _on_model(out, model, variation or Variation(model_from_dict(shown.shown)))
    if figure is not None:
        save(law(shown), figure)
        out.print(f"wrote {figure}")


def _list(out: Console) -> None:
    listed = plain_table("noise model", "programmed weight", "source")
    for name, cls in models().items():
        listed.add_row(name, cls.formula, cls.source)
    out.print(listed)
    for name in dict.fromkeys(devices().values()):
        out.print(f"devices of {name}: " + ", ".join(device for device, model in devices().items() if model == name))
    out.print("published units of sigma (key `unit` of a noise file): " + ", ".join(unit.pattern for unit in UNITS))
    out.print("kppstat noise NAME shows one; estimate takes --sigma (gaussian) or --noise-file FILE.toml (any)")


def _elsewhere(variation: Variation) -> Iterator[str]:
    """Yield a line for each pattern and for the verified weights, whose laws are not the one shown."""
    from kppstat.report.tensors import words

    for pattern, own in variation.layers.items():
        yield f"weights {pattern}: {words(own.to_dict())}"
    if variation.verified is not None:
        count = sum(int(mask.array.sum()) for mask in variation.verified.masks.values())
        yield f"{count:,} verified weights: {words(variation.verified.noise.to_dict())}"


def _on_model(out: Console, path: Path, variation: Variation) -> None:
    from kppstat.onnx_io import load
    from kppstat.report import Tensors

    loaded = load(path)
    variation.require_matches(w.name for w in loaded.weights)
    noisy = Tensors.of(loaded, variation).noisy
    laws = {t.law for t in noisy}
    several = ["law"] if len(laws) > 1 else []
    tensors = plain_table("weights with device variation", ">count", ">max abs", ">sd of the deviation", *several)
    for t in noisy:
        own = [t.law] if several else []
        tensors.add_row(t.name, f"{t.count:,}", f"{t.max_abs:.4g}", f"{t.sd:.4g}", *own)
    out.print(tensors)
    if not several:
        out.print(f"law of each: {laws.pop()}")
