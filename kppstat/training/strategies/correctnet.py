"""CorrectNet's error suppression: weights that do not amplify, without any noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kppstat.training.strategies.strategy import Step, Strategy, strategy, within


def orthogonality(w: Tensor, target: float) -> Tensor:
    """Return the sum of ``|| W^T W - target I ||_F^2``: of a matrix, or over the spatial kernels of a convolution.

    Parameters
    ----------
    w : Tensor, shape (out, in) or (out, in, *kernel)
    target : float

    Examples
    --------
    >>> float(orthogonality(torch.eye(3), 1.0)), float(orthogonality(2 * torch.eye(2), 1.0))
    (0.0, 18.0)
    """
    matrices = w.reshape(1, *w.shape) if w.ndim == 2 else w.reshape(-1, *w.shape[-2:])
    gram = matrices.transpose(1, 2) @ matrices
    return (gram - target * torch.eye(gram.shape[-1], dtype=w.dtype, device=w.device)).square().sum()


@strategy("correctnet")
@dataclass(kw_only=True)
class CorrectNet(Strategy):
    """Plain training with a penalty on weights whose kernels are far from orthonormal.

    CorrectNet (arXiv 2211.14917) limits Lipschitz constants so that deviations are not amplified. This is its
    regulariser as the authors of TRICE use it for comparison (CIM_CW branch adv, ``test_amro.py``): for convolutions
    the Gram matrices of the spatial kernels. Its compensation layers, placed by reinforcement learning, are not here.

    Parameters
    ----------
    beta : float
        Weight of the penalty; published: 5e-4.
    target : float
        The diagonal that Gram matrices are drawn to; published: 1.
    """

    beta: float = 5e-4
    target: float = 1.0

    def __post_init__(self) -> None:
        within("beta", self.beta, 0)
        within("target", self.target, 0)

    def losses(self, step: Step) -> Iterator[Tensor]:
        """Yield the loss without noise, and the penalty."""
        tensors = [step.values[name] for name in step.scene.network.noisy]
        penalty = sum((orthogonality(w, self.target) for w in tensors if w.ndim > 1), torch.zeros(()))
        yield step.loss(step.values) + self.beta * penalty
