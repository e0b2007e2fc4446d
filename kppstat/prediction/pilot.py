"""What every prediction needs before it begins: a law it can follow, clean outputs, a few pilot instances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from kppstat.array import to_numpy
from kppstat.data import Dataset
from kppstat.errors import NoiseError
from kppstat.noise import Variation, normals
from kppstat.onnx_io import Model
from kppstat.onnx_io.session import Session
from kppstat.performance import require_output_each
from kppstat.prediction.choice import padded
from kppstat.propagate import forward

PILOT, INSTANCES = 32, 128  # inputs and instances on which correlations inside the network are measured
_BATCH = 250
FIRST = 1 << 62  # number of the first pilot instance: no estimate ever uses the same


def require_usable(model: Model, variation: Variation) -> None:
    """Raise if a pattern matches no weight, or the noise model makes weights depend on each other.

    Raises
    ------
    NoiseError
    """
    variation.require_matches(w.name for w in model.weights)
    if not all(variation.of(w.name).independent for w in model.weights):
        raise NoiseError(
            "a prediction needs weights that vary independently, and this noise model correlates them",
            remedy="Estimate by sampling, which takes any noise model",
        )


def instances(model: Model, variation: Variation, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield the programmed weights of the pilot instances."""
    for i in range(INSTANCES):
        weights = {}
        for w in model.weights:
            law, intended = variation.of(w.name), model.graph.constants[w.name]
            weights[w.name] = law.weights(intended, normals(seed, FIRST + i, w.position, law.draws(intended.shape)))
        yield weights


def clean_outputs(model: Model, data: Dataset) -> np.ndarray:
    """Return the outputs of the intended weights on all inputs."""
    return outputs_of(model, data, np.arange(len(data)), {})


def outputs_of(model: Model, data: Dataset, rows: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the outputs on some inputs, with some weights replaced."""
    size, name = model.batch or _BATCH, model.graph.outputs[0].name
    image = model.image()
    session = Session(image.patched(weights), str(model.path), thorough=True)
    found = []
    for i in range(0, len(rows), size):
        part = rows[i : i + size]
        inputs = data.batch(padded(part, model.batch))
        outputs = session.run(inputs)
        # onnxruntime is given a minute; what it leaves is computed here.
        first = to_numpy(forward(model.graph, inputs, weights)[name]) if outputs is None else outputs[0]
        require_output_each(first.shape, len(part) + -len(part) % (model.batch or 1))
        found.append(first[: len(part)])
    return np.concatenate(found)
