"""Efficiency and coverage of tilted sampling on replayed instances of real networks.

Each replay holds the 0/1 scores of thousands of instances with their coordinates along directions that came from
gradients. Pools are drawn from it with replacement, scores are revealed only as they are paid for, and everything paid
is counted; 32 gradients on a twentieth of the inputs are counted although the coordinates are given. The factor is what
plain Monte Carlo with the exact interval of fixed size needs for the same width, in expectation over samples of the
same population, over the cost. Beside it stands what tilting alone can give with such a surrogate (`tilting`); that
instances are looked at in part comes on top.

    python -m benchmarks.tilted_replay --replay FOLDER [--repetitions 40] [--case 0 1 2 3]

Writes benchmarks/results/tilted_replay.csv, a row for each repetition; what is there was made with ``--case 0 2`` and
24 repetitions, the noise-trained LeNet with 12 at k = 0.1, the small ResNet at sigma 0.02 with ``--case 0``.
With ``--guarantee anytime`` instances are audited, audited sampling without tilting runs beside it with that guarantee,
and the rows go to benchmarks/results/tilted_anytime.csv; what is there was made with ``--case 0 2`` and 20 repetitions,
the small ResNet at sigma 0.02 with ``--case 0`` and 10, before the noise of looks was believed as computed; it and the
LeNet also when first rounds were still larger.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.stats import norm

from benchmarks.replay import Replay
from benchmarks.table import write_table
from kppstat.engine import Evaluation, Move, Task
from kppstat.runs import Reveal
from kppstat.sampling.audited import Audited
from kppstat.sampling.question import Question
from kppstat.sampling.tilted import Tilted
from kppstat.sampling.tilted_audits import TiltedAudits
from kppstat.sampling.tilted_slopes import passes

RESULTS = Path(__file__).parent / "results"
#: Percent, and instances of plain Monte Carlo whose width is asked for.
CASES = ((1.0, 8000), (1.0, 20_000), (0.1, 20_000), (0.1, 60_000))

#: Evaluations that a run may spend.
_MOST = 5000


class Placed:
    """Recorded instances with coordinates, as a space and an engine."""

    def __init__(self, replay: Replay, places: np.ndarray, seed: int) -> None:
        self.replay, self.places, self.inputs = replay, places, replay.inputs
        self.seed, self.guess, self.cost, self.hints, self.used = seed, None, 0.0, places[:0], 0
        self._member = {place.tobytes(): i for i, place in enumerate(places)}

    def find(self, reveal: Reveal) -> None:
        self.cost = passes(32, self.inputs // 20, self.inputs)

    def place(self, index: int) -> np.ndarray:
        return self.places[self._nominal(index)]

    def move(self, place: np.ndarray) -> Move:
        return Move(place, b"replay")

    def pool(self, number: int, start: int, count: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, 7, number, start))
        return self.places[rng.integers(0, len(self.places), count)]

    def _nominal(self, index: int) -> int:
        return int(np.random.default_rng((self.seed, 8, index)).integers(0, len(self.places)))

    def reveal(self, tasks: Iterable[Task]) -> Iterator[Evaluation]:
        for task in tasks:
            member = self._nominal(task.index) if task.move is None else self._member[task.move.place.tobytes()]
            scores = self.replay.scores(member)
            yield Evaluation(task.index, task.rows, scores if task.rows is None else scores[task.rows], 0.0)


@dataclass(frozen=True)
class Anytime:
    replay: str
    k: float
    half_width: float
    repetition: int
    method: str
    cost: float
    width: float
    plain: float
    factor: float
    tilt: float
    instances: int
    covered: bool
    converged: bool
    seconds: float


@dataclass(frozen=True)
class Row:
    replay: str
    k: float
    half_width: float
    repetition: int
    cost: float
    width: float
    plain: float
    factor: float
    factor_own: float
    correlation: float
    tilting: float
    hidden_mass: float
    instances: int
    waves: int
    covered: bool
    converged: bool
    seconds: float


def coordinates(path: Path, count: int) -> np.ndarray:
    """Return the coordinates of recorded instances along the strongest directions."""
    with np.load(path, allow_pickle=False) as data:
        return np.ascontiguousarray(data["z"][:, 4 : 4 + count], np.float32)


def tilting(p: float, correlation: float) -> float:
    """Return how many times fewer instances estimate the distribution function at the quantile p as well, at best.

    For a performance and a surrogate that are jointly normal. An instance fails with a probability that its surrogate
    tells; the variance of an unbiased weighted mean is least where instances are drawn in proportion to the root of
    that probability (Kahn & Marshall, J. Oper. Res. Soc. Am. 1, 1953).
    """
    s = np.linspace(-10, 10, 20_001)
    fails = norm.cdf((norm.ppf(p) - correlation * s) / np.sqrt(1 - correlation**2))
    least = float(norm.pdf(s) @ np.sqrt(fails)) * (s[1] - s[0])
    return float(p * (1 - p) / (least**2 - p**2))


def measure(replay: Replay, places: np.ndarray, k: float, half_width: float, repetition: int) -> Row:
    space = Placed(replay, places, repetition)
    tilted = Tilted(Question(k=k, seed=repetition, max_evaluations=_MOST), half_width, space, inputs=space.inputs)
    begun = time.process_time()
    *_, end = tilted.states(space.reveal)
    width = end.high - end.low
    found = tilted.findings()
    plain = replay.plain_size(width, k)
    return Row(
        replay.name, k, half_width, repetition, end.evaluations, width, plain, plain / end.evaluations,
        found.factor, found.correlation, tilting(k / 100, found.correlation), found.hidden_mass, end.instances,
        len(tilted._waves), end.low <= replay.kpp(k) + 1e-12 and replay.kpp(k) <= end.high + 1e-12, end.converged,
        time.process_time() - begun,
    )  # fmt: skip


def measure_anytime(replay: Replay, places: np.ndarray, k: float, half_width: float, repetition: int) -> list[Anytime]:
    """Run both methods whose intervals hold whenever one stops."""
    question = Question(k=k, seed=repetition, guarantee="anytime", max_evaluations=_MOST)
    space = Placed(replay, places, repetition)
    tilted = TiltedAudits(question, half_width, space, inputs=space.inputs)
    rows = []
    for estimator in (tilted, Audited(question, half_width, inputs=space.inputs)):
        begun = time.process_time()
        *_, end = estimator.states(space.reveal)
        plain = replay.plain_size(end.high - end.low, k)
        tilt = max(float(r.inclusion.max()) / r.least for r in tilted._rounds) if estimator is tilted else 1.0
        covered = end.low <= replay.kpp(k) + 1e-12 and replay.kpp(k) <= end.high + 1e-12
        rows.append(
            Anytime(
                replay.name,
                k,
                half_width,
                repetition,
                estimator.name,
                end.evaluations,
                end.high - end.low,
                plain,
                plain / end.evaluations,
                tilt,
                end.instances,
                covered,
                end.converged,
                time.process_time() - begun,
            )
        )
    return rows


def told_anytime(rows: list[Anytime]) -> str:
    """Return what both methods took."""
    parts = []
    for method in ("tilted", "audited"):
        mine = [r for r in rows if r.method == method]
        factor, cost, seconds = (float(np.median([asdict(r)[n] for r in mine])) for n in ("factor", "cost", "seconds"))
        covered = sum(r.covered for r in mine)
        parts.append(f"{method} {factor:.1f} (cost {cost:.0f}, {seconds:.1f} s, {covered} of {len(mine)} held)")
    return f"{rows[0].replay}: k = {rows[0].k:g}: " + ", ".join(parts)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replay", type=Path, default=Path(__file__).parents[2] / "shared" / "replay")
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("--directions", type=int, default=8)
    parser.add_argument("--only", default="", help="part of the name of a replay")
    parser.add_argument("--case", type=int, nargs="*", default=list(range(len(CASES))))
    parser.add_argument("--guarantee", choices=("asymptotic", "anytime"), default="asymptotic")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows: list[Row] = []
    both: list[Anytime] = []
    out = given.out or RESULTS / f"tilted_{'replay' if given.guarantee == 'asymptotic' else 'anytime'}.csv"
    for path in sorted(given.replay.glob("*.npz")):
        if given.only not in path.stem:
            continue
        replay, places = Replay(path), coordinates(path, given.directions)
        for k, plain in (CASES[i] for i in given.case):
            half = replay.plain_width(plain, k) / 2
            if given.guarantee == "anytime":
                pairs = [measure_anytime(replay, places, k, half, r) for r in range(given.repetitions)]
                both += (here := [row for pair in pairs for row in pair])
                write_table(both, out)
                print(told_anytime(here), flush=True)
                continue
            mine = [measure(replay, places, k, half, r) for r in range(given.repetitions)]
            rows += mine
            write_table(rows, out)
            middle = {n: float(np.median([asdict(r)[n] for r in mine])) for n in ("cost", "width", "waves")}
            lower, factor, upper = np.quantile([r.factor for r in mine], [0.25, 0.5, 0.75])
            print(
                f"{replay.name}: k = {k:g}, half-width {100 * half:.3f} points: factor {factor:.1f} "
                f"(quartiles {lower:.1f} to {upper:.1f}; "
                f"own account {np.median([r.factor_own for r in mine]):.1f}), cost {middle['cost']:.0f}, "
                f"width {100 * middle['width']:.3f}, waves {middle['waves']:.0f}, correlation "
                f"{np.median([r.correlation for r in mine]):.2f} "
                f"(tilting alone {np.median([r.tilting for r in mine]):.1f}), "
                f"covered {np.mean([r.covered for r in mine]):.2f}, "
                f"converged {np.mean([r.converged for r in mine]):.2f}, hidden mass at most "
                f"{100 * np.median([r.hidden_mass for r in mine]):.2f} %, {np.median([r.seconds for r in mine]):.1f} s",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
