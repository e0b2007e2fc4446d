import numpy as np

from kppstat.data import from_arrays
from kppstat.demo import MODEL
from kppstat.onnx_io import load


def test_the_same_input_has_the_same_hash_whatever_it_stands_among() -> None:
    model, rng = load(MODEL), np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (1500, 1, 28, 28), dtype=np.uint8), np.zeros(1500, np.int64)
    pixels[1400] = pixels[3]
    whole = from_arrays({"pixels": pixels}, labels, model)
    found = list(whole.hashes())
    assert len(found) == 1500
    assert len(set(found)) == 1499
    assert found[1400] == found[3]
    some = np.array([5, 3, 1400, 1023])
    as_floats = from_arrays({"pixels": pixels[some].astype(np.float32)}, labels[some] + 1, model)
    assert list(as_floats.hashes()) == [found[i] for i in some]
