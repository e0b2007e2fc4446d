"""Which weights to program by write-verify: rank all by what verifying them is worth, take the best."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from kppstat import data as data_room
from kppstat.data import Dataset
from kppstat.engine import Evaluator
from kppstat.errors import NoiseError, SettingError
from kppstat.noise import Gaussian, Mask, NoiseModel, Variation, Verified, variation_of
from kppstat.onnx_io import Model, load
from kppstat.performance import Top1
from kppstat.propagate.forward import require_supported
from kppstat.worst_case.network import Network
from kppstat.write_verify.result import Selection
from kppstat.write_verify.slopes import FEWEST, FIRST, magnitudes, second_moments, sensitivity
from kppstat.write_verify.swim import curvature

Method = Literal["ours", "swim", "magnitude", "random"]
METHODS = ("ours", "swim", "magnitude", "random")
_ROUNDS = 3  # rankings, each around chips whose weights are verified as the last one says


def select(
    model: str | Path | Model,
    fraction: float,
    verified: NoiseModel | float,
    *,
    sigma: float | None = None,
    noise: Variation | NoiseModel | None = None,
    data: str | Dataset | None = None,
    k: float = 1.0,
    method: Method = "ours",
    passes: float = 20.0,
    seed: int = 0,
    fold_batch_norm: bool = False,
    progress: Callable[[float], None] = lambda _passes: None,
) -> Selection:
    """Choose the weights that are worth programming by write-verify.

    Parameters
    ----------
    model : path or Model
        An ONNX file.
    fraction : float
        Of all weights with device variation, to be verified.
    verified : NoiseModel or float
        The noise left on a verified weight; a number is the sigma of a Gaussian.
    sigma, noise : float, or Variation or NoiseModel
        The device variation before verification; give one.
    data : str or Dataset, optional
        See `kppstat.data.load`; None looks for ``model.npz`` beside ``model.onnx``. Inputs other than those on which
        the KPP is judged in the end, such as training inputs, are best.
    k : float
        Percent of instances that may fall below, for ``ours``.
    method : {"ours", "swim", "magnitude", "random"}
        ``ours`` takes how fast the KPP falls with the variance of each weight, measured around noisy instances, and
        ranks again around instances verified so far. ``swim`` takes the second derivative of the loss at the intended
        weights (arXiv 2202.08395), ``magnitude`` |W| / max|W|.
    passes : float
        Budget of gradient passes for ``ours``; ``swim`` takes one, the others none.
    seed : int
    fold_batch_norm : bool
        Fold batch normalisation into the weights first.
    progress : callable
        Called now and then with the gradient passes spent so far.

    Returns
    -------
    Selection

    Raises
    ------
    KppstatError
        If model, data or settings cannot be used; the message says what to do.

    Examples
    --------
    >>> from kppstat.demo import MODEL
    >>> chosen = select(MODEL, 0.1, 0.01, sigma=0.1, method="magnitude")
    >>> chosen.count, chosen.variation.of("layers.0.weight").name
    (8757, 'selective')
    """
    if not 0 <= fraction <= 1:
        raise SettingError(f"fraction is {fraction:g}", where="--fraction", remedy="Give a number from 0 to 1")
    if method not in METHODS:
        raise SettingError(f"there is no method '{method}'", where="--method", remedy=f"Take {', '.join(METHODS)}")
    if not 0 < k < 100:
        raise SettingError(f"k is {k:g}", where="--k", remedy="Give a percentage above 0 and below 100")
    if not (math.isfinite(passes) and passes >= _ROUNDS * FEWEST):
        raise SettingError(f"passes is {passes:g}", where="--passes", remedy=f"Give {_ROUNDS * FEWEST:g} or more")
    if seed < 0:
        raise SettingError(f"seed is {seed}", where="--seed", remedy="Give a whole number of 0 or more")
    variation = variation_of(sigma, noise)
    if variation.verified is not None:
        remedy = "Select from the noise of the unverified weights, in one go"
        raise NoiseError("weights are verified already", where="noise file", remedy=remedy)
    law = verified if isinstance(verified, NoiseModel) else Gaussian(verified)
    model = model if isinstance(model, Model) else load(model, fold_batch_norm=fold_batch_norm)
    data = data if isinstance(data, Dataset) else data_room.load(data, model)
    variation.require_matches(w.name for w in model.weights)
    network = _network(model, data, passes)
    count = round(fraction * network.size)
    gain = second_moments(model, network, variation) - second_moments(model, network, Variation(law))
    if 0 < count < network.size and not (gain > 0).any():
        what = "a verified weight would deviate no less than the others"
        raise SettingError(what, where="--verified-sigma", remedy="Give a smaller one")

    def chosen(value: Tensor) -> Tensor:
        # By no method is it worth anything to verify a weight that then deviates no less, as in a tensor of zeros.
        order = torch.argsort(value.where(gain > 0, -torch.inf), descending=True, stable=True)
        mask = torch.zeros(network.size, dtype=torch.bool)
        mask[order[:count]] = True
        return mask

    if count in (0, network.size):  # nothing to choose
        mask = torch.full((network.size,), count > 0)
    elif method == "random":
        mask = chosen(torch.rand(network.size, generator=torch.Generator().manual_seed(seed)))
    elif method == "magnitude":
        mask = chosen(magnitudes(network))
    elif method == "swim":
        mask = chosen(curvature(network))
    else:
        mask = _ours(model, network, variation, law, gain, chosen, k=k, passes=passes, seed=seed, progress=progress)
    masks = {n: m for n, m in _masks(network, mask).items() if m.array.any()}
    return Selection(
        variation=Variation(variation.default, variation.layers, Verified(law, masks)),
        fraction=fraction,
        count=count,
        weights=network.size,
        by_tensor={n: (int(mask[s].sum()), int(mask[s].numel())) for n, s in network.slices.items()},
        method=method,
        k=k,
        passes=network.passes,
        seed=seed,
        model=str(model.path),
        data=data.source,
    )


def _network(model: Model, data: Dataset, passes: float) -> Network:
    require_supported(model.graph)
    evaluator = Evaluator(model, Variation(Gaussian(0.0)), data, Top1())
    evaluator.fit(evaluator.outputs(None))
    assert evaluator.targets is not None
    return Network(model, data, evaluator.targets, [w.name for w in model.weights], budget=passes)


def _ours(
    model: Model,
    network: Network,
    variation: Variation,
    law: NoiseModel,
    gain: Tensor,
    chosen: Callable[[Tensor], Tensor],
    *,
    k: float,
    passes: float,
    seed: int,
    progress: Callable[[float], None],
) -> Tensor:
    """Return the weights that verification is worth most at, once they are verified: the ranking is a fixed point."""
    mask, state = chosen(gain), variation
    for number in range(_ROUNDS):
        slope = sensitivity(
            model, network, state, k=k, passes=passes / _ROUNDS, seed=seed, first=FIRST + (number << 32),
            progress=progress,
        )  # fmt: skip
        mask = chosen(gain * slope)
        state = Variation(variation.default, variation.layers, Verified(law, _masks(network, mask)))
    return mask


def _masks(network: Network, mask: Tensor) -> dict[str, Mask]:
    shaped = {n: mask[s].reshape(network.intended[n].shape).numpy() for n, s in network.slices.items()}
    return {name: Mask.of(np.asarray(part)) for name, part in shaped.items()}
