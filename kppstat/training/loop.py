"""The loop that all strategies share: draw, compute, step; validate after each epoch; keep the best."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kppstat.errors import RunError
from kppstat.training.checkpoint import Checkpoint
from kppstat.training.examples import Examples, augmented
from kppstat.training.member import MakeOptimiser, Member
from kppstat.training.network import Network, Values
from kppstat.training.objective import Objective
from kppstat.training.plan import Plan
from kppstat.training.result import Epoch
from kppstat.training.seeds import mixed
from kppstat.training.strategies import Scene, Step, Strategy
from kppstat.training.validation import Score, Validation

_WARM_UP = 0.05  # share of the steps in which the learning rate rises
_REFRESH = 100  # mini-batches at most, from which running statistics are measured
_SHOW_EVERY = 20  # steps between two states
_ORDER, _NOISE, _AUGMENT, _INSIDE = range(4)  # streams of random numbers


@dataclass(frozen=True)
class Progress:
    """Where training stands.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 1; 0 is the network as it was given.
    share : float
        Share of all steps that is done.
    loss : float
        Mean loss since the epoch began.
    best : Epoch or None
        The best epoch so far.
    seconds : float
        Time spent, that of an interrupted run included.
    left : float
        Seconds left, as far as can be told.
    done : Epoch or None
        The epoch that has just been validated.
    """

    epoch: int
    share: float
    loss: float
    best: Epoch | None
    seconds: float
    left: float
    done: Epoch | None = None


class Loop:
    """Trains a network with a strategy.

    Parameters
    ----------
    network, examples, objective : Network, Examples, Objective
    scene : Scene
        What the strategy looks at before it begins.
    strategy : Strategy
    plan : Plan
    make : callable
        Makes the optimiser of a list of tensors.
    checkpoint : Checkpoint, optional
        Written after each epoch.
    resume : bool
        Go on from the checkpoint.
    """

    def __init__(
        self,
        network: Network,
        examples: Examples,
        objective: Objective,
        scene: Scene,
        strategy: Strategy,
        plan: Plan,
        *,
        make: MakeOptimiser,
        checkpoint: Checkpoint | None = None,
        resume: bool = False,
    ) -> None:
        self.network, self.examples, self.objective = network, examples, objective
        self.scene, self.strategy, self.plan, self.checkpoint = scene, strategy, plan, checkpoint
        self.batch = network.group or min(plan.batch, len(examples.train))
        self.validation = Validation(
            network, examples, objective, scene.variation, k=plan.k, instances=plan.instances, seed=plan.seed
        )
        extra = strategy.begin(scene)
        self.members = [Member(scene.start, extra, make) for _ in range(strategy.population)]
        self.history: list[Epoch] = []
        self.best: Epoch | None = None
        self.kept: tuple[Values, Values] = (scene.start, network.statistics)
        self.before = 0.0  # seconds of the interrupted run
        self.begun = time.monotonic()
        if checkpoint is not None and resume:
            self._restore(checkpoint.read(scene.outputs.device))

    @property
    def seconds(self) -> float:
        """Time spent."""
        return self.before + time.monotonic() - self.begun

    def run(self) -> Iterator[Progress]:
        """Train, yielding where it stands now and then and after each epoch."""
        if not self.history:
            yield self._conclude(0, math.nan)
        for epoch in range(len(self.history), self.plan.epochs + 1):
            loss = math.nan
            for loss, share in self._epoch(epoch):
                yield self._progress(epoch, share, loss)
            yield self._conclude(epoch, loss)

    def _epoch(self, epoch: int) -> Iterator[tuple[float, float]]:
        """Train for one epoch, yielding the mean loss so far and the share of all steps done."""
        seed, device = self.plan.seed, self.scene.outputs.device
        steps = self.examples.steps(self.batch)
        order = torch.Generator().manual_seed(mixed(seed, _ORDER, epoch))
        shifts = torch.Generator().manual_seed(mixed(seed, _AUGMENT, epoch))
        noise = [torch.Generator(device).manual_seed(mixed(seed, _NOISE, epoch)) for _ in self.members]
        total = torch.zeros((), device=device)
        for number, rows in enumerate(self.examples.shuffled(self.batch, order), 1):
            progress = (epoch - 1 + (number - 1) / steps) / self.plan.epochs
            inputs, targets = self.examples.batch(rows)
            inputs = augmented(inputs, self.plan.augment, shifts)
            for i, member in enumerate(self.members):
                with _seeded(mixed(seed, _INSIDE, epoch, number), device):
                    total = total + self.step(i, member, inputs, targets, noise[i], progress)
            if number % _SHOW_EVERY == 0 or number == steps:
                yield self._finite(total, number * len(self.members), epoch), progress + 1 / steps / self.plan.epochs

    def step(
        self, i: int, member: Member, inputs: Values, targets: Tensor, noise: torch.Generator, progress: float
    ) -> Tensor:
        """Make one step with a mini-batch, and return its loss."""
        step = Step(self.scene, member.values, member.extra, inputs, targets, self.objective, noise, i, progress)
        loss = member.step(self.strategy.losses(step), learning_rate(progress))
        self.strategy.after_step(member.values, member.extra, self.network.noisy)
        return loss

    def _finite(self, total: Tensor, count: int, epoch: int) -> float:
        loss = float(total) / count
        if not math.isfinite(loss):
            raise RunError(
                f"the loss became {loss} in epoch {epoch}", where="training", remedy="Lower --lr, or the training noise"
            )
        return loss

    def _conclude(self, epoch: int, loss: float) -> Progress:
        """Validate all members, let the best go on, keep the best so far, and write the checkpoint."""
        found = [self._validated(epoch, i, m) for i, m in enumerate(self.members)]
        chosen = 0
        if epoch > 0:
            chosen = self.strategy.select([score.kpp for score, _, _ in found])
            state = self.members[chosen].state()
            del self.members[self.strategy.population :]
            for member in self.members:
                if member is not self.members[0] or chosen:
                    member.restore(copy.deepcopy(state))
        score, values, statistics = found[chosen]
        record = Epoch(epoch, loss, score.kpp, score.mean, score.clean, self.seconds, self.strategy.state())
        self.history.append(record)
        # A random start is no result.
        if (epoch > 0 or not self.plan.from_scratch) and (self.best is None or record.kpp > self.best.kpp):
            self.best, self.kept = record, (_detached(values), _detached(statistics))
        if self.checkpoint is not None and epoch > 0:
            self.checkpoint.write(self._state())
        return self._progress(epoch, epoch / self.plan.epochs, loss, record)

    def _validated(self, epoch: int, i: int, member: Member) -> tuple[Score, Values, Values]:
        with torch.no_grad():
            if epoch == 0:  # the network as it was given
                values, statistics = self.scene.start, self.network.statistics
            else:
                values = self.strategy.intended(*member.kept(), i)
                # Each mini-batch from all over the data, which may be sorted by class.
                rows = self.examples.train
                count = min(max(len(rows) // self.batch, 1), _REFRESH)
                batches = (self.examples.batch(rows[j::count][: self.batch])[0] for j in range(count))
                statistics = self.network.refreshed(values, batches)
        return self.validation(values, statistics), values, statistics

    def _progress(self, epoch: int, share: float, loss: float, done: Epoch | None = None) -> Progress:
        first = self.history[0].seconds if self.history else 0.0
        left = (self.seconds - first) * (1 / share - 1) if share > 0 else 0.0
        return Progress(epoch, share, loss, self.best, self.seconds, left, done)

    def _state(self) -> dict[str, Any]:
        return {
            "members": [m.state() for m in self.members],
            "strategy": self.strategy.state(),
            "history": [e.to_list() for e in self.history],
            "best": None if self.best is None else self.best.number,
            "kept": list(self.kept),
            "seconds": self.seconds,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.strategy.restore(state["strategy"])
        self.history = [Epoch.from_list(e) for e in state["history"]]
        self.best = None if state["best"] is None else self.history[state["best"]]
        self.kept = state["kept"][0], state["kept"][1]
        self.before = state["seconds"]
        del self.members[len(state["members"]) :]
        for member, its in zip(self.members, state["members"], strict=True):
            member.restore(its)


def learning_rate(progress: float) -> float:
    """Return the share of the full learning rate at this share of the steps: a rise, then half a cosine to zero.

    Examples
    --------
    >>> [round(learning_rate(p), 2) for p in (0.025, 0.05, 0.525, 1)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if progress < _WARM_UP:
        return max(progress / _WARM_UP, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed what a module draws by itself (dropout), and leave the caller's generators as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _detached(values: Values) -> Values:
    return {n: v.detach().clone() for n, v in values.items()}
