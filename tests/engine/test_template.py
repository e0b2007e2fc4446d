from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from kppstat.engine import template as room
from kppstat.engine.session import build, optimise
from kppstat.engine.template import Template
from kppstat.engine.wire import computation
from kppstat.onnx_io import Model, load
from tests.engine.networks import across_inputs, convolutions, draw
from tests.onnx_io import zoo


def template_of(model: Model) -> Template:
    return Template.of(model.image(), model.values(), lambda one, other: True)


def random(model: Model, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {k: (10 * rng.standard_normal(w.shape)).astype(w.dtype) for k, w in model.values().items()}


def outputs(model: Model, weights: dict[str, np.ndarray], template: Template) -> tuple[np.ndarray, np.ndarray]:
    port = model.graph.inputs[0]
    shape = [s or 2 for s in port.shape or ()]
    feed = {port.name: np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    direct = model.image().patched(weights)
    return (
        build(direct).run(None, feed)[0],
        build(template.patched(weights), optimised=template.optimised).run(None, feed)[0],
    )


@pytest.mark.parametrize("proto", [convolutions(), across_inputs(), zoo.cnn(), zoo.fixed_batch()])
def test_templates_give_what_the_optimiser_gives_bit_for_bit(tmp_path: Path, proto: ModelProto) -> None:
    model = load(zoo.save(proto, tmp_path / "net.onnx"))
    template = template_of(model)
    assert template.optimised
    for seed in range(3):
        weights = random(model, seed)
        direct = model.image().patched(weights)
        assert computation(template.patched(weights)) == computation(optimise(direct))
        assert np.array_equal(*outputs(model, weights, template))


@given(
    channels=st.integers(1, 40),
    filters=st.integers(1, 40),
    size=st.integers(1, 3),
    depthwise=st.booleans(),
    normalised=st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_convolution_is_mapped(
    tmp_path: Path, channels: int, filters: int, size: int, depthwise: bool, normalised: bool
) -> None:
    group, filters = (channels, channels) if depthwise else (1, filters)
    end = "BatchNormalization (c, gamma, beta, mean, var)" if normalised else "Relu (c)"
    proto = zoo.parse(
        f"""net (float[N, {channels}, 5, 5] x) => (float[N, {filters}, H, V] y) {{
            c = Conv <group = {group}> (x, w)
            y = {end}
        }}""",
        w=draw(filters, channels // group, size, size),
        gamma=draw(filters),
        beta=draw(filters),
        mean=draw(filters),
        var=np.abs(draw(filters)) + np.float32(0.1),
    )
    model = load(zoo.save(proto, tmp_path / "net.onnx"))
    template = template_of(model)
    assert np.array_equal(*outputs(model, random(model, 0), template))
    # A factor of 0 would look like padding; random numbers have none.
    assert template.optimised


def test_tensors_longer_than_two_digits_hold(tmp_path: Path) -> None:
    proto = zoo.parse("net (float[N, 70] x) => (float[N, 90] y) { y = MatMul (x, w) }", w=draw(70, 90))
    model = load(zoo.save(proto, tmp_path / "net.onnx"))
    assert model.weights[0].size > room._DIGIT
    assert np.array_equal(*outputs(model, random(model, 0), template_of(model)))


def test_a_map_that_does_not_hold_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(zoo.save(convolutions(), tmp_path / "net.onnx"))
    assert not Template.of(model.image(), model.values(), lambda one, other: False).optimised
    mapped = room._mapped

    def wrong(image: object, intended: dict[str, np.ndarray]):
        pieces, places = mapped(image, intended)  # type: ignore[arg-type, misc]
        first = places[-1]
        swapped = np.arange(intended[first.weight].size)
        swapped[:2] = 1, 0
        return pieces, [*places[:-1], room.Place(first.weight, first.piece, swapped, None, None)]

    monkeypatch.setattr(room, "_mapped", wrong)
    template = template_of(model)
    assert not template.optimised
    assert np.array_equal(*outputs(model, random(model, 0), template))


def test_large_models_and_half_precision_are_built_directly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = zoo.parse(
        "net (float16[N, 3] x) => (float16[N, 2] y) { y = MatMul (x, w) }", w=draw(3, 2).astype(np.float16)
    )
    model = load(zoo.save(half, tmp_path / "net.onnx"))
    assert not template_of(model).optimised
    monkeypatch.setattr(room, "_LARGEST", 100)
    assert not template_of(load(zoo.save(convolutions(), tmp_path / "net.onnx"))).optimised
