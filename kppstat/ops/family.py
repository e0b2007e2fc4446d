"""A family of operators: what the operators of one kind share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kppstat.ops.moments import Step

FamilyRule = Callable[[Callable[..., Any], Sequence[Any], Mapping[str, Any]], Step]
"""From the forward, the inputs (`Moments`, arrays or None) and the attributes to the step."""


@dataclass(frozen=True)
class Family:
    """A kind of operator.

    Attributes
    ----------
    name : str
        Shown in the operator table.
    rule : callable or None
        The moment rule of all operators of the family that have none of their own.
    mixes : bool
        An output element sums over several elements of one input, which may be correlated.
    univariate : bool
        Each output element depends on elements in the same place only.
    """

    name: str
    rule: FamilyRule | None = None
    mixes: bool = False
    univariate: bool = False
