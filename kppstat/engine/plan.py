"""How the engine runs, and how long that takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """How instances are run, and how long that takes, as a short probe found.

    Attributes
    ----------
    workers : int
        Instances run at a time.
    threads : int
        Threads of each.
    batch : int
        Inputs fed at a time.
    inputs : int
        Number of inputs of an evaluation.
    setup : float
        Seconds that a worker takes to draw the weights of an instance and to build its session.
    each : float
        Seconds that it then takes for an input, while all workers are busy.
    notes : tuple of str
        What the probe found out, one sentence each.

    Examples
    --------
    >>> plan = Plan(workers=2, threads=1, batch=32, inputs=10_000, setup=0.002, each=1.2e-5)
    >>> round(plan.seconds, 3), round(plan.rate, 1), round(plan.seconds_for(64), 5)
    (0.122, 16.4, 0.00277)
    """

    workers: int
    threads: int
    batch: int
    inputs: int
    setup: float
    each: float
    notes: tuple[str, ...] = ()

    def seconds_for(self, rows: int) -> float:
        """Return the seconds that one worker takes for an instance on this number of inputs."""
        return self.setup + self.each * rows

    @property
    def seconds(self) -> float:
        """Seconds of one evaluation (one instance on all inputs) by one worker, while all are busy."""
        return self.seconds_for(self.inputs)

    @property
    def rate(self) -> float:
        """Evaluations per second, all workers together."""
        return self.workers / self.seconds
