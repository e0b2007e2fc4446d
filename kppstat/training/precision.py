"""Mixed precision: products in bfloat16 where a GPU is faster in it; weights, deviations and losses never are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def fast_precision(device: torch.device) -> torch.dtype:
    """Return bfloat16 where a GPU computes products in it, and float32 elsewhere.

    Examples
    --------
    >>> fast_precision(torch.device("cpu"))
    torch.float32
    """
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32


@contextmanager
def products_in(precision: torch.dtype, device: torch.device) -> Iterator[None]:
    """Compute in this precision what `torch.autocast` takes for safe; in float32 everything stays as it is."""
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        yield


def raised(value: Tensor) -> Tensor:
    """Return a value that was computed in bfloat16 as float32, and any other as it is."""
    return value.float() if value.dtype == torch.bfloat16 else value
