"""The nearest point in z at which the accuracy is lost, and what it suggests about probability."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.special import log_ndtr, ndtr
from torch import Tensor

from kppstat.errors import SettingError
from kppstat.sampling.result import shown
from kppstat.worst_case.attack import Attack
from kppstat.worst_case.network import FORWARD, Network
from kppstat.worst_case.objectives import smooth
from kppstat.worst_case.region import Region

_TURNS = 8  # towards the gradient
_FURTHEST = 16.0  # lengths of the deviation found, beyond which a ray is given up
_HALVINGS = 7  # of an interval of a ray: to 1 % of its length
_STRETCH, _STRETCHES = 1.005, 40


@dataclass(frozen=True, eq=False)
class DesignPoint:
    """The shortest z found at which the accuracy is `limit` or lower, under additive Gaussian variation.

    For ``dW = sigma max|W| z`` a deviation u is the point ``z = u / sigma``. If the instances that fall to the limit
    filled the half-space beyond this point, their probability would be ``Phi(-beta)``: the first-order reliability
    method (FORM; Hasofer and Lind, 1974). They do not: random deviations of many weights lower the accuracy without
    leaning in any one direction, so the true probability is often far larger. It promises nothing.

    Attributes
    ----------
    sigma : float
        In units of max|W| of each tensor.
    limit : float
        Accuracy, as a fraction.
    beta : float
        Euclidean length of z.
    beta_attack : float
        The same along the deviation of the worst case itself.
    tail : float
        ``Phi(-beta)``; 0 where smaller than a float.
    log10_tail : float
    performance : float
        Accuracy at the point, on all inputs in onnxruntime.
    passes : float
        Gradient passes that this took, besides the search for the worst case.
    guarantee : str
        ``none``, of the tail.
    direction : mapping of str to ndarray
        z / beta by tensor. Tilted sampling does without it: analysis/results/design_point.csv has what it would add.
    """

    sigma: float
    limit: float
    beta: float
    beta_attack: float
    tail: float
    log10_tail: float
    performance: float
    passes: float
    guarantee: str
    direction: Mapping[str, np.ndarray] = field(repr=False)

    def summary(self) -> str:
        """Return the answer and its reading."""
        limit = shown(self.limit, fraction=True)
        tail = f"{self.tail:.2g}" if self.tail > 1e-300 else f"10^{self.log10_tail:.0f}"
        return (
            f"At sigma {self.sigma:g} the nearest point found with an accuracy of {limit} or lower lies "
            f"{self.beta:.3g} standard deviations from the intended weights; to first order a chip gets there with "
            f"probability {tail} (guarantee none: chips also lose accuracy in other ways, so it can be far too low)."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values for JSON, without the direction."""
        names = ("sigma", "limit", "beta", "beta_attack", "tail", "log10_tail", "performance", "passes")
        return {**{name: getattr(self, name) for name in names}, "guarantee": self.guarantee}


def design_point(attack: Attack, sigma: float, limit: float | None = None) -> DesignPoint | None:
    """Find a point near the intended weights, in z, at which the accuracy is `limit` or lower.

    Two rays are tried first, along the deviation of the worst case and down the gradient at the intended weights. The
    shorter then turns towards the gradient at its end, because at the nearest point of the limit the two are
    parallel (the condition that the iteration of Hasofer, Lind, Rackwitz and Fiessler solves), and a turn is kept if
    it makes the ray shorter.

    Parameters
    ----------
    attack : Attack
        After its search.
    sigma : float
        Standard deviation of the Gaussian variation, in units of max|W| of each tensor.
    limit : float, optional
        Accuracy, as a fraction; that of the worst case found if left out.

    Returns
    -------
    DesignPoint or None
        None where no ray reaches the limit, or the search found nothing that lowers the accuracy.

    Raises
    ------
    SettingError
        If sigma or limit is out of range.
    """
    check_question(attack.clean, sigma, limit)
    limit = attack.worst if limit is None else limit
    if limit >= attack.clean:  # nothing was found that does any harm
        return None
    network = Network(attack.model, attack.data, attack.certifier.targets, attack.names)
    intended = {w.name: attack.model.graph.constants[w.name] for w in attack.model.weights}
    reached = Region(0.0).deviations(intended, attack.stored)
    found = torch.cat([torch.from_numpy(reached[name].astype(np.float32)).reshape(-1) for name in network.slices])
    attacked = _shortest(network, found, limit)
    steepest, _ = _slope(network, network.start())
    rays = [ray for ray in (attacked, _shortest(network, -_like(steepest, found), limit)) if ray is not None]
    if not rays:
        return None
    u = _turned(network, min(rays, key=_length), limit)
    certified = _certified(attack, network, u, limit)
    if certified is None:
        return None
    u, performance = certified
    beta = _length(u) / sigma
    return DesignPoint(
        sigma=sigma,
        limit=limit,
        beta=beta,
        beta_attack=math.inf if attacked is None else _length(attacked) / sigma,
        tail=float(ndtr(-beta)),
        log10_tail=float(log_ndtr(-beta) / math.log(10)),
        performance=performance,
        passes=network.passes,
        guarantee="none",
        direction=network.split(u / _length(u)),
    )


