"""``kppstat demo``: the KPP of the network that ships with kppstat."""

from __future__ import annotations

from pathlib import Path

from kppstat.cli.estimate import estimate
from kppstat.demo import DATA, NOISE_TRAINED


def demo(*, report: Path = Path("demo-report/index.html"), sigma: float = 0.06, k: float = 1.0) -> int:
    """Estimate the KPP of a LeNet trained with noise injection, on the 10,000 Fashion-MNIST test images.

    Parameters
    ----------
    report
        HTML page to write.
    sigma
        Standard deviation of a weight's deviation, in units of the max abs weight of its tensor.
    k
        Percent of instances that may fall below the KPP.
    """
    code = estimate(NOISE_TRAINED, data=str(DATA), sigma=sigma, k=k, max_time="3m", report=report)
    return code if code != 3 else 0  # a demo that ran to its time budget has done its work
