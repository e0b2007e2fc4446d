"""Ours: train on the instances near the percentile, and on the range that their deviations count in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from kppstat.training.network import Values
from kppstat.training.strategies.strategy import Scene, Step, Strategy, strategy, within

_RANGE = "range of "


@strategy("kpp")
@dataclass(kw_only=True)
class Kpp(Strategy):
    """Experimental."""

    averaging: ClassVar[float] = 0.99

    draws: int = 4
    tail: float = 0.5
    width: float = 2.0
    learn: int = 1
    through: int = 1
    scale: float = 1.0
    ema: float = 0.99

    def begin(self, scene: Scene) -> Values:
        self.noisy = scene.network.noisy
        type(self).averaging = self.ema
        with torch.no_grad():
            return {_RANGE + n: (self.width * scene.start[n].square().mean().sqrt()).reshape(1) for n in self.noisy}

    def losses(self, step: Step) -> Iterator[Tensor]:
        intended = self.intended(step.values, step.extra, step.member)
        losses = torch.stack(
            [
                step.loss(step.programmed(intended, through=bool(self.through), scale=self.scale))
                for _ in range(self.draws)
            ]
        )
        keep = max(1, round(self.tail * self.draws))
        yield losses.topk(keep).values.mean()

    def after_step(self, values, noisy):
        pass

    def intended(self, values: Values, extra: Values, member: int) -> Values:
        result = dict(values)
        for n in self.noisy:
            c = extra[_RANGE + n].abs()
            if not self.learn:
                c = self.width * values[n].detach().square().mean().sqrt().reshape(1)
            result[n] = torch.minimum(torch.maximum(values[n], -c), c)
        return result
