"""Gradients of the predicted KPP with respect to weights, to their variances, and to the sigma of each layer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from kppstat.array import normal_cdf, to_numpy
from kppstat.data import Dataset
from kppstat.data import load as load_data
from kppstat.errors import SettingError
from kppstat.graph import Graph
from kppstat.noise import NoiseModel, Variation, variation_of
from kppstat.onnx_io import Model, load
from kppstat.performance import Top1
from kppstat.prediction import choice
from kppstat.prediction.head import logits_from, split
from kppstat.prediction.margins import Margins, diagonal, margins
from kppstat.prediction.pilot import INSTANCES, PILOT, clean_outputs, instances, require_usable
from kppstat.prediction.result import percentile
from kppstat.prediction.smooth import Smooth, accuracy, drawn
from kppstat.propagate import Calibration, calibrate, passages
from kppstat.propagate.moments import require_rules

DRAWS = 4096
_TOGETHER = 32  # inputs that are differentiated at a time
_TINY = float(np.finfo(np.float32).tiny)  # variances come in single precision, where less is 0
_STEP = 1e-4  # relative, for the moments of a noise model as functions of its sigma

Values = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False, kw_only=True)
class KppGradients:
    """The predicted KPP as a smooth function of the weights and of their variances, and its derivatives.

    The function is ``mean - depth * sd`` of the accuracy: derivatives hold `depth` fixed.

    Attributes
    ----------
    kpp : float
        Predicted k-th percentile performance, a fraction.
    k : float
        Percent.
    mean, sd : float
        Of the accuracy over instances.
    depth : float
        How many standard deviations the KPP lies below the mean.
    by_value : dict of str to ndarray
        Derivative with respect to each weight, of the shape of its tensor. It includes that the deviations of a
        tensor grow with its largest absolute weight, where the noise model says so.
    by_variance : dict of str to ndarray
        Derivative with respect to the variance of the deviation of each single weight, of the shape of its tensor:
        what verifying that one device would bring.
    by_sigma : dict of str to float
        Derivative with respect to the sigma of each tensor's noise model; only for those that have one.
    cost : dict of str to float
        What the deviations of each tensor cost: by how much the KPP would rise if the tensor were exact, to first order
        in its variances.
    inputs : int
        Inputs that were followed.
    evaluations : float
        Cost in full passes over the inputs.
    seconds : float
    guarantee : str
    """

    kpp: float
    k: float
    mean: float
    sd: float
    depth: float
    by_value: Mapping[str, np.ndarray] = field(repr=False)
    by_variance: Mapping[str, np.ndarray] = field(repr=False)
    by_sigma: Mapping[str, float]
    cost: Mapping[str, float]
    inputs: int
    evaluations: float
    seconds: float
    guarantee: str = "none"


def kpp_gradients(
    model: str | Path | Model,
    variation: Variation | None = None,
    data: str | Path | Dataset | None = None,
    k: float = 1.0,
    *,
    sigma: float | None = None,
    inputs: int = 256,
    seed: int = 0,
    outputs: np.ndarray | None = None,
) -> KppGradients:
    """Return the predicted KPP of the top-1 accuracy and its gradients.

    The margin of each followed input is Gaussian over instances: its mean from the propagation of moments, the
    covariance of all pairs of inputs from their derivatives with respect to the weights that they share. Mean and
    variance of the accuracy follow in closed form and are differentiated in torch through the rules of the operators.
    Correlations inside the network are measured on a few pilot instances and held fixed.

    Parameters
    ----------
    model : path or Model
        An ONNX file.
    variation : Variation, optional
        The device variation; give this or `sigma`. Independent between weights.
    data : str, path or Dataset, optional
        Inputs with labels; None takes ``model.npz`` beside ``model.onnx``.
    k : float
        Percent of instances that may fall below.
    sigma : float, optional
        Additive Gaussian variation of this standard deviation, in units of each tensor's max abs weight.
    inputs : int
        Inputs that are followed. Memory grows with inputs times weights (4 bytes each).
    seed : int
        Of the pilot instances and of the draws that give `depth`.
    outputs : ndarray, optional
        Outputs of the intended weights on all inputs, if the caller has them.

    Returns
    -------
    KppGradients

    Raises
    ------
    SettingError
        If torch is not installed or a setting is out of range.
    ModelError
        If an operator has no rule for moments; all are named at once.
    NoiseError
        If the noise model makes weights depend on each other.
    """
    begun = time.monotonic()
    _need_torch()
    if not 0 < k < 100:
        raise SettingError(f"k is {k:g}", where="k", remedy="Give a percentage above 0 and below 100")
    if inputs < 2:
        raise SettingError(f"inputs is {inputs}", where="kpp_gradients", remedy="Give at least 2")
    variation = variation_of(sigma, variation)
    model = model if isinstance(model, Model) else load(model)
    data = data if isinstance(data, Dataset) else load_data(data, model)
    require_usable(model, variation)
    head, tail = split(model.graph)
    require_rules(head, {w.name for w in model.weights})
    outputs = clean_outputs(model, data) if outputs is None else outputs
    targets = Top1().targets_from(outputs) if data.targets is None else data.targets
    measure = Top1().fitted(outputs, targets)
    targets = targets.reshape(-1)
    behind = logits_from(outputs, tail)
    right = measure.scores(outputs, targets)
    first = choice.pilot(behind, PILOT) if model.batch is None else np.arange(min(model.batch, len(data)))
    exact = {w.name: variation.of(w.name).moments(model.graph.constants[w.name]) for w in model.weights}
    calibration = calibrate(head, data.batch(first), exact, instances(model, variation, seed), whole=data.whole)
    follow = _Followed(head, data, targets, model.batch, calibration)
    pilot, variances = follow.law(first, exact)
    spread = float(np.sqrt(diagonal(pilot.covariance(variances)).mean()))
    rows, shares = choice.where_unclear(behind, [spread], inputs)
    law, variances = follow.law(rows, exact)
    likely = normal_cdf(law.mean / np.sqrt(np.maximum(diagonal(law.covariance(variances)), _TINY)))
    missed = choice.missed(behind, targets, spread, rows, shares, likely - right[rows])
    offset = float(right.mean() - shares @ right[rows]) + missed
    values = drawn(law.mean, law.covariance(variances), shares, offset, DRAWS, seed)
    depth = float((values.mean() - percentile(values, k, loss=False)) / max(values.std(), _TINY))
    smooth, slopes = _of_law(law, variances, shares, offset, len(data), depth)
    by_mean, by_variance = follow.back(rows, exact, slopes)
    noise = {w.name: (variation.of(w.name), model.graph.constants[w.name]) for w in model.weights}
    passes = 4 * (len(first) + len(rows)) + 12 * len(rows) + INSTANCES * len(first)
    return KppGradients(
        kpp=float(smooth.kpp(depth)),
        k=k,
        mean=float(smooth.mean),
        sd=float(smooth.sd),
        depth=depth,
        by_value={n: _by_value(*of, by_mean[n], by_variance[n]) for n, of in noise.items()},
        by_variance=by_variance,
        by_sigma={n: _by_sigma(*of, by_mean[n], by_variance[n]) for n, of in noise.items() if _has_sigma(of[0])},
        cost={n: -float((by_variance[n] * exact[n][1]).sum()) for n in exact},
        inputs=len(rows),
        evaluations=passes / len(data) + 1,
        seconds=time.monotonic() - begun,
    )


class _Followed:
    """The margins of inputs as a function of the moments of the weights, and the way back of its derivatives.

    The way back computes the margins of a few inputs at a time once more, so memory does not grow with activations.
    """

    def __init__(
        self, head: Graph, data: Dataset, targets: np.ndarray, batch: int | None, calibration: Calibration
    ) -> None:
        self.head, self.data, self.targets, self.batch, self.calibration = head, data, targets, batch, calibration

    def parts(self, rows: np.ndarray, weights: Mapping[str, Any]) -> Iterator[tuple[slice, Margins, dict[str, Any]]]:
        """Yield the margins of a few inputs at a time, and the variances of the weights as operators read them."""
        rows = choice.padded(rows, self.batch)
        groups = passages(
            self.head,
            self.data.batch(rows),
            weights,
            correct=self.calibration.correct,
            pair_scale=self.calibration.pair_scale,
            size=self.batch or _TOGETHER,
            whole=self.data.whole,
        )
        for place, passage in groups:
            law = margins(passage, self.head.outputs[0].name, self.targets[rows[place]])
            yield place, law, {n: passage.table[n].var for n in law.gradients}

    def law(self, rows: np.ndarray, weights: Mapping[str, Any]) -> tuple[Margins, Values]:
        """Return the margins of all these inputs in NumPy, and the variances of the weights."""
        variances: Values = {}
        found = []
        for _, law, spreads in self.parts(rows, weights):
            found.append(law)
            variances = spreads

        def joined(parts: list[np.ndarray]) -> np.ndarray:
            return np.concatenate(parts)[: len(rows)]

        mean, nonlinear = joined([p.mean for p in found]), joined([p.nonlinear for p in found])
        return Margins(mean, {n: joined([p.gradients[n] for p in found]) for n in variances}, nonlinear), variances

    def back(
        self, rows: np.ndarray, weights: Mapping[str, tuple[np.ndarray, np.ndarray]], slopes: tuple[Margins, Values]
    ) -> tuple[Values, Values]:
        """Carry derivatives with respect to the margins back to the mean and the variance of each weight."""
        import torch

        leaves = {n: (_leaf(mean), _leaf(var)) for n, (mean, var) in weights.items()}
        towards, direct = slopes
        for place, law, variances in self.parts(rows, leaves):
            pairs = [(law.mean, towards.mean), (law.nonlinear, towards.nonlinear)]
            pairs += [(g, towards.gradients[n]) for n, g in law.gradients.items()]
            cut = [(value, _rows_of(slope, place)) for value, slope in pairs if value.requires_grad]
            if place.start == 0:
                cut += [(v, torch.from_numpy(direct[n])) for n, v in variances.items()]
            values, given = zip(*cut, strict=True)
            like_values = [g.to(v.dtype).reshape(v.shape) for v, g in zip(values, given, strict=True)]
            torch.autograd.backward(values, like_values)
        means, spreads = ({n: to_numpy(_gradient(pair[i])) for n, pair in leaves.items()} for i in (0, 1))
        return means, spreads


def _rows_of(values: np.ndarray, place: slice) -> Any:
    """Return these rows as a tensor; inputs that only fill up a batch count nothing."""
    import torch

    found = torch.from_numpy(values[place])
    missing = place.stop - place.start - len(found)
    return torch.cat([found, found.new_zeros(missing, *found.shape[1:])]) if missing else found


def _of_law(
    law: Margins, variances: Values, shares: np.ndarray, offset: float, total: int, depth: float
) -> tuple[Smooth, tuple[Margins, Values]]:
    """Return the accuracy, and the derivatives of its KPP with respect to the law of the margins."""
    import torch

    mean, nonlinear = _leaf(law.mean), _leaf(law.nonlinear)
    gradients = {n: _leaf(g) for n, g in law.gradients.items()}
    spreads = {n: _leaf(v) for n, v in variances.items()}
    covariance = Margins(mean, gradients, nonlinear).covariance(spreads)
    smooth = accuracy(mean.double(), covariance.double(), torch.from_numpy(shares), offset, total)
    smooth.kpp(depth).backward()
    smooth = Smooth(smooth.mean.detach(), smooth.sd.detach())
    of = {n: to_numpy(_gradient(g)) for n, g in gradients.items()}
    slopes = Margins(to_numpy(_gradient(mean)), of, to_numpy(_gradient(nonlinear)))
    return smooth, (slopes, {n: to_numpy(_gradient(v)) for n, v in spreads.items()})


def _by_value(noise: NoiseModel, w: np.ndarray, by_mean: np.ndarray, by_variance: np.ndarray) -> np.ndarray:
    """Return the derivative with respect to intended weights from those towards mean and variance."""
    import torch

    leaf = _leaf(w.astype(np.float64))
    mean, var = noise.moments(leaf)
    total = (mean * torch.from_numpy(by_mean)).sum() + (var * torch.from_numpy(by_variance)).sum()
    total.backward()
    return to_numpy(leaf.grad)


def _has_sigma(noise: NoiseModel) -> bool:
    return any(f.name == "sigma" for f in fields(noise))  # type: ignore[arg-type]


def _by_sigma(noise: Any, w: np.ndarray, by_mean: np.ndarray, by_variance: np.ndarray) -> float:
    """Return the derivative with respect to the sigma of the noise model, from its moments at two sigmas."""
    step = _STEP * max(noise.sigma, _STEP)
    ends = [replace(noise, sigma=noise.sigma + s).moments(w.astype(np.float64)) for s in (0.0, step)]
    (mean, var), (mean_up, var_up) = ends
    return float(((mean_up - mean) * by_mean).sum() + ((var_up - var) * by_variance).sum()) / step


def _leaf(x: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.array(x)).requires_grad_()


def _gradient(leaf: Any) -> Any:
    return leaf.new_zeros(leaf.shape) if leaf.grad is None else leaf.grad


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError:
        raise SettingError("gradients need PyTorch", remedy="Install it with pip install 'kppstat[train]'") from None
