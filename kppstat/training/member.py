"""One copy of the network in training: its tensors and its optimiser."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from kppstat.training.network import Values

MakeOptimiser = Callable[[list[Tensor]], torch.optim.Optimizer]


class Member:
    """Trained tensors and their optimiser.

    Parameters
    ----------
    values, extra : dict of str to Tensor
        Where to start: tensors of the network, and the strategy's own. They are copied.
    make : callable
        Makes the optimiser of a list of tensors.
    """

    def __init__(self, values: Values, extra: Values, make: MakeOptimiser) -> None:
        self.values, self.extra = _leaves(values), _leaves(extra)
        self.optimiser = make([*self.values.values(), *self.extra.values()])
        self.rates = [float(g["lr"]) for g in self.optimiser.param_groups]

    def step(self, losses: Iterable[Tensor], rate: float) -> Tensor:
        """Make one step for each loss at this share of the full learning rate; return the sum of the losses."""
        total = torch.zeros(())
        for loss in losses:
            for group, full in zip(self.optimiser.param_groups, self.rates, strict=True):
                group["lr"] = full * rate
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            total = total.to(loss.device) + loss.detach()
        return total

    def kept(self) -> tuple[Values, Values]:
        """Return the tensors to be kept, those of the network and the strategy's own."""
        return {n: v.detach() for n, v in self.values.items()}, {n: v.detach() for n, v in self.extra.items()}

    def state(self) -> dict[str, Any]:
        """Return everything that training goes on from."""
        return {
            "tensors": [t.detach() for t in self._tensors()],
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state, by copying."""
        with torch.no_grad():
            for mine, other in zip(self._tensors(), state["tensors"], strict=True):
                mine.copy_(other)
        self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))

    def _tensors(self) -> list[Tensor]:
        return [*self.values.values(), *self.extra.values()]


def _leaves(values: Values) -> Values:
    return {n: v.detach().clone().requires_grad_() for n, v in values.items()}
