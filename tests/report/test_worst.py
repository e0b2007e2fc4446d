import re
from pathlib import Path

import numpy as np
import pytest

from kppstat import data
from kppstat.demo import DATA, MODEL
from kppstat.onnx_io import load
from kppstat.report import write_worst

pytest.importorskip("torch")


def test_the_page_holds_the_answer_the_curve_and_the_chance(tmp_path: Path) -> None:
    from kppstat.worst_case import DesignPoint, Probability, worst

    model = load(MODEL)
    with np.load(DATA) as demo:
        few = data.from_arrays({"x": demo["x"][:100]}, demo["y"][:100], model)
    result = worst(model, 0.01, data=few, method="fgsm", curve=True)
    chance = Probability(
        result.performance_worst, 300, 0, 0.0, 0.0122, 0.95, 0.5, {"model": "gaussian", "sigma": 0.1}, 60.0
    )
    point = DesignPoint(0.1, 0.5, 2.5, 9.0, 0.006, -2.2, 0.49, 30.0, "none", {})
    page, *figures = write_worst(
        result, chance, tmp_path / "a folder" / "out.html", point=point, command="kppstat worst <&>"
    )
    assert [f.name for f in figures] == ["out-curve.svg", "out-curve.png"]
    text = page.read_text()
    for said in (
        result.summary(),
        "probability below 1.22 %",
        point.summary(),
        "gaussian, sigma 0.1",
        "kppstat worst &lt;&amp;&gt;",
        result.model_sha256,
    ):
        assert said in text
    assert text.count("<svg") == 1
    assert not re.search(r"(src|href)=.https?:", text)
    alone = write_worst(result, None, tmp_path / "alone.html")[0].read_text()
    assert "drawn at random" not in alone
