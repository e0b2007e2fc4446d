"""Coverage of the intervals from tilted draws, also where the tilt is wrong or blind.

The performance is ``m(z) + s e`` with a score `z` that is tilted and a residual `e` that is not, sometimes with a
second way to fail that `z` knows nothing of. Its percentiles come from numerical integration.

    python -m benchmarks.coverage_weighted      # about eight minutes; writes benchmarks/results/coverage_weighted.csv
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

from benchmarks.coverage import CONFIDENCE, Row, report
from kppstat.stats.betting import Stakes, betting_interval, predictable_stakes
from kppstat.stats.interval import Interval
from kppstat.stats.tilt import Tilt, mixture_weights, root_tilt, shift_tilt
from kppstat.stats.weighted import share_bound, woodruff_interval

SCORES = np.linspace(-9, 9, 3601)
DENSITY = np.exp(-(SCORES**2) / 2) / np.exp(-(SCORES**2) / 2).sum()


@dataclass(frozen=True)
class Setting:
    """A law of performance and a proposal."""

    k: float
    share: float  # nominal
    rho: float = 0.9
    curved: bool = False
    grid: float = 0.0  # step of a discrete performance
    hidden: float = 0.0  # mass of failures that the score knows nothing of
    proposal: str = "root"
    size: int = 4000

    def middle(self, z: np.ndarray) -> np.ndarray:
        return -self.rho * np.logaddexp(0, -2 * z) if self.curved else self.rho * z

    def conditional(self, x: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda z: ndtr((x - self.middle(z)) / math.sqrt(1 - self.rho**2))

    @cache  # noqa: B019 - there are as many settings as lines below
    def truth(self) -> float:
        p = self.k / 100
        if self.hidden >= p:
            return -30.0

        def excess(x: float) -> float:
            return self.hidden + (1 - self.hidden) * float(DENSITY @ self.conditional(x)(SCORES)) - p

        x = float(brentq(excess, -29, 20, xtol=1e-12))
        return math.ceil(x / self.grid) * self.grid if self.grid else x

    def tilt(self) -> Tilt:
        sign = {"root": 0, "shift": -2.0, "too far": -4.0, "wrong way": 2.0}[self.proposal]
        return root_tilt(self.conditional(max(self.truth(), -10.0))) if sign == 0 else shift_tilt(sign)

    def draw(self, n: int, tilt: Tilt, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return performances, weights, and which draws are nominal."""
        nominal = rng.random(n) < self.share
        z = np.where(nominal, rng.normal(size=n), tilt.draw(rng.random(n)))
        a = self.middle(z) + math.sqrt(1 - self.rho**2) * rng.normal(size=n)
        a = np.ceil(a / self.grid) * self.grid if self.grid else a
        a = np.where(rng.random(n) < self.hidden, -30.0, a)
        return a, mixture_weights(z[:, None], [tilt], [1 - self.share]), nominal


SETTINGS = {
    "linear, k = 5": Setting(5, 0.3),
    "linear, k = 1": Setting(1, 0.3),
    "linear, k = 0.1": Setting(0.1, 0.5, size=10_000),
    "linear, k = 0.01": Setting(0.01, 0.5, size=10_000),
    "curved, k = 1": Setting(1, 0.5, rho=0.8, curved=True),
    "curved, k = 0.1": Setting(0.1, 0.7, rho=0.95, curved=True, size=10_000),
    "useless score": Setting(1, 0.5, rho=0.0, proposal="shift"),
    "steps of 0.25": Setting(1, 0.3, grid=0.25),
    "steps of 1": Setting(5, 0.3, grid=1.0),
    "shift": Setting(1, 0.2, proposal="shift"),
    "shifted too far": Setting(1, 0.1, rho=0.5, proposal="too far"),
    "shifted the wrong way": Setting(1, 0.3, proposal="wrong way"),
    "hidden failures, half of p": Setting(0.1, 0.3, hidden=5e-4, size=3000),
    "hidden failures, just p": Setting(0.1, 0.3, hidden=1.001e-3, size=3000),
}
Rule = Callable[[np.ndarray, np.ndarray, Setting], Interval]


