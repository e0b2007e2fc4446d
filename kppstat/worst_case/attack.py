"""A search for the worst case step by step: load, check, search, certify."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from kppstat import data as data_room
from kppstat.data import Dataset
from kppstat.errors import ModelError, SettingError
from kppstat.noise import NoiseModel, Variation, variation_of
from kppstat.onnx_io import Model, load
from kppstat.propagate import describe, unsupported
from kppstat.sampling.study import versions
from kppstat.worst_case.baselines import fgsm, pgd, random
from kppstat.worst_case.certify import Certifier
from kppstat.worst_case.checkpoint import Checkpoint
from kppstat.worst_case.network import FORWARD, Network
from kppstat.worst_case.ours import ours
from kppstat.worst_case.point import Point, Search
from kppstat.worst_case.published import lwc
from kppstat.worst_case.region import Norm, Region
from kppstat.worst_case.result import WorstCase
from kppstat.worst_case.tensors import chosen, deviating

METHODS: dict[str, Search] = {"ours": ours, "lwc": lwc, "pgd": pgd, "fgsm": fgsm, "random": random}
_CURVE = 12  # points
_LEAST = 2.0  # gradient passes: one step, and the look at what it found


@dataclass(frozen=True, slots=True)
class State:
    """Where an attack stands.

    Attributes
    ----------
    passes, budget : float
        Gradient passes spent, and allowed.
    worst : float
        Lowest accuracy certified so far.
    seen : float
        Share of right answers that the search last saw.
    phase : str
    """

    passes: float
    budget: float
    worst: float
    seen: float
    phase: str


class Attack:
    """A model, its data and a region around its weights: everything loaded and checked.

    Parameters
    ----------
    model : path or Model
    bound : float
        How far weights may deviate, in units of max|W| of each tensor; for ``density`` in standard deviations.
    norm : {"linf", "l2", "density"}
        Of each weight, the root mean square over each tensor, or that over all in standard deviations: the chips that
        are dense enough; see `Region`.
    sigma, noise : float, or Variation or NoiseModel, optional
        The device variation whose density it is, for ``density``; give one.
    data : str or Dataset, optional
        See `kppstat.data.load`; None looks for ``model.npz`` beside ``model.onnx``.
    method : str
        ``ours``, ``lwc``, ``pgd``, ``fgsm`` or ``random``.
    passes : float
        Budget of gradient passes over all inputs.
    layers : str or sequence of str, optional
        Names or patterns (``layers.*``) of the tensors to attack, in a string with commas between. None takes all.
    seed : int
        Fixes every random number.
    fold_batch_norm : bool
        Fold batch normalisation into the weights first.
    checkpoint : path, optional
        File that keeps where the search is: the same attack goes on from there. For ``ours`` only.

    Raises
    ------
    KppstatError
        If model, data or settings cannot be used; the message says what to do.
    """

    def __init__(
        self,
        model: str | Path | Model,
        bound: float,
        *,
        norm: Norm = "linf",
        sigma: float | None = None,
        noise: Variation | NoiseModel | None = None,
        data: str | Dataset | None = None,
        method: str = "ours",
        passes: float = 100.0,
        layers: str | Sequence[str] | None = None,
        seed: int = 0,
        fold_batch_norm: bool = False,
        checkpoint: str | Path | None = None,
    ) -> None:
        self.begun = time.monotonic()
        given = norm == "density" or sigma is not None or noise is not None
        self.region = Region(bound, norm, variation_of(sigma, noise) if given else None)
        if method not in METHODS:
            raise SettingError(
                f"there is no method '{method}'", where="--method", remedy=f"Take one of {', '.join(METHODS)}"
            )
        if not (math.isfinite(passes) and passes >= _LEAST):
            raise SettingError(f"passes is {passes:g}", where="--passes", remedy="Give 2 or more gradient passes")
        if seed < 0:
            raise SettingError(f"seed is {seed}", where="--seed", remedy="Give a whole number of 0 or more")
        if checkpoint is not None and method != "ours":
            raise SettingError(f"{method} keeps no checkpoint", where="--checkpoint", remedy="Take --method ours")
        self.method, self.budget, self.seed = method, float(passes), seed
        self.model = model if isinstance(model, Model) else load(model, fold_batch_norm=fold_batch_norm)
        self.names = deviating(self.model, chosen(self.model, layers), self.region)
        missing = unsupported(self.model.graph)
        if missing:
            raise ModelError(
                f"{describe(missing)} has no gradient, because kppstat has no operator of its own for it",
                where=str(self.model.path),
                remedy="Its distribution under device variation can still be estimated: kppstat estimate",
            )
        self.data = data if isinstance(data, Dataset) else data_room.load(data, self.model)
        self.certifier = Certifier(self.model, self.data, self.region)
        self.clean = self.certifier.clean
        self.network = Network(
            self.model, self.data, self.certifier.targets, self.names, budget=self.budget, region=self.region
        )
        self.checkpoint = None if checkpoint is None else Checkpoint(checkpoint, self._identity())
        self.stop_reason = "the budget is spent"
        self.curve: tuple[tuple[float, float], ...] = ()
        self.worst = self.clean
        self.deviation = self.network.split(self.network.start())
        self.stored = self.certifier.stored(self.deviation)
        self.trace: list[tuple[float, float]] = [(0.0, self.clean)]
        self._last: Point | None = None
        self._lowest: Point | None = None  # of those seen as a whole and not yet certified

    def states(self) -> Iterator[State]:
        """Search, and yield where it stands after each step."""
        if self.region.bound == 0:
            self.stop_reason = "a bound of 0 leaves the intended weights alone"
            return
        search = METHODS[self.method]
        if self.checkpoint is not None:
            search = partial(ours, checkpoint=self.checkpoint)
        for point in search(self.network, self.region, self.seed):
            self._last = point
            if point.whole and (self._lowest is None or point.seen < self._lowest.seen):
                self._lowest = point
            if point.check:
                self._certify(point)
                self._last = self._lowest = None
            yield State(self.network.passes, self.budget, self.worst, point.seen, point.phase)

    def apart(self) -> tuple[Attack, ...]:
        """Return one attack for each of the tensors, with equal shares of the budget."""
        share = max(_LEAST, self.budget / len(self.names))
        return tuple(
            Attack(
                self.model,
                self.region.bound,
                norm=self.region.norm,
                noise=self.region.variation,
                data=self.data,
                method=self.method,
                passes=share,
                layers=[name],
                seed=self.seed,
            )
            for name in self.names
        )

    def interrupt(self) -> None:
        """End the search by hand: what it came to last, and the lowest that it had left behind, are certified too."""
        self.stop_reason = "stopped by hand"
        for point in dict.fromkeys((self._lowest, self._last)):
            if point is not None:
                self._certify(point)
        self._last = self._lowest = None

    def trace_curve(self) -> None:
        """Evaluate the deviation found at smaller lengths: what is exhibited within each smaller bound."""
        pairs = [(0.0, self.clean)]
        lowest = self.clean
        for part in np.linspace(0, 1, _CURVE)[1:-1]:
            stored = self.certifier.stored({n: d * part for n, d in self.deviation.items()})
            self.network.spend(FORWARD)
            lowest = min(lowest, self.certifier.accuracy(stored))
            pairs.append((float(part * self.region.bound), lowest))
        self.curve = (*pairs, (self.region.bound, min(lowest, self.worst)))

    def result(self) -> WorstCase:
        """Return the worst weights found so far."""
        return WorstCase(
            performance=self.certifier.performance,
            performance_worst=self.worst,
            clean=self.clean,
            bound=self.region.bound,
            norm=self.region.norm,
            noise=None if self.region.variation is None else self.region.variation.to_dict(),
            reached=self._reached(),
            passes=self.network.passes,
            evaluations=self.network.passes / FORWARD,
            method=self.method,
            guarantee="exact",
            layers=self.names,
            inputs=len(self.data),
            stop_reason=self.stop_reason,
            seed=self.seed,
            seconds=time.monotonic() - self.begun,
            model=str(self.model.path),
            data=self.data.source,
            model_sha256=self.model.sha256,
            data_sha256=self.data.sha256,
            versions={**versions(), "torch": version("torch")},
            notes=(*self.model.notes, *self.data.notes),
            trace=tuple(self.trace),
            curve=self.curve,
            weights=dict(self.stored),
        )

    def _certify(self, point: Point) -> None:
        """Evaluate a deviation on all inputs, as it will be stored, and keep it if it is the worst so far."""
        deviation = self.network.split(point.u.clone())
        stored = self.certifier.stored(deviation)
        accuracy = self.certifier.accuracy(stored)
        self.network.spend(FORWARD)
        if accuracy < self.worst:
            self.worst, self.deviation, self.stored = accuracy, deviation, stored
        self.trace.append((self.network.passes, self.worst))

    def _identity(self) -> dict[str, Any]:
        return {
            "model": self.model.sha256,
            "folded": sorted(self.model.factors),  # not the file, but the weights depend on it
            "data": self.data.sha256,
            "layers": self.names,
            "bound": self.region.bound,
            "norm": self.region.norm,
            "noise": None if self.region.variation is None else self.region.variation.to_dict(),
            "passes": self.budget,
            "seed": self.seed,
            "torch": version("torch"),
            "search": 2,  # of what checkpoints hold; grows when that changes
        }

    def _reached(self) -> float:
        """How far the stored weights reach; rounding in this quotient must not make it look beyond the bound."""
        reached = self.region.reach(self.region.deviations(self.model.graph.constants, self.stored))
        return min(reached, self.region.bound)
