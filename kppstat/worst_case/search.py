"""The worst case in one call: of all tensors together, or of each alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kppstat.onnx_io import Model
from kppstat.worst_case.attack import Attack
from kppstat.worst_case.result import WorstCase


def worst(model: str | Path | Model, bound: float, *, curve: bool = False, **settings: Any) -> WorstCase:
    """Find weights within a bound around the intended ones that lower the accuracy most.

    Parameters
    ----------
    model : path or Model
        An ONNX file.
    bound : float
        How far weights may deviate, in units of max|W| of each tensor; for ``density`` in standard deviations.
    curve : bool
        Also evaluate the deviation found at smaller lengths.
    **settings
        norm, sigma, noise, data, method, passes, layers, seed, fold_batch_norm, checkpoint: see `Attack`.

    Returns
    -------
    WorstCase

    Raises
    ------
    KppstatError
        If model, data or settings cannot be used; the message says what to do.

    Examples
    --------
    >>> import numpy as np
    >>> from kppstat import data
    >>> from kppstat.demo import DATA, MODEL
    >>> from kppstat.onnx_io import load
    >>> model = load(MODEL)
    >>> with np.load(DATA) as file:
    ...     few = data.from_arrays({"x": file["x"][:100]}, file["y"][:100], model)
    >>> result = worst(model, 0.01, data=few, method="fgsm")
    >>> result.performance_worst < result.clean, result.reached <= 0.01
    (True, True)
    """
    attack = Attack(model, bound, **settings)
    for _ in attack.states():
        pass
    if curve:
        attack.trace_curve()
    return attack.result()


def weakest(model: str | Path | Model, bound: float, **settings: Any) -> dict[str, WorstCase]:
    """Attack each tensor alone, with an equal share of the budget: which layer is the weak one.

    Parameters
    ----------
    model, bound, **settings
        As in `worst`; `passes` is the budget of all attacks together.

    Returns
    -------
    dict of str to WorstCase
        By tensor, in the order of the model.

    Raises
    ------
    KppstatError
        If model, data or settings cannot be used; the message says what to do.
    """
    results = {}
    for attack in Attack(model, bound, **settings).apart():
        for _ in attack.states():
            pass
        results[attack.names[0]] = attack.result()
    return results
