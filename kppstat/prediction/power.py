"""Expected power of the crossbars that hold the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kppstat.array import namespace
from kppstat.data import Dataset
from kppstat.errors import ModelError, NoiseError, SettingError
from kppstat.graph import Node
from kppstat.noise import Encoded, Law, NoiseModel, Variation
from kppstat.noise.encoding import check_steps, encode
from kppstat.noise.law import full_scale, in_units
from kppstat.onnx_io import Model
from kppstat.ops import lookup
from kppstat.ops.moments import Moments
from kppstat.prediction.head import split
from kppstat.prediction.pilot import PILOT, instances, require_usable
from kppstat.propagate import calibrate, passages
from kppstat.propagate.forward import apply

Conductance = tuple[np.ndarray, np.ndarray]
"""Mean and variance of the conductance of one device of each weight."""

_OUTSIDE = {"alpha", "beta"}  # factors of a Gemm, which are applied behind the crossbar


def power(
    model: Model,
    data: Dataset,
    variation: Variation,
    *,
    g_max: float = 1.0,
    resistance: float = 1.0,
    inputs: int = 96,
    seed: int = 0,
) -> dict[str, float]:
    """Return the power that the crossbar of each weight is expected to draw, averaged over inputs and instances.

    With G the conductance of a device, x the voltage on its row and I = sum_j G_j x_j the current of a column, which an
    amplifier of resistance r turns into a voltage, MemSE's model is::

        P = sum_ij (E[G+_ij] + E[G-_ij]) E[x_j^2] + r sum_i (E[(I+_i)^2] + E[(I-_i)^2])

    Every position of a convolution counts, every device of a weight has a column of its own, and biases and exact
    references draw nothing. Means and variances of x come from the propagation of moments, calibrated on pilot
    instances; in the current of a column, different x_j count as uncorrelated over instances.

    Parameters
    ----------
    model : Model
    data : Dataset
    variation : Variation
        A noise model of devices: an encoding on pairs, or a law of conductances.
    g_max : float
        Range of conductance, above 0, that max|W| of each tensor is mapped to.
    resistance : float
        Of the amplifiers, in the inverse of the unit of `g_max`; MemSE's is 1.
    inputs : int
        How many are averaged, evenly spread over the data.
    seed : int
        Of the pilot instances.

    Returns
    -------
    dict of str to float
        By weight, in the unit of `g_max` times that of an input squared: W for S and V.

    Raises
    ------
    NoiseError
        If weights have no devices, or depend on each other.
    ModelError
        If a weight is read by anything but a product with a value of the network.
    SettingError
        If a setting is out of range.

    Notes
    -----
    MemSE (arXiv 2205.01707; sebastienwood/MemSE, ``nn/base_layer/MemSELayer.py``, ``memse_montecarlo``), where the
    expected conductance is c|W|, c = Gmax/Wmax. Its closed form for convolutions leaves the factor c^2 out of the
    second sum, and that for linear layers takes E[x_j] in place of its square in the first; here both are as in its
    sampled power. Clipped devices draw what their clipped mean does.
    """
    if not (0 < g_max < math.inf and 0 <= resistance < math.inf and inputs >= 1):
        raise SettingError(
            f"g_max is {g_max:g}, resistance {resistance:g}, inputs {inputs}",
            where="power",
            remedy="Give a range above 0, a resistance of 0 or more, and at least 1 input",
        )
    require_usable(model, variation)
    laws = {w.name: (variation.of(w.name), model.graph.constants[w.name]) for w in model.weights}
    devices = {name: conductances(noise, w, g_max) for name, (noise, w) in laws.items()}
    moments = {name: noise.moments(w) for name, (noise, w) in laws.items()}
    batch = model.batch or 1
    rows = np.linspace(0, len(data) - 1, -(-min(inputs, len(data)) // batch) * batch).astype(int)
    found: dict[str, float] = {}
    head, _ = split(model.graph)
    seen = rows[:: -(-len(rows) // PILOT)] if model.batch is None else rows[:batch]
    pilot = instances(model, variation, seed)
    calibration = calibrate(head, data.batch(seen), moments, pilot, whole=data.whole)
    groups = passages(
        head,
        data.batch(rows),
        moments,
        correct=calibration.correct,
        pair_scale=calibration.pair_scale,
        whole=data.whole,
        size=model.batch or 64,
    )
    for _, passage in groups:
        for done in passage.done:
            for stored in done.step.stored:
                name = done.node.inputs[stored.index]
                operator = lookup(done.node.op, done.node.domain)
                if name not in devices or operator is None or operator.family.name != "bilinear":
                    raise ModelError(
                        f"the power of {done.node.op} is not defined",
                        where=f"node {done.node.name or done.node.outputs[0]!r}",
                        remedy="Weights must be multiplied with values as they are stored",
                    )
                x = passage.table[done.node.inputs[1 - stored.index]]
                drawn = crossbar_power(done.node, stored.index, x, devices[name], resistance) / len(rows)
                found[name] = found.get(name, 0.0) + drawn
    unread = sorted(set(devices) - set(found))
    if unread:
        raise ModelError(
            f"the power of {', '.join(unread)} is not known: no product on the way to the first output reads it",
            remedy="Ask for the power of a model without what leads elsewhere",
        )
    return {name: found[name] for name in devices}


def crossbar_power(node: Node, index: int, x: Any, devices: Sequence[Conductance], resistance: float = 1.0) -> float:
    """Return the power of one crossbar, summed over all inputs; see `power`.

    Parameters
    ----------
    node : Node
        A product, bias or not.
    index : int
        Which of its inputs is the weight.
    x : Moments or array
        The other.
    devices : sequence of (mean, variance)
        Conductances of the devices, each of the shape of the weight.
    resistance : float

    Examples
    --------
    Two devices for one weight, at 0.5 and 0 without variation, and 2 V: 0.5 S * 4 V^2, and a current of 1 A in 1 Ohm.

    >>> on, off, none = np.array([[0.5]]), np.array([[0.0]]), np.array([[0.0]])
    >>> node = Node("MatMul", ("x", "w"), ("y",))
    >>> crossbar_power(node, 1, np.array([[2.0]]), [(on, none), (off, none)])
    3.0
    """
    operator = lookup(node.op, node.domain)
    assert operator is not None
    assert operator.rule is not None
    attributes = {n: v for n, v in node.attributes.items() if n not in _OUTSIDE}
    node = replace(node, inputs=node.inputs[:2], attributes=attributes)
    random = isinstance(x, Moments)
    square = x.mean**2 + x.var if random else x**2
    total = 0.0
    for mean, var in devices:
        g = Moments(mean.astype(square.dtype), var.astype(square.dtype), shared=True)
        pairs = ((square, g.mean), (x, g)) if index else ((g.mean, square), (g, x))
        drawn = apply(node, pairs[0])[0]
        (current,) = operator.rule(*pairs[1], **operator.keywords(attributes, 1)).outputs
        xp = namespace(drawn)
        total += float(xp.sum(drawn)) + resistance * float(xp.sum(current.mean**2 + current.var))
    return total


def conductances(noise: NoiseModel, w: np.ndarray, g_max: float = 1.0) -> list[Conductance]:
    """Return mean and variance of the conductance of each device of each weight.

    Raises
    ------
    NoiseError
        If the noise model does not say on which devices weights lie.

    Examples
    --------
    >>> from kppstat.noise import Gaussian, Pair
    >>> (plus, _), (minus, _) = conductances(Encoded((Pair(),), Gaussian(0.1)), np.array([1.0, -2.0]), g_max=4.0)
    >>> plus.tolist(), minus.tolist()
    ([2.0, 0.0], [0.0, 4.0])
    """
    law, steps = (noise.device, noise.encoding) if isinstance(noise, Encoded) else (noise, getattr(noise, "steps", ()))
    if not isinstance(law, Law) or check_steps(steps):
        raise NoiseError(
            f"{noise.name} does not say on which devices weights lie, so their power is not known",
            remedy='Put it on devices: model = "encoded", encoding = ["pair"], device = {...}',
        )
    cells, _ = encode(steps, in_units(w, full_scale(w)))
    responses = [law.response(x, x) for _, x in cells]
    return [(g_max * mean, g_max**2 * var) for mean, var in responses]
