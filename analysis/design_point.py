"""Whether the design point of a worst-case search is a direction that tilted sampling lacks.

    python -m analysis.design_point [--instances 400] [--inputs 2000]

For the two LeNets that ship with kppstat: the shortest z found at which the accuracy falls to a limit, started from the
worst weights within a bound (`kppstat.worst_case.design_point`), against the span of the 8 directions that tilted
sampling takes from gradients at 32 instances. `share_in_span` is the length of the unit direction's projection on that
span. The correlations are those of the accuracy of nominal instances with the surrogate of tilted sampling, learnt from
half of the instances and judged on the other half, and the other way round: with the 8 directions, with the design
point as a ninth, and with the ninth gradient direction in its place. Writes analysis/results/design_point.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.table import write_table
from kppstat import data as data_room
from kppstat.demo import DATA, MODEL, NOISE_TRAINED
from kppstat.engine import Evaluator
from kppstat.noise import Gaussian, Variation
from kppstat.onnx_io import load
from kppstat.performance import Top1
from kppstat.sampling.tilted_slopes import gradients
from kppstat.sampling.tilted_surrogate import Surrogate, fitted_quadratic
from kppstat.stats.directions import Directions
from kppstat.worst_case import Attack, design_point

TABLE = Path(__file__).parent / "results" / "design_point.csv"
CASES = (
    ("LeNet", MODEL, 0.06, 0.01, (0.84, 0.7, 0.5)),
    ("LeNet trained with noise", NOISE_TRAINED, 0.1, 0.03, (0.8, 0.7, 0.5)),
)
KEPT, POINTS, SEED = 8, 32, 5
FIRST = 1 << 30  # instances of the gradients: none of the nominal ones
SEARCH, PASSES = 600, 20


def strongest(found: np.ndarray) -> np.ndarray:
    """Return the principal directions of gradients, orthonormal, the strongest first; shape (draws, points)."""
    return np.asarray(np.linalg.svd(found.astype(np.float64), full_matrices=False)[2].T)


def correlation(places: np.ndarray, values: np.ndarray, at: np.ndarray, slopes: np.ndarray) -> float:
    """Return the correlation of values with the surrogate learnt from the other half of the instances."""
    guess, said = fitted_quadratic(at, slopes), np.zeros(len(values))
    for half in (0, 1):
        test = np.arange(len(values)) % 2 == half
        learnt = Surrogate.fit(places[~test], values[~test], np.zeros((~test).sum()), guess)
        said[test] = learnt.location(places[test])
    return float(np.corrcoef(said, values)[0, 1])


def rows(
    case: tuple[str, Path, float, float, tuple[float, ...]], instances: int, inputs: int
) -> list[dict[str, object]]:
    """Search, draw instances, compare."""
    name, path, sigma, bound, limits = case
    model = load(path)
    whole = data_room.load(DATA, model)
    order = np.random.default_rng(0).permutation(len(whole))
    judged = whole.part(np.sort(order[:inputs]))
    evaluator = Evaluator(model, Variation(Gaussian(sigma)), judged, Top1(), seed=SEED)
    evaluator.fit(evaluator.outputs(None))
    assert evaluator.targets is not None
    values = np.array([
        evaluator.performance.scores(evaluator.outputs(i), evaluator.targets).mean() for i in range(instances)
    ])  # fmt: skip
    found = gradients(evaluator, model.graph, [(FIRST + i, ()) for i in range(POINTS)], inputs // 4)
    basis = strongest(found)
    attack = Attack(model, bound, data=whole.part(np.sort(order[:SEARCH])), passes=PASSES)
    for _ in attack.states():
        pass
    names = list(evaluator.normals(0))

    def judge(vectors: np.ndarray) -> float:
        parts = np.split(vectors, np.cumsum([len(z) for z in evaluator.normals(0).values()])[:-1])
        directions = Directions(dict(zip(names, parts, strict=True)))
        whole_vectors = np.concatenate(list(directions.vectors.values())).astype(np.float64)
        places, at = (
            np.array([directions.coordinates(evaluator.normals(i)) for i in numbers])
            for numbers in (range(instances), range(FIRST, FIRST + POINTS))
        )
        return correlation(places, values, at, found.astype(np.float64) @ whole_vectors)

    eight, nine = judge(basis[:, :KEPT]), judge(basis[:, : KEPT + 1])
    out: list[dict[str, object]] = []
    for limit in limits:
        point = design_point(attack, sigma, limit)
        if point is None:
            print(f"{name}: nothing found at {limit}")
            continue
        direction = np.concatenate([point.direction[n].reshape(-1) for n in names]).astype(np.float64)
        row = {
            "network": name, "sigma": sigma, "bound": bound, "limit": limit, "beta": round(point.beta, 3),
            "share_in_span": round(float(np.linalg.norm(direction @ basis[:, :KEPT])), 4),
            "correlation_8": round(eight, 4),
            "correlation_8_and_point": round(judge(np.column_stack([basis[:, :KEPT], direction])), 4),
            "correlation_9": round(nine, 4), "instances": instances, "inputs": inputs, "seed": SEED,
        }  # fmt: skip
        print(*row.values(), flush=True)
        out.append(row)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=400)
    parser.add_argument("--inputs", type=int, default=2000)
    options = parser.parse_args()
    table = [row for case in CASES for row in rows(case, options.instances, options.inputs)]
    write_table(table, TABLE)


if __name__ == "__main__":
    main()
