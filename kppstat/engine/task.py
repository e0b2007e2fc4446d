"""What is asked of a worker, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Move:
    """Where an instance is moved to.

    Attributes
    ----------
    place : ndarray of float32, shape (count,)
        Its coordinates along the engine's directions.
    along : bytes
        Names the directions, `Directions.digest`.
    """

    place: np.ndarray
    along: bytes


@dataclass(frozen=True, eq=False)
class Task:
    """An instance to run on some of the inputs.

    Attributes
    ----------
    index : int
        Number of the instance.
    rows : ndarray of int or None
        Numbers of the inputs; None stands for all of them.
    move : Move or None
        Where the instance is moved to; None leaves it where its number puts it.
    mix : tuple of (int, float)
        Numbers of instances and coefficients whose squares add to 1: the instance's normals are this combination of
        theirs. Empty: its own.
    """

    index: int
    rows: np.ndarray | None = None
    move: Move | None = None
    mix: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of an instance.

    Attributes
    ----------
    index : int
        Number of the instance.
    rows : ndarray of int or None
        Numbers of the inputs; None stands for all of them.
    scores : ndarray, float64
        One for each of `rows`.
    seconds : float
        Wall-clock time that it took.
    """

    index: int
    rows: np.ndarray | None
    scores: np.ndarray
    seconds: float
