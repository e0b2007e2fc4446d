"""Train the LeNets that ship with kppstat, plain and with Gaussian noise injection, on Fashion-MNIST.

    python -m analysis.train_lenet FASHION_MNIST_FOLDER OUT_FOLDER

FASHION_MNIST_FOLDER holds the four IDX gz files (Debian package dataset-fashion-mnist installs them under
/usr/share/datasets/fashion-mnist). Writes lenet.onnx and lenet_noise_trained.onnx, whose graphs take raw pixels 0..255,
and lenet.npz (the 10,000 test images, uint8, with labels). A few minutes on two cores.
The last epoch's weights are kept, so nothing is selected on the test set.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.stateless import functional_call

BATCH = 128
NETWORKS = (  # name, sigma of the injected noise, epochs, peak learning rate, weight decay
    ("lenet", 0.0, 8, 2e-3, 0.3),
    ("lenet_noise_trained", 0.1, 40, 1e-3, 0.0),
)


class LeNet(nn.Module):
    """16c5-P-32c5-P-128-64-10; takes raw pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x * (1 / 255))


def idx(path: Path) -> np.ndarray:
    """Read one gzipped IDX file of unsigned bytes."""
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, ">u4", raw[3], 4).astype(int)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def noisy(network: nn.Module, sigma: float) -> dict[str, torch.Tensor]:
    """One draw of device variation on every weight; biases stay exact."""
    return {
        name: w + sigma * w.detach().abs().max() * torch.randn_like(w) if w.ndim > 1 else w
        for name, w in network.named_parameters()
    }


def train(x: torch.Tensor, y: torch.Tensor, sigma: float, epochs: int, peak: float, decay: float) -> nn.Module:
    torch.manual_seed(0)
    network = LeNet()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=decay)
    steps = epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, steps)
    for epoch in range(epochs):
        order = torch.randperm(len(x))
        for i in range(0, len(x) - BATCH + 1, BATCH):
            rows = order[i : i + BATCH]
            loss = cross_entropy(functional_call(network, noisy(network, sigma), (x[rows],)), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"sigma {sigma}: epoch {epoch + 1} of {epochs}, loss {loss.item():.3f}", flush=True)
    return network.eval()


def main(source: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    images = {part: idx(source / f"{part}-images-idx3-ubyte.gz")[:, None] for part in ("train", "t10k")}
    labels = {part: idx(source / f"{part}-labels-idx1-ubyte.gz").astype(np.int64) for part in ("train", "t10k")}
    x, y = torch.from_numpy(images["train"].astype(np.float32)), torch.from_numpy(labels["train"])
    for name, sigma, epochs, peak, decay in NETWORKS:
        network = train(x, y, sigma, epochs, peak, decay)
        with torch.no_grad():
            right = network(torch.from_numpy(images["t10k"].astype(np.float32))).argmax(1).numpy() == labels["t10k"]
        print(f"{name}: clean accuracy {right.mean():.4f}")
        torch.onnx.export(
            network, torch.zeros(2, 1, 28, 28), str(out / f"{name}.onnx"), dynamo=False,
            input_names=["pixels"], output_names=["logits"], dynamic_axes={"pixels": {0: "N"}, "logits": {0: "N"}},
        )  # fmt: skip
    np.savez_compressed(out / "lenet.npz", x=images["t10k"], y=labels["t10k"].astype(np.uint8))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
