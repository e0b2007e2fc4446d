"""What the loop trains: an imported graph, or a torch module, behind one small interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

Values = dict[str, Tensor]
"""Tensors by name."""


@dataclass(frozen=True)
class Site:
    """A value inside the network that an auxiliary head can read: its name and shape without the batch."""

    name: str
    shape: tuple[int, ...]


class Network(ABC):
    """A network as a function of its trained tensors.

    Attributes
    ----------
    start : dict of str to Tensor
        The tensors to be trained, as they were given: weights, biases and normalisation parameters.
    noisy : tuple of str
        Those that carry device variation.
    statistics : dict of str to Tensor
        Running statistics of batch normalisations. In training they are those of the mini-batch; afterwards
        `refreshed` measures them.
    group : int or None
        The only number of inputs that can be fed at a time, where there is one.
    """

    start: Values
    noisy: tuple[str, ...]
    statistics: Values
    group: int | None = None

    @abstractmethod
    def run(
        self,
        values: Mapping[str, Tensor],
        statistics: Values,
        inputs: Values,
        *,
        training: bool,
        measured: Values | None = None,
        keep: Sequence[str] = (),
    ) -> tuple[Tensor, Values]:
        """Compute the network.

        Parameters
        ----------
        values : mapping of str to Tensor
            One for each name of `start`, or others in their place.
        statistics : dict of str to Tensor
            Read where `training` is false.
        inputs : dict of str to Tensor
        training : bool
            Whether batch normalisations use the statistics of these inputs.
        measured : dict of str to Tensor, optional
            What `measured` returned: in training, batch normalisations use these, and gradients flow through them.
        keep : sequence of str
            Names of sites whose values are wanted.

        Returns
        -------
        Tensor, shape (n, ...)
            The first output.
        dict of str to Tensor
            The values of `keep`.
        """

    @abstractmethod
    def measured(self, values: Mapping[str, Tensor], inputs: Values) -> Values:
        """Return the mean and variance that each batch normalisation meets on these inputs, with gradients.

        Empty where there is no batch normalisation with running statistics.
        """

    @abstractmethod
    def refreshed(self, values: Mapping[str, Tensor], batches: Iterable[Values]) -> Values:
        """Return running statistics measured on these inputs without device variation, as TRICE does."""

    @abstractmethod
    def sites(self, inputs: Values) -> list[Site]:
        """Return the places where auxiliary heads can read, from shallow to deep."""

    @abstractmethod
    def random(self, seed: int) -> Values:
        """Return random values for every tensor of `start`: He et al. (2015) for weights, 0 for biases, 1 for gains."""
