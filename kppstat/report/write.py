"""The page of an estimate."""

from __future__ import annotations

from pathlib import Path

from kppstat.report.facts import caption, description, facts, promise
from kppstat.report.files import check
from kppstat.report.page import write_page
from kppstat.report.tensors import Tensors
from kppstat.sampling.figures import convergence, distribution
from kppstat.sampling.result import Estimate


def write(estimate: Estimate, tensors: Tensors, path: str | Path, *, command: str = "") -> list[Path]:
    """Write the report of an estimate: a self-contained HTML page, and its figures as SVG and PNG beside it.

    Parameters
    ----------
    estimate : Estimate
    tensors : Tensors
        What device variation did to the model: ``Tensors.of(model, variation)``.
    path : path
        Name of the page, ending in ``.html``; folders that are missing are made. The figures of ``out.html`` are
        ``out-distribution.svg`` and so on.
    command : str, optional
        The command that gave the estimate, to be shown under how to reproduce it.

    Returns
    -------
    list of Path
        The files written, the page first.

    Raises
    ------
    SettingError
        If matplotlib or jinja2 is not installed, or a file cannot be written; then no file is left half-written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from kppstat import Gaussian, Variation, estimate, load
    >>> from kppstat.demo import MODEL
    >>> result = estimate(MODEL, sigma=0.1, k=5, method="mc", max_evaluations=20, workers=1)
    >>> with TemporaryDirectory() as folder:
    ...     written = write(result, Tensors.of(load(MODEL), Variation(Gaussian(0.1))), f"{folder}/out.html")
    >>> [file.name for file in written[:2]]
    ['out.html', 'out-distribution.svg']
    """
    figures = [
        (name, draw(estimate), description(estimate, name), caption(estimate, name))
        for name, draw in (("distribution", distribution), ("convergence", convergence))
    ]
    values = {
        "title": f"KPP {estimate.show(estimate.kpp)} at k = {estimate.k:g} %",
        "facts": facts(estimate),
        "promise": promise(estimate),
        "tensors": tensors,
        "command": command,
    }
    return write_page(check(path), "page.html.j2", estimate, figures, values)