def check_question(clean: float, sigma: float, limit: float | None) -> None:
    """Raise if there is no such variation, or no such accuracy to be lost.

    Raises
    ------
    SettingError
    """
    if not (math.isfinite(sigma) and sigma > 0):
        raise SettingError(f"sigma is {sigma:g}", where="--sigma", remedy="Give a number above 0")
    if limit is not None and not 0 <= limit < clean:
        what = f"the limit {limit:g} is not below the clean accuracy {clean:.4f}"
        raise SettingError(what, where="--limit", remedy="Give a fraction such as 0.8, or raise the bound")


def _length(u: Tensor) -> float:
    return float(u.double().norm())


def _like(direction: Tensor, u: Tensor) -> Tensor:
    """Return a vector of the direction of one and the length of the other."""
    return direction * (_length(u) / max(_length(direction), 1e-30))


def _slope(network: Network, u: Tensor) -> tuple[Tensor, float]:
    """Return the gradient of the accuracy, smoothed over the typical margin, and the accuracy."""
    margins = network.margins(u)
    gradient, _ = network.gradient(u, smooth(max(float(np.median(abs(margins))) / 2, 1e-6)))
    return gradient, float((margins > 0).mean())


def _lost(network: Network, u: Tensor, limit: float) -> bool:
    return float((network.margins(u) > 0).mean()) <= limit


def _shortest(network: Network, u: Tensor, limit: float) -> Tensor | None:
    """Return the shortest point found on the ray of `u` with an accuracy of `limit` or lower; None if there is none."""
    high = 1.0
    while not _lost(network, high * u, limit):
        high *= 2
        if high > _FURTHEST:
            return None
    low = high / 2 if high > 1 else 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _lost(network, middle * u, limit) else (middle, high)
    return high * u


def _turned(network: Network, u: Tensor, limit: float) -> Tensor:
    """Turn a ray towards the downward gradient at its end while that makes it shorter."""
    share = 0.5
    for _ in range(_TURNS):
        down = -_like(_slope(network, u)[0], u)
        turned = _like((1 - share) * u + share * down, u)
        shorter = _shortest(network, turned, limit) if _lost(network, turned, limit) else None
        if shorter is None:
            share /= 2
        else:
            u = shorter
    return u


def _certified(attack: Attack, network: Network, u: Tensor, limit: float) -> tuple[Tensor, float] | None:
    """Stretch the point until the stored weights are at the limit in onnxruntime too; return it and their accuracy.

    None where it would have to be stretched by a fifth: rounding is no reason for that.
    """
    intended = {w.name: attack.model.graph.constants[w.name] for w in attack.model.weights}
    for _ in range(_STRETCHES):
        around = Region(float(u.abs().max()))
        accuracy = attack.certifier.accuracy(around.programmed(intended, network.split(u)))
        network.spend(FORWARD)
        if accuracy <= limit:
            return u, accuracy
        u = _STRETCH * u
    return None
