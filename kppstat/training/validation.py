"""KPP on the validation part: what selects weights and settings. The test set is never read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from kppstat.noise import Variation
from kppstat.stats.order import quantile
from kppstat.training.examples import Examples
from kppstat.training.network import Network, Values
from kppstat.training.objective import Objective, scores
from kppstat.training.seeds import mixed
from kppstat.training.variation import programmed

#: Instances that must lie below the percentile for an order statistic to be taken.
ENOUGH = 5
_STREAM = 0x7A11DA7E  # validation draws instances of its own
_GROUP = 200  # inputs at a time: larger groups leave the cache


@dataclass(frozen=True)
class Score:
    """What validation found, with larger better throughout.

    Attributes
    ----------
    kpp, mean, clean : float
        Estimated KPP, mean over instances, and performance without device variation.
    """

    kpp: float
    mean: float
    clean: float


class Validation:
    """Evaluates weights on the validation part under the same instances each time, so that differences show."""

    def __init__(
        self,
        network: Network,
        examples: Examples,
        objective: Objective,
        variation: Variation,
        *,
        k: float,
        instances: int,
        seed: int,
    ) -> None:
        self.network, self.examples, self.objective, self.variation = network, examples, objective, variation
        self.k, self.instances, self.seed = k, instances, seed
        rows = examples.validation
        if network.group is not None:
            rows = rows[: max(len(rows) // network.group, 1) * network.group]
        self.groups = list(examples.in_order(rows, network.group or _GROUP))

    def __call__(self, values: Mapping[str, Tensor], statistics: Values) -> Score:
        """Score the intended weights `values`."""
        device = next(iter(values.values())).device
        performances = np.empty(self.instances)
        with torch.no_grad():
            clean = self._performance(values, statistics)
            for i in range(self.instances):
                generator = torch.Generator(device).manual_seed(mixed(self.seed, _STREAM, i))
                drawn = programmed(values, self.network.noisy, self.variation, generator)
                performances[i] = self._performance(drawn, statistics)
        return Score(percentile(performances, self.k), float(performances.mean()), clean)

    def _performance(self, values: Mapping[str, Tensor], statistics: Values) -> float:
        found = [
            scores(self.objective, self.network.run(values, statistics, inputs, training=False)[0], targets)
            for inputs, targets in self.groups
        ]
        return float(np.concatenate(found).mean())


def percentile(performances: np.ndarray, k: float) -> float:
    """Return an estimate of the k-th percentile that is good for comparing weights.

    The empirical percentile where at least `ENOUGH` instances lie below it and above; else that of the normal law with
    the same mean and standard deviation, because a single extreme instance would decide. Reported figures come from
    `kppstat.estimate`, never from here.

    Examples
    --------
    >>> percentile(np.linspace(0, 1, 101), 50)
    0.5
    >>> round(percentile(np.array([0.4, 0.5, 0.6]), 50), 6)
    0.5
    """
    share = k / 100
    if min(share, 1 - share) * len(performances) >= ENOUGH:
        return quantile(performances, share)
    if not np.isfinite(performances).all():
        return -np.inf
    sd = float(performances.std(ddof=1)) if len(performances) > 1 else 0.0
    return float(performances.mean()) + NormalDist().inv_cdf(share) * sd
