import gzip
import os
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kppstat.data import Dataset, from_arrays, load, numpy_files
from kppstat.errors import DataError, KppstatError
from kppstat.onnx_io import Model
from tests.data.networks import one_input, two_inputs

X = np.random.default_rng(0).standard_normal((6, 2, 4, 4)).astype(np.float32)
Y = np.array([0, 1, 2, 2, 1, 0])


def assert_holds(data: Dataset, x: np.ndarray = X, y: np.ndarray | None = Y) -> None:
    (inputs,) = data.inputs.values()
    np.testing.assert_array_equal(inputs, x)
    assert inputs.dtype == np.float32
    assert len(data) == len(x)
    if y is None:
        assert data.targets is None
    else:
        np.testing.assert_array_equal(data.targets, y)


def refusal(source: object, model: object) -> str:
    """Return the one line with which a source is refused."""
    with pytest.raises(KppstatError) as caught:
        load(source, model)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["x", "pixels", "anything"])
@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_npz_by_any_sensible_name(tmp_path: Path, name: str, write) -> None:
    write(tmp_path / "d.npz", y=Y, **{name: X})
    assert_holds(load(tmp_path / "d.npz", one_input(tmp_path)))


def test_the_file_beside_the_model_is_found(tmp_path: Path) -> None:
    model = one_input(tmp_path)
    assert "x.npy,y.npy" in refusal(None, model)
    np.savez(tmp_path / "net.npz", x=X, y=Y)
    assert_holds(load(None, model))


def test_two_npy_files_and_one(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    model = one_input(tmp_path)
    assert_holds(load(f"{tmp_path}/x.npy,{tmp_path}/y.npy", model))
    data = load(f"{tmp_path}/x.npy", model)
    assert_holds(data, y=None)
    assert any("agreement with the clean model" in note for note in data.notes)


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    model = one_input(tmp_path)
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    np.savez_compressed(tmp_path / "b.npz", pixels=np.asfortranarray(X), y=Y)
    np.savez(tmp_path / "c.npz", x=np.where(np.arange(4) == 2, X + 1, X), y=Y)
    np.savez(tmp_path / "d.npz", x=X, y=(Y + 1) % 3)
    a, b, c, d = (load(tmp_path / f"{n}.npz", model).sha256 for n in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


def test_large_arrays_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_files, "_MAPPED", 100)
    model = one_input(tmp_path)
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    np.save(tmp_path / "x.npy", np.asfortranarray(X))
    for source in (tmp_path / "d.npz", tmp_path / "x.npy"):
        data = load(source, model)
        assert isinstance(data.inputs["pixels"], np.memmap)
        np.testing.assert_array_equal(data.inputs["pixels"], X)
        batch = data.batch(np.array([4, 0]))["pixels"]
        np.testing.assert_array_equal(batch, X[[4, 0]])
        assert batch.flags.aligned
        assert batch.flags.c_contiguous


def test_several_inputs_go_by_name(tmp_path: Path) -> None:
    model = two_inputs(tmp_path)
    a, b = np.ones((4, 2), np.float32), np.zeros((4, 3), np.float32)
    np.savez(tmp_path / "d.npz", a=a, b=b, y=Y[:4])
    data = load(tmp_path / "d.npz", model)
    assert list(data.inputs) == ["a", "b"]
    np.savez(tmp_path / "d.npz", a=a, x=b)
    assert "no array 'b'; it has 'a', 'x'. Name the inputs 'a', 'b'," in refusal(tmp_path / "d.npz", model)
    np.savez(tmp_path / "d.npz", x_0=a, x_1=b, y=Y[:4])
    assert "no array 'a', 'b'; it has 'x_0', 'x_1', 'y'" in refusal(tmp_path / "d.npz", model)
    np.savez(tmp_path / "d.npz", a=a, b=b[:3])
    assert "'a' 4, 'b' 3" in refusal(tmp_path / "d.npz", model)


def idx(array: np.ndarray, code: int) -> bytes:
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_as_mnist_has_them(tmp_path: Path, packed: bool) -> None:
    images = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
    suffix, pack = (".gz", gzip.compress) if packed else ("", bytes)
    first = tmp_path / f"t10k-images-idx3-ubyte{suffix}"
    second = tmp_path / f"t10k-labels-idx1-ubyte{suffix}"
    first.write_bytes(pack(idx(images, 8)))
    second.write_bytes(pack(idx(Y.astype(">i4"), 12)))
    model = one_input(tmp_path, "N, 1, 4, 4")
    for source in (f"{first},{second}", first):
        data = load(source, model)
        assert_holds(data, images[:, None])
        assert any("without scaling" in note for note in data.notes)
        assert any("axes of length 1" in note for note in data.notes)
    first.write_bytes(pack(idx(images, 8)[:-5]))
    assert "bytes" in refusal(first, model)
    if packed:
        first.write_bytes(first.read_bytes()[:-9])
        assert "damaged" in refusal(f"{first},{second}", model)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("last", [False, True])
def test_a_folder_of_images(tmp_path: Path, channels: int, last: bool) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 6, channels), dtype=np.uint8)
    for i, name in enumerate(["cat/b", "cat/a", "ant/x", "dog/q"]):
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(pixels[i].squeeze()).save(path)
    model = one_input(tmp_path, f"N, 5, 6, {channels}" if last else f"N, {channels}, 5, 6")
    data = load(tmp_path / "images", model)
    ordered = pixels[[2, 1, 0, 3]]
    assert_holds(data, ordered if last else ordered.transpose(0, 3, 1, 2), np.array([0, 1, 1, 2]))
    assert any("0 ant, 1 cat, 2 dog" in note for note in data.notes)
    image.fromarray(pixels[0, :4].squeeze()).save(tmp_path / "images/dog/small.png")
    assert "small.png" in refusal(tmp_path / "images", model)
    (tmp_path / "images/dog/small.png").write_bytes(b"no image")
    assert "cannot be read" in refusal(tmp_path / "images", model)


