import hashlib
import os
import socket
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kppstat.errors import ModelError
from kppstat.onnx_io import load
from kppstat.onnx_io.read import gist
from tests.onnx_io import zoo
from tests.onnx_io.running import close, equal, outputs


def external(folder: Path, location: str = "weights.bin") -> Path:
    """Save the CNN with its large tensors in a side file."""
    path = folder / "model.onnx"
    onnx.save(zoo.cnn(), path, save_as_external_data=True, location=location, size_threshold=100)
    return path


def relocated(path: Path, **entries: str) -> None:
    """Change the external data entries of the first external tensor."""
    proto = onnx.load(path, load_external_data=False)
    tensor = next(t for t in proto.graph.initializer if t.data_location == TensorProto.EXTERNAL)
    kept = {e.key: e.value for e in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in kept.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(proto.SerializeToString())


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def test_missing_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.onnx")


def test_folder(tmp_path):
    assert "this is a folder" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"this is some text, not a model", "no ONNX model"),
        (b"\x93NUMPY\x01\x00", "NumPy array"),
        (b"PK\x03\x04\x00\x00", "zip archive"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\x00" * 1000, "no ONNX model"),
        (b"\x08\x07", "no operators"),
    ],
)
def test_files_of_other_kinds_are_called_by_name(tmp_path, content, word):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert word in refusal(path)


def test_npz(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.zeros(3))
    assert "zip archive" in refusal(tmp_path / "data.npz")


def test_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "no ordinary file" in refusal(tmp_path / "pipe.onnx")


def test_socket_does_not_hang(tmp_path):
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "s"))
        assert "no ordinary file" in refusal(tmp_path / "s")


def test_name_that_no_file_can_have():
    assert refusal(Path("a\0b.onnx"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_unreadable_file(tmp_path):
    path = zoo.save(zoo.cnn(), tmp_path / "model.onnx")
    path.chmod(0)
    assert "Permission denied" in refusal(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file(tmp_path, share):
    path = zoo.save(zoo.cnn(), tmp_path / "model.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert refusal(path)


def test_text_that_is_not_utf8(tmp_path):
    content = zoo.cnn().SerializeToString().replace(b"gamma", b"\xffamma")
    (tmp_path / "model.onnx").write_bytes(content)
    assert refusal(tmp_path / "model.onnx")


def test_external_data_are_read_and_hashed(tmp_path):
    path = external(tmp_path)
    model = load(path)
    x = zoo.draw(2, 2, 6, 6)
    assert close(outputs(model.image().patched({}), {"x": x}), outputs(path, {"x": x}))
    assert model.sha256 != hashlib.sha256(path.read_bytes()).hexdigest()
    data = tmp_path / "weights.bin"
    content = bytearray(data.read_bytes())
    content[3] ^= 1
    data.write_bytes(content)
    assert load(path).sha256 != model.sha256


def test_external_data_in_a_folder_beside_the_model(tmp_path):
    (tmp_path / "data").mkdir()
    assert len(load(external(tmp_path, "data/weights.bin")).weights) == 2


def test_missing_external_data(tmp_path):
    path = external(tmp_path)
    (tmp_path / "weights.bin").unlink()
    assert "external data file 'weights.bin' is missing" in refusal(path)


def test_short_external_data(tmp_path):
    path = external(tmp_path)
    data = tmp_path / "weights.bin"
    data.write_bytes(data.read_bytes()[:50])
    assert "too short" in refusal(path)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "", "..\\secret.bin"])
def test_external_data_outside_the_folder_are_refused(tmp_path, location):
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(4000))
    path = external(folder)
    relocated(path, location=location)
    assert "outside the folder" in refusal(path)


def test_external_data_through_a_link_out_of_the_folder_are_refused(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    path = external(folder)
    (folder / "weights.bin").rename(tmp_path / "elsewhere.bin")
    (folder / "weights.bin").symlink_to(tmp_path / "elsewhere.bin")
    assert "outside the folder" in refusal(path)


@pytest.mark.parametrize("entries", [{"offset": "-8"}, {"offset": "many"}, {"length": "-1"}, {"offset": "99999999"}])
def test_damaged_external_entries(tmp_path, entries):
    path = external(tmp_path)
    relocated(path, **entries)
    assert refusal(path)


def test_sparse_weights_are_unfolded(loaded):
    proto = zoo.parse("g (float[N, 3] x) => (float[N, 2] y) { y = MatMul(x, w) }")
    values = helper.make_tensor("w", TensorProto.FLOAT, (2,), [5.0, -7.0])
    indices = helper.make_tensor("i", TensorProto.INT64, (2,), [1, 4])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, (3, 2)))
    model = loaded(proto)
    assert model.values()["w"].tolist() == [[0, 5], [0, 0], [-7, 0]]
    x = zoo.draw(2, 3)
    assert equal(outputs(model.image().patched({}), {"x": x}), outputs(proto, {"x": x}))


def test_gist_is_one_line_without_internal_paths():
    raw = "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/core/a.cc:12 void f(int) what went wrong.\nmore"
    assert gist(RuntimeError(raw)) == "what went wrong"
    assert len(gist(RuntimeError("x" * 1000))) == 200
    assert gist(MemoryError()) == "MemoryError"
