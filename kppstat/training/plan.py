"""What is asked of a training run, apart from its strategy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kppstat.errors import SettingError

AUGMENTATIONS = ("crop", "flip")


@dataclass(frozen=True)
class Plan:
    """Settings that all strategies share.

    Parameters
    ----------
    epochs : int
        Passes over the training part of the data.
    seed : int
        Fixes the split, the order of the inputs, every draw of device variation and every augmentation.
    k : float
        Percentile, in percent, of the performance that selects the weights to keep.
    batch : int
        Inputs in a mini-batch.
    lr : float
        Peak learning rate of Adam; it rises over the first twentieth of the steps and falls along a cosine to zero.
    val_share : float
        Share of the data that is kept from training, to select on.
    instances : int
        Instances drawn for each validation; the same ones after every epoch.
    val_inputs : int
        Most inputs of the validation part that each validation reads; the others of that part are not used.
    from_scratch : bool
        Forget the weights of the file and start from random ones.
    augment : tuple of str
        Any of ``crop`` (shift by up to an eighth of the width, zeros around) and ``flip`` (left to right).

    Raises
    ------
    SettingError
        If a setting is out of range.
    """

    epochs: int = 20
    seed: int = 0
    k: float = 1.0
    batch: int = 128
    lr: float = 1e-3
    val_share: float = 0.1
    instances: int = 50
    val_inputs: int = 1000
    from_scratch: bool = False
    augment: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "instances", "val_inputs"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise _wrong(name, value, "Give a whole number of 1 or more")
        if not 0 <= self.seed < 2**62:
            raise _wrong("seed", self.seed, "Give a whole number of 0 or more")
        if not 0 < self.k < 100:
            raise _wrong("k", self.k, "Give a percentage between 0 and 100")
        if not 0 < self.lr < 100:
            raise _wrong("lr", self.lr, "Give a number above 0, such as 0.001")
        if not 0 < self.val_share < 1:
            raise _wrong("val-share", self.val_share, "Give a share between 0 and 1, such as 0.1")
        for name in self.augment:
            if name not in AUGMENTATIONS:
                raise _wrong("augment", name, f"Take any of {', '.join(AUGMENTATIONS)}")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings by name."""
        return {**asdict(self), "augment": list(self.augment)}


def _wrong(name: str, value: object, remedy: str) -> SettingError:
    return SettingError(f"{name} is {value}", where=f"--{name.replace('_', '-')}", remedy=remedy)
