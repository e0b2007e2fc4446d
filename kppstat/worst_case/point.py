"""Where a search stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from kppstat.worst_case.network import Network
from kppstat.worst_case.region import Region


@dataclass(frozen=True, eq=False)
class Point:
    """A deviation that a search has come to.

    Attributes
    ----------
    u : Tensor, shape (size,)
        The deviation, in units of each tensor's max|W|; inside the region.
    seen : float
        Share of right answers on the inputs as last seen, with weights that have moved since: for progress only,
        unless `whole`.
    phase : str
        What the search is doing.
    check : bool
        Whether the search holds it for the best of a stage, to be evaluated on all inputs.
    whole : bool
        Whether `seen` is the share of all inputs at this very deviation, which an interruption may keep.
    """

    u: Tensor
    seen: float
    phase: str
    check: bool = False
    whole: bool = False


#: A method: the network, the region and a seed to the points on the way; it ends when its budget is spent.
Search = Callable[[Network, Region, int], Iterator[Point]]
