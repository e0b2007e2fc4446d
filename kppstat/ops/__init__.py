"""Operators by family: each ONNX operator in one block, its forward and how moments pass through it.

Adding an operator is one function in the file of its family::

    @op("Relu", elementwise)
    def relu(x):
        return ...

The names of the positional parameters are those of the ONNX inputs, the keyword parameters are the ONNX attributes.
"""

from kppstat.ops import (
    bilinear,
    combine,
    contraction,
    elementwise,
    indexing,
    logic,
    normalise,
    pools,
    quantise,
    recurrent,
    reduce,
    resize,
    values,
    views,
)
from kppstat.ops.registry import Operator, lookup, op, operators

__all__ = [
    "Operator",
    "bilinear",
    "combine",
    "contraction",
    "elementwise",
    "indexing",
    "logic",
    "lookup",
    "normalise",
    "op",
    "operators",
    "pools",
    "quantise",
    "recurrent",
    "reduce",
    "resize",
    "values",
    "views",
]
