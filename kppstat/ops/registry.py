"""The registry of operators: one row per ONNX operator, its forward and the family that supplies its moment rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kppstat.errors import ModelError
from kppstat.ops.family import Family


class Operator:
    """One ONNX operator.

    Attributes
    ----------
    name, domain : str
    forward : callable
        Positional parameters are the ONNX inputs, keyword parameters the ONNX attributes with their defaults.
        A keyword ``outputs`` receives the number of outputs that the node asks for.
    family : Family
        Supplies the default rules for moments and for the adjoint.
    rule : callable or None
        A rule of its own for the moments, where one is attached with `moments`.
    static : frozenset of int
        Numbers of the inputs that are read as plain values (shapes, axes, indices): NumPy, never random.
    attributes : frozenset of str
        Names of the ONNX attributes.
    former_attributes : frozenset of str
        Names of static inputs, which older opsets gave as attributes.
    """

    def __init__(
        self, name: str, domain: str, forward: Callable[..., Any], family: Family, static: Collection[str]
    ) -> None:
        self.name, self.domain, self.forward, self.family = name, domain, forward, family
        self.rule: Callable[..., Any] | None = None
        parameters = inspect.signature(forward).parameters
        positional = [p.name for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
        self.static = frozenset(positional.index(s) for s in static)
        self.former_attributes = frozenset(static)
        self.attributes = frozenset(p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY)
        self.__doc__ = forward.__doc__

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        """Run the forward."""
        return self.forward(*inputs, **attributes)

    def __repr__(self) -> str:
        return f"<operator {self.name}>"

    def moments(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Attach a rule for the moments that replaces the one of the family."""
        self.rule = rule
        return rule

    def keywords(self, attributes: Mapping[str, Any], outputs: int) -> dict[str, Any]:
        """Return the keyword arguments of a node of this operator.

        Raises
        ------
        ModelError
            If the node has an attribute that the operator does not know.
        """
        older = {n: np.asarray(v) for n, v in attributes.items() if n in self.former_attributes}
        attributes = {n: v for n, v in attributes.items() if n not in older}
        unknown = sorted(set(attributes) - self.attributes)
        if unknown:
            raise ModelError(
                f"attribute {', '.join(unknown)} of operator {self.name} is not known",
                remedy="Convert the model to a newer opset with onnx.version_converter",
            )
        extra = {"outputs": outputs} if "outputs" in self.attributes else {}
        return {**attributes, **older, **extra}


_operators: dict[tuple[str, str], Operator] = {}


def op(
    name: str, family: Family, *, static: Sequence[str] = (), domain: str = ""
) -> Callable[[Callable[..., Any]], Operator]:
    """Register a function as the forward of an ONNX operator.

    Parameters
    ----------
    name : str
        ONNX operator type.
    family : Family
        What the operators of its kind share: the rules for moments and adjoint.
    static : sequence of str
        Names of the inputs that are read as plain values and are never random.
    domain : str
        ONNX operator domain.

    Raises
    ------
    ValueError
        If the operator is registered already.
    """

    def register(forward: Callable[..., Any]) -> Operator:
        if (domain, name) in _operators:
            raise ValueError(f"operator {name} is registered twice")
        operator = _operators[domain, name] = Operator(name, domain, forward, family, static)
        return operator

    return register


def lookup(name: str, domain: str = "") -> Operator | None:
    """Return the operator of this name, or None.

    Examples
    --------
    >>> import kppstat.ops
    >>> kppstat.ops.lookup("Relu")
    <operator Relu>
    """
    return _operators.get(("" if domain == "ai.onnx" else domain, name))


def operators() -> tuple[Operator, ...]:
    """Return all registered operators, by name."""
    return tuple(_operators[key] for key in sorted(_operators))
