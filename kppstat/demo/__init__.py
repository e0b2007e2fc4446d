"""The networks and data that ship with kppstat.

Two LeNets (16c5-P-32c5-P-128-64-10) trained on Fashion-MNIST by ``analysis/train_lenet.py``, one plainly and one with
Gaussian noise of sigma 0.1 injected, and the 10,000 test images with their labels (Zalando Research, MIT licence).
"""

from pathlib import Path

MODEL = Path(__file__).parent / "lenet.onnx"
NOISE_TRAINED = Path(__file__).parent / "lenet_noise_trained.onnx"
DATA = Path(__file__).parent / "lenet.npz"
