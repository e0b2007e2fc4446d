"""Which tensors of a model carry device variation, how much, and which do not and why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kppstat.graph import ExactTensor
from kppstat.noise import NoiseModel, Variation

if TYPE_CHECKING:
    from kppstat.onnx_io import Model

_NODE = re.compile(r" \(\w+ '.*'\)$", re.DOTALL)  # as in "a bias, added in digital form (Conv 'conv1')"


@dataclass(frozen=True, slots=True)
class NoisyTensor:
    """A tensor with device variation.

    Attributes
    ----------
    name : str
    consumers : tuple of str
        The nodes in which it is stored as conductances.
    shape : tuple of int
    count : int
        Number of weights.
    max_abs : float
        Largest absolute weight.
    sd : float
        Absolute standard deviation of a weight, in the unit of the weights: root mean square over the tensor.
    law : str
        The noise model and its parameters in words.
    formula : str
        The map from standard normals to weights in one line; empty where it has none.
    """

    name: str
    consumers: tuple[str, ...]
    shape: tuple[int, ...]
    count: int
    max_abs: float
    sd: float
    law: str
    formula: str = ""


@dataclass(frozen=True, slots=True)
class Tensors:
    """All constants of a model: those with device variation and those without.

    Attributes
    ----------
    noisy : tuple of NoisyTensor
    exact : tuple of ExactTensor
    """

    noisy: tuple[NoisyTensor, ...]
    exact: tuple[ExactTensor, ...]

    @classmethod
    def of(cls, model: Model, variation: Variation) -> Tensors:
        """Return what `variation` does to each tensor of `model`.

        Parameters
        ----------
        model : Model
        variation : Variation

        Examples
        --------
        >>> from kppstat import Gaussian, Variation, load
        >>> from kppstat.demo import MODEL
        >>> tensors = Tensors.of(load(MODEL), Variation(Gaussian(0.1)))
        >>> all(abs(t.sd - 0.1 * t.max_abs) < 1e-6 for t in tensors.noisy)
        True
        """
        values = model.values()
        noisy = []
        for weight in model.weights:
            noise = variation.of(weight.name)
            _, variance = noise.moments(np.asarray(values[weight.name], dtype=np.float64))
            sd = float(np.sqrt(np.mean(variance))) if weight.size else 0.0
            of_weight = (weight.name, weight.consumers, weight.shape, weight.size, weight.max_abs)
            noisy.append(NoisyTensor(*of_weight, sd, law(noise), noise.formula))
        return cls(tuple(noisy), model.exact)

    @property
    def count(self) -> int:
        """Number of weights with device variation."""
        return sum(tensor.count for tensor in self.noisy)

    @property
    def laws(self) -> tuple[str, ...]:
        """The noise models in use, each once, in order of appearance."""
        return tuple(dict.fromkeys(tensor.law for tensor in self.noisy))

    @property
    def exact_by_reason(self) -> dict[str, list[ExactTensor]]:
        """The tensors without device variation, gathered by the reason, whichever node it was found at."""
        groups: dict[str, list[ExactTensor]] = {}
        for tensor in self.exact:
            groups.setdefault(_NODE.sub("", tensor.reason), []).append(tensor)
        return groups


def law(noise: NoiseModel) -> str:
    """Return a noise model in words: its name and its parameters.

    Examples
    --------
    >>> from kppstat import Gaussian
    >>> law(Gaussian(0.1))
    'gaussian, sigma 0.1'
    """
    return words(noise.to_dict())


def words(parameters: Mapping[str, Any]) -> str:
    """Return the plain description of a noise model in words."""
    rest = [f"{name.replace('_', ' ')} {_value(value)}" for name, value in parameters.items() if name != "model"]
    return ", ".join([str(parameters.get("model", "")), *rest])


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({words(value)})" if "model" in value else ", ".join(f"{k} {_value(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
