from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import kppstat
from kppstat.errors import RunError

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 2, 3, 3] x) => (float[N, 2] y) <float[2, 2, 3, 3] w,
float[2] scale = {2.0, 0.5}, float[2] shift = {0.0, 0.0}, float[2] mean = {0.0, 0.0}, float[2] var = {1.0, 1.0}> {
  a = Conv(x, w)
  b = BatchNormalization(a, scale, shift, mean, var)
  y = Flatten(b)
}"""


def test_a_run_with_folded_batch_norm_is_another_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(TEXT)
    kept = [i for i in model.graph.initializer if i.name != "w"]
    del model.graph.initializer[:]
    weights = onnx.numpy_helper.from_array(rng.normal(size=(2, 2, 3, 3)).astype(np.float32), "w")
    model.graph.initializer.extend([*kept, weights])
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "net.npz", x=rng.normal(size=(40, 2, 3, 3)).astype(np.float32), y=rng.integers(2, size=40))

    def run(*, fold: bool, resume: bool) -> None:
        kppstat.estimate(
            tmp_path / "net.onnx", sigma=0.1, k=50, method="mc", max_evaluations=5, workers=1,
            run=tmp_path / "run", resume=resume, fold_batch_norm=fold,
        )  # fmt: skip

    run(fold=False, resume=False)
    run(fold=False, resume=True)
    with pytest.raises(RunError, match="weights is"):
        run(fold=True, resume=True)