def test_folders_that_serve_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    model = one_input(tmp_path, "N, 3, 4, 4")
    assert "no images" in refusal(tmp_path / "empty", model)
    assert "1 or 3 channels" in refusal(tmp_path / "empty", one_input(tmp_path, "N, 2, 4, 4"))
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert "pip install pillow" in refusal(tmp_path / "empty", model)


def pair() -> tuple[np.ndarray, np.ndarray]:
    return X, Y


def mapping() -> dict[str, np.ndarray]:
    return {"x": X, "y": Y}


def inputs_alone() -> np.ndarray:
    return X


def failing() -> None:
    raise RuntimeError("no data today\nand more")


def ragged() -> object:
    return [[1.0], [1.0, 2.0]]


def test_functions_of_the_user(tmp_path: Path) -> None:
    model = one_input(tmp_path)
    assert_holds(load(f"{__name__}:pair", model))
    assert_holds(load(f"{__name__}:mapping", model))
    assert_holds(load(f"{__name__}:inputs_alone", model), y=None)
    assert "RuntimeError: no data today" in refusal(f"{__name__}:failing", model)
    assert "no array" in refusal(f"{__name__}:ragged", model)
    assert "cannot be imported" in refusal("nosuchmodule:f", model)


def test_arrays_stand_for_themselves(tmp_path: Path) -> None:
    model = one_input(tmp_path)
    assert_holds(load((X, Y), model))
    assert_holds(load((X, None), model), y=None)
    assert_holds(load({"x": X, "y": Y}, model))
    assert_holds(load(X, model), y=None)
    assert "what was given is no array" in refusal(([[1.0], [1.0, 2.0]], Y), model)
    assert "what was given is no array" in refusal({"x": [[1.0], [1.0, 2.0]]}, model)
    assert "shape ()" in refusal(3, model)


def test_a_module_in_the_current_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_test_set.py").write_text("import numpy as np\ndef load(): return np.ones((5, 2, 4, 4))")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert len(load("my_test_set:load", one_input(tmp_path))) == 5


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    model = one_input(tmp_path)
    objects = np.array([Bomb()], object)
    np.save(tmp_path / "x.npy", objects)
    np.savez(tmp_path / "x.npz", x=objects)
    for name in ("x.npy", "x.npz"):
        assert "never unpickled" in refusal(tmp_path / name, model)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(("name", "called"), [("x", "'x',"), ("pixels", "'x' or 'pixels',")])
