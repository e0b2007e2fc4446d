"""A family of operators: what the operators of one kind share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A kind of operator.

    Attributes
    ----------
    name : str
        Shown in the operator table.
    """

    name: str