def betting(a: np.ndarray, w: np.ndarray, setting: Setting, size: int | None = None) -> Interval:
    n, p = size or a.size, setting.k / 100
    # The plan is made for the size of the setting, whatever the values.
    stakes = predictable_stakes(a[:n], w[:n], p, 1 - CONFIDENCE, size=setting.size, variance=p * (1 - p) / 8)
    return betting_interval(a[:n], w[:n], p, CONFIDENCE, bound=1 / setting.share, stakes=stakes)


def betting_stopped_at_a_miss(a: np.ndarray, w: np.ndarray, setting: Setting) -> Interval:
    truth = setting.truth()
    for size in np.geomspace(50, a.size, 12).astype(int):
        interval = betting(a, w, setting, int(size))
        if truth not in interval:
            break
    return interval


def woodruff(a: np.ndarray, w: np.ndarray, setting: Setting) -> Interval:
    return woodruff_interval(a, w, setting.k / 100, CONFIDENCE)


def clairvoyant(a: np.ndarray, w: np.ndarray, setting: Setting) -> Interval:
    """Betting with stakes that know what they are placed on."""
    event = a <= setting.truth()
    p = setting.k / 100
    stakes = Stakes(np.where(event, 0.5 / p, 0.0), np.zeros(a.size))
    return betting_interval(a, w, p, CONFIDENCE, bound=1 / setting.share, stakes=stakes)


RULES: dict[str, tuple[str, Rule]] = {
    "betting": ("anytime", betting),
    "betting, stopped at a miss": ("anytime", betting_stopped_at_a_miss),
    "Woodruff": ("asymptotic", woodruff),
    "control: clairvoyant betting": ("control", clairvoyant),
}


def measure(name: str, law: str, replications: int) -> Row:
    promise, rule = RULES[name]
    setting = SETTINGS[law]
    truth, tilt = setting.truth(), setting.tilt()
    rng = np.random.default_rng(zlib.crc32(f"{name}/{law}".encode()))
    below = above = infinite = 0
    half_widths = []
    for _ in range(replications):
        a, w, _ = setting.draw(setting.size, tilt, rng)
        interval = rule(a, w, setting)
        below += interval.high < truth - 1e-9
        above += interval.low > truth + 1e-9
        infinite += not math.isfinite(interval.half_width)
        half_widths.append(interval.half_width)
    return row(name, promise, law, replications, below, above, infinite, float(np.median(half_widths)))


def hidden_mass(law: str, replications: int) -> Row:
    """Return how often the bound on the mass below -20, counted among nominal draws, holds."""
    setting = SETTINGS[law]
    tilt, rng, broken = setting.tilt(), np.random.default_rng(zlib.crc32(law.encode())), 0
    for _ in range(replications):
        a, _, nominal = setting.draw(setting.size, tilt, rng)
        hits = int(((a < -20) & nominal).sum())
        broken += share_bound(hits, int(nominal.sum()), CONFIDENCE) < setting.hidden
    return row("bound on hidden mass", "exact", law, replications, broken, 0, 0, math.nan)


def row(name: str, promise: str, law: str, n: int, below: int, above: int, infinite: int, width: float) -> Row:
    coverage, slack = 1 - (below + above) / n, 3 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / n)
    return Row(
        name, promise, law, SETTINGS[law].k, n, CONFIDENCE, coverage, slack, below, above, infinite,
        float(SETTINGS[law].size), width, coverage >= CONFIDENCE - slack,
    )  # fmt: skip


def rows(replications: int) -> Iterator[Row]:
    for name, law in itertools.product(RULES, SETTINGS):
        yield measure(name, law, replications)
    for law, setting in SETTINGS.items():
        if setting.hidden:
            yield hidden_mass(law, replications)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "coverage_weighted.csv")
    options = parser.parse_args()
    return report(rows(options.replications), options.out)


if __name__ == "__main__":
    sys.exit(main())