def test_the_names_that_inputs_may_have_are_told_once(tmp_path: Path, name: str, called: str) -> None:
    np.savez(tmp_path / "d.npz", a=X, b=X, y=Y)
    assert f"Name the inputs {called} and" in refusal(tmp_path / "d.npz", one_input(tmp_path, name=name))


def test_what_is_no_data_is_named(tmp_path: Path) -> None:
    model = one_input(tmp_path)
    (tmp_path / "x.txt").write_text("hello")
    (tmp_path / "x.npz").write_text("hello")
    (tmp_path / "x.npy").write_text("hello")
    assert "neither a NumPy nor an IDX file" in refusal(tmp_path / "x.txt", model)
    assert "damaged or no NumPy file" in refusal(tmp_path / "x.npz", model)
    assert "damaged or no NumPy file" in refusal(tmp_path / "x.npy", model)
    assert "no such file" in refusal(tmp_path / "gone.npz", model)
    assert "3 files" in refusal("a.npy,b.npy,c.npy", model)
    np.savez(tmp_path / "x.npz", y=Y)
    assert "no array 'x'; it has 'y'" in refusal(tmp_path / "x.npz", model)
    np.savez(tmp_path / "x.npz", x=X, labels=Y)
    assert "no array 'y'; it has 'labels' besides the inputs" in refusal(tmp_path / "x.npz", model)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "it has none" in refusal(tmp_path / "x.npz", model)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    """Sound files, the model that they are for, and a place for damaged copies."""
    folder = tmp_path_factory.mktemp("sound")
    np.save(folder / "d.npy", X)
    np.savez(folder / "d.npz", x=X, y=Y)
    np.savez_compressed(folder / "small.npz", x=X, y=Y)
    (folder / "d.idx").write_bytes(idx((X * 9).astype(">f4"), 13))
    return folder, one_input(folder)


DAMAGE = {
    "name": st.sampled_from(["d.npy", "d.npz", "small.npz", "d.idx"]),
    "cut": st.floats(0, 1),
    "edits": st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
}
Edits = list[tuple[float, int]]


def assert_refused_in_one_line_or_read(sound: tuple[Path, Model], name: str, cut: float, edits: Edits) -> None:
    folder, model = sound
    raw = bytearray((folder / name).read_bytes())
    for place, value in edits:
        # Half of the edits go where the headers are.
        raw[int(place * (len(raw) if value % 2 else 130))] = value
    damaged = folder / f"damaged{Path(name).suffix}"
    damaged.write_bytes(bytes(raw[: int(cut * len(raw))]))
    try:
        outcome: object = load(damaged, model)
    except DataError as error:
        outcome = str(error)
    assert isinstance(outcome, Dataset) or (str(damaged) in str(outcome) and "\n" not in str(outcome))


@given(**DAMAGE)
@example(name="d.npy", cut=1.0, edits=[])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_gives_an_error_of_one_line_or_data(
    sound: tuple[Path, Model], name: str, cut: float, edits: Edits
) -> None:
    assert_refused_in_one_line_or_read(sound, name, cut, edits)


@pytest.mark.slow
@given(**DAMAGE)
@settings(max_examples=4000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_much_damage(sound: tuple[Path, Model], name: str, cut: float, edits: Edits) -> None:
    assert_refused_in_one_line_or_read(sound, name, cut, edits)


@pytest.mark.parametrize("targets", [Y, None])
def test_a_part_of_the_data_is_what_its_arrays_would_be(tmp_path: Path, targets: np.ndarray | None) -> None:
    model = one_input(tmp_path)
    name = model.graph.inputs[0].name
    whole = from_arrays({name: X}, targets, model)
    rows = np.array([4, 0, 2])
    few, alone = whole.part(rows), from_arrays({name: X[rows]}, None if targets is None else Y[rows], model)
    assert_holds(few, X[rows], None if targets is None else Y[rows])
    assert few.sha256 == alone.sha256 != whole.sha256
    assert few.source.startswith("3 inputs of ")
    assert len(whole.part(slice(0, 99))) == len(whole)
