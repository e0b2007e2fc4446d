"""The few directions along which instances are moved: where they come from, and the places along them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from kppstat.engine import Engine, Move
from kppstat.errors import KppstatError, SettingError
from kppstat.graph import Graph
from kppstat.noise.philox import normals
from kppstat.runs import Reveal
from kppstat.sampling.tilted_slopes import Point, gradients, passes
from kppstat.sampling.tilted_surrogate import Quadratic, fitted_quadratic
from kppstat.stats.directions import Directions

__all__ = ["NetworkSpace", "Space"]

#: Directions at most, and instances at which gradients are taken for them.
_DIRECTIONS, _INSTANCES = 8, 32
#: Inputs of each gradient: this share, and at least so many.
_SHARE, _LEAST = 0.05, 256
#: Of the whole budget, what finding directions may cost; and what must be left for the pilot and for looks.
_PART, _BESIDES = 0.75, 4.0
#: Numbers that gradients may fill.
_ROOM = 1 << 28
#: Normals of pools come from streams from this number on, which no tensor has.
_POOL = 1 << 23


class Space(Protocol):
    """Directions, and the law of the places along them."""

    guess: Quadratic | None
    cost: float
    #: How many of the first instances made the directions: they are no longer typical along them, and must not count.
    used: int
    #: Places worth a look by scouts, shape (n, m).
    hints: np.ndarray

    def find(self, reveal: Reveal) -> None:
        """Find the directions; counts the evaluations that it takes in `cost`."""

    def place(self, index: int) -> np.ndarray:
        """Return the coordinates of a nominal instance, shape (m,)."""

    def move(self, place: np.ndarray) -> Move | None:
        """Return what moves an instance to a place."""

    def pool(self, number: int, start: int, count: int) -> np.ndarray:
        """Return places of a pool drawn from the nominal law, from number `start` on, float32, shape (count, m)."""


class NetworkSpace:
    """Directions from the gradients of the smoothed performance at a few instances.

    Parameters
    ----------
    engine : Engine
    graph : Graph
        Of the model that the engine runs.
    first : int
        Number of the first instance.
    keep : callable, optional
        Keeps an array under a name and gives it back when asked again, as `Journal.keep` does.
    budget : float
        Evaluations that the whole run may spend.

    Attributes
    ----------
    guess : Quadratic or None
        What the gradients say of the performance as a function of the coordinates.
    cost : float
        Evaluations spent: forward and backward count 3.
    """

    def __init__(
        self,
        engine: Engine,
        graph: Graph,
        first: int,
        keep: Callable[..., np.ndarray] | None = None,
        *,
        budget: float = math.inf,
    ) -> None:
        self._engine, self._graph, self._first, self._budget = engine, graph, first, budget
        self._keep = keep or (lambda _, make: make())
        self.guess: Quadratic | None = None
        self.cost, self.used = 0.0, 0
        self.hints = np.zeros((0, 0), np.float32)

    def find(self, reveal: Reveal) -> None:
        """Find the directions.

        Raises
        ------
        KppstatError
            If torch is missing, an operator or the noise has no gradient, the performance is not one of classes, or
            the budget is too small.
        """
        evaluator = self._engine.evaluator
        sizes = {name: len(z) for name, z in evaluator.normals(self._first).items()}
        total = sum(sizes.values())
        count = int(np.clip(_ROOM // max(total, 1), 8, _INSTANCES))
        inputs = len(evaluator.dataset)
        rows = min(inputs, max(_LEAST, round(_SHARE * inputs)))
        price = self._price(count, rows, inputs)
        needed = max(price / _PART, price + _BESIDES)
        if self._budget < needed:
            raise SettingError(
                f"finding directions on {inputs:,} inputs costs about {price:.3g} of {self._budget:g} evaluations",
                where="--max-evaluations",
                remedy=f"Give {math.ceil(needed):,} or more, or use --method audited",
            )
        points = self._points(reveal, count)
        # Another method or first instance may ask the same journal for gradients elsewhere.
        name = hashlib.blake2b(repr((points, rows)).encode(), digest_size=16).hexdigest()
        found = self._keep(f"gradients {name}", lambda: gradients(evaluator, self._graph, points, rows))
        self.cost += passes(count, rows, inputs)
        self.used = sum(not mix for _, mix in points)
        basis = _principal(found, _DIRECTIONS)
        ends = np.cumsum(list(sizes.values()))[:-1]
        self.directions = Directions(dict(zip(sizes, np.split(basis, ends), strict=True)))
        self._engine.aim(self.directions)
        whole = np.concatenate(list(self.directions.vectors.values())).astype(np.float64)
        places = np.array([self.directions.coordinates(evaluator.normals(i, None, mix)) for i, mix in points])
        self.guess = fitted_quadratic(places, found.astype(np.float64) @ whole)
        self.hints = places[[bool(mix) for _, mix in points]].astype(np.float32)

    def _price(self, count: int, rows: int, inputs: int) -> float:
        """Return what finding directions costs, in evaluations."""
        return passes(count, rows, inputs)

    def _points(self, reveal: Reveal, count: int) -> list[Point]:
        """Return the instances at which gradients are taken: nominal ones."""
        del reveal
        return [(i, ()) for i in range(self._first, self._first + count)]

    def place(self, index: int) -> np.ndarray:
        """Return the coordinates of a nominal instance, shape (m,)."""
        return self.directions.coordinates(self._engine.evaluator.normals(index))

    def move(self, place: np.ndarray) -> Move:
        """Return what moves an instance to a place."""
        return Move(place, self.directions.digest)

    def pool(self, number: int, start: int, count: int) -> np.ndarray:
        """Return places of a pool drawn from the nominal law, float32, shape (count, m)."""
        m, seed = self.directions.count, self._engine.evaluator.seed
        return normals(seed, self._first + start, _POOL + number, count * m).reshape(count, m)


def _principal(found: np.ndarray, most: int) -> np.ndarray:
    """Return the strongest principal directions of gradients of shape (n, draws), shape (draws, up to most)."""
    gram = (found @ found.T).astype(np.float64)
    strength, vectors = np.linalg.eigh(gram)
    kept = [k for k in np.argsort(-strength)[:most] if strength[k] > 1e-6 * strength.max()]
    if not kept or not np.isfinite(gram).all():
        raise KppstatError(
            "performance has no slope along any direction of device variation",
            remedy="Use --method audited, which needs none",
        )
    return np.asarray(found.T @ vectors[:, kept].astype(np.float32))
