from pathlib import Path

import numpy as np
import pytest
import torch

from kppstat.errors import DataError, KppstatError
from kppstat.noise import Correlated, Gaussian, Variation
from kppstat.onnx_io import load
from kppstat.training import Plan, Session, strategies, train
from tests.onnx_io import zoo
from tests.training import small


def draw(*shape: int) -> np.ndarray:
    """Return numbers that do not hang on which tests drew before, as what is learnt does on them."""
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


def test_a_fixed_batch_is_kept(tmp_path: Path) -> None:
    model = load(zoo.save(zoo.fixed_batch(), tmp_path / "fixed.onnx"))
    rng = np.random.default_rng(0)
    data = rng.standard_normal((30, 2, 4)).astype(np.float32), rng.integers(0, 3, 30)
    session = Session(
        model, "gaussian", Plan(epochs=1, val_share=0.3, instances=2), small.NOISE, data=data, device="cpu"
    )
    small.run(session)
    assert session.loop.batch == (model.batch or 21)
    assert (tmp_path / "fixed_gaussian.onnx").exists()


@pytest.mark.parametrize(("inputs", "share"), [(40, 0.05), (5, 0.5), (40, 0.95)])
def test_a_part_that_does_not_fill_a_fixed_batch_is_refused(inputs: int, share: float, tmp_path: Path) -> None:
    proto = zoo.parse(
        "net (float[4, 6] x) => (float[4, 3] y) { h = Sub (x, c)  y = MatMul (h, w) }",
        c=draw(4, 6),
        w=draw(6, 3),
    )
    model = load(zoo.save(proto, tmp_path / "net.onnx"))
    assert model.batch == 4
    data = np.zeros((inputs, 6), np.float32), np.zeros(inputs, int)
    with pytest.raises(DataError, match="do not fill a batch of 4"):
        Session(model, "plain", Plan(val_share=share), small.NOISE, data=data, device="cpu", out=tmp_path / "o.onnx")


def test_several_inputs_and_real_targets(tmp_path: Path) -> None:
    proto = zoo.parse(
        """net (float[N, 2] a, float[N, 3] b) => (float[N, 2] y) {
            c = Concat <axis = 1> (a, b)
            h = MatMul (c, w)
            y = Add (h, bias)
        }""",
        w=draw(5, 2),
        bias=draw(2),
    )
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((200, 2)), rng.standard_normal((200, 3))
    y = np.concatenate([a, b], axis=1) @ rng.standard_normal((5, 2))
    np.savez(tmp_path / "d.npz", a=a.astype(np.float32), b=b.astype(np.float32), y=y.astype(np.float32))
    result = train(
        zoo.save(proto, tmp_path / "net.onnx"), "gaussian", sigma=0.02, data=tmp_path / "d.npz", performance="mse",
        epochs=30, batch=20, lr=0.1, instances=4, device="cpu",
    )  # fmt: skip
    assert result.loss
    first, best = result.to_dict()["history"][0], result.to_dict()["best"]
    assert 0 < best["kpp"] < 0.2 * first["kpp"]
    assert best["clean"] <= best["mean"] <= best["kpp"]
    assert "KPP(1) on the validation part" in result.summary()


def test_a_model_that_ends_in_softmax_is_trained_on_its_probabilities(tmp_path: Path) -> None:
    proto = zoo.parse(
        "net (float[N, 4] x) => (float[N, 3] y) { h = MatMul (x, w)  y = Softmax <axis = 1> (h) }", w=draw(4, 3)
    )
    x = np.random.default_rng(0).standard_normal((120, 4)).astype(np.float32)
    data = x, x[:, :3].argmax(1)
    model = load(zoo.save(proto, tmp_path / "net.onnx"))
    session = Session(
        model, "gaussian", Plan(epochs=20, batch=10, lr=0.1, instances=3), small.NOISE, data=data, device="cpu"
    )
    assert session.objective.name == "cross-entropy of the model's probabilities"
    small.run(session)
    assert session.loop.best.clean > 0.8
    with pytest.raises(KppstatError, match="subtracts logits"):
        small.run(Session(model, "ovf", Plan(epochs=1), small.NOISE, data=data, device="cpu", out=tmp_path / "o.onnx"))


def test_settings_are_in_the_result(tmp_path: Path) -> None:
    session = small.session(tmp_path, "rcg", settings={"threshold": 0.5}, epochs=1)
    small.run(session)
    told = session.finish().to_dict()
    assert told["strategy"]["threshold"] == 0.5
    assert told["noise"] == small.NOISE.to_dict()
    assert told["plan"]["epochs"] == 1
    assert told["versions"]["torch"]
    assert told["train_inputs"] + told["val_inputs"] == 96


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "no data was given to train on"),
        ((small.data()[0], None), "no targets"),
        ((small.data(2)[0], small.data(2)[1]), "too few"),
        ((small.data()[0], small.data()[1] + 7), "label 9 is out of range"),
        ((small.data()[0], np.append(small.data()[1][:-1], 3)), "label 3 is out of range"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(data: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        small.session(tmp_path, "plain", data=data)


def test_a_pattern_that_matches_no_weight_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(KppstatError, match="no weight is called 'w7'"):
        small.session(tmp_path, noise=Variation(Gaussian(0.1), {"w7": Gaussian(0.0)}))


def test_training_on_the_gpu_where_there_is_one(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    shared = Variation(Correlated(Gaussian(0.1), chip=0.5))  # normals that all tensors of an instance share
    for name in strategies():
        small.run(small.session(tmp_path, name, device="cuda", noise=shared, plan={"batch": 32}, epochs=1))
