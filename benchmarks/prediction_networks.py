"""Small networks of four kinds for `benchmarks/prediction.py`, trained on the spot.

Each learns from 8,000 of the demo's Fashion-MNIST images and is evaluated on 1,000 others.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from kppstat.demo import DATA

LEARN, INPUTS = 8000, 1000
_BATCH, _EPOCHS, _PEAK = 64, 6, 4e-3


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.inner(x) + self.shortcut(x))


def resnet(channels: int = 1, width: int = 8, stride: int = 2) -> nn.Module:
    """Return a residual network of 20 layers (He et al. 2016, section 4.2); wider ones and larger images are slower."""
    blocks, before = [], width
    for part in range(3):
        after = width << part
        blocks += [Residual(before, after, 2 if part else 1), Residual(after, after, 1), Residual(after, after, 1)]
        before = after
    stem = (nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


class Inverted(nn.Module):
    """Expansion, depthwise convolution, projection, as in MobileNetV3."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        wide = 4 * before
        self.inner = nn.Sequential(
            nn.Conv2d(before, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
            nn.Conv2d(wide, after, 1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip
        self.same = before == after and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.inner(x)
        return x + y if self.same else y


def mobilenet() -> nn.Module:
    """Return a network of inverted residuals."""
    blocks = [Inverted(b, a, s) for b, a, s in ((8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 24, 2), (24, 24, 1))]
    stem = (nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
    tail = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 64), nn.Hardswish(), nn.Linear(64, 10))
    return nn.Sequential(*stem, *blocks, *tail)


class Rows(nn.Module):
    """The rows of an image as a sequence of 28 steps of 28 channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.squeeze(1)


def sequence() -> nn.Module:
    """Return a network of convolutions in one dimension."""
    return nn.Sequential(
        Rows(), nn.Conv1d(28, 48, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(48, 64, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(64, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


class Attention(nn.Module):
    """A block of a transformer, normalised first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, steps, width = x.shape
        y = self.before(x)
        q, k, v = (
            part(y).reshape(n, steps, self.heads, -1).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) / (width / self.heads) ** 0.5, dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, steps, width))
        return x + self.feed(self.after(x))


class Transformer(nn.Module):
    """Two blocks over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(28, 32)
        self.place = nn.Parameter(0.1 * torch.randn(1, 28, 32))
        self.blocks = nn.Sequential(Attention(32, 4), Attention(32, 4))
        self.norm, self.out = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.embed(x.squeeze(1)) + self.place)
        return self.out(self.norm(x).mean(dim=1))


NETWORKS = {"resnet20": resnet, "mobilenet": mobilenet, "conv1d": sequence, "transformer": Transformer}


def make(name: str, folder: Path) -> Path:
    """Train a network and write it, with the images to evaluate it on, unless that was done before."""
    path = folder / f"{name}.onnx"
    if path.exists():
        return path
    with np.load(DATA) as data:
        x = ((data["x"].astype(np.float32) / 255 - 0.286) / 0.353).reshape(-1, 1, 28, 28)
        y = data["y"].astype(np.int64)
    torch.manual_seed(0)
    network = NETWORKS[name]()
    _train(network, torch.from_numpy(x[:LEARN]), torch.from_numpy(y[:LEARN]))
    network.eval()
    torch.onnx.export(
        network, (torch.from_numpy(x[:2]),), str(path), input_names=["image"], output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}}, opset_version=17, dynamo=False,
    )  # fmt: skip
    np.savez(folder / f"{name}.npz", x=x[LEARN : LEARN + INPUTS], y=y[LEARN : LEARN + INPUTS])
    return path


def _train(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    steps = _EPOCHS * (len(x) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK, steps)
    for _ in range(_EPOCHS):
        order = torch.randperm(len(x))
        for i in range(0, len(x) - _BATCH + 1, _BATCH):
            rows = order[i : i + _BATCH]
            loss = cross_entropy(network(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
