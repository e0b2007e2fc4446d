"""NeFT: outputs under larger variation, or of shallow heads, act as negative feedback on the loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from kppstat.errors import SettingError
from kppstat.noise import Variation
from kppstat.training.network import Site, Values
from kppstat.training.seeds import mixed
from kppstat.training.strategies.strategy import Scene, Step, Strategy, strategy, within
from kppstat.training.variation import programmed

#: NeFT's sigma counts devices of 2 bits for weights of 8: a weight deviates by this much of it (NFT generate_noise.py).
_UNIT = 0.77763
_STREAM = 0x4E4654


def feedback(output: Tensor, others: Sequence[Tensor], beta: float) -> Tensor:
    """Return ``(output - beta * sum_i 10^-i others[i]) / (len(others) + 1)``.

    Source: NeFT (arXiv 2305.14561), figure two_instances, and NeFT_CIM ``src/loss_fn.py``; gradients flow through all
    terms.

    Examples
    --------
    >>> feedback(torch.tensor([6.0]), [torch.tensor([1.0]), torch.tensor([20.0])], 1.0).tolist()
    [1.0]
    """
    for i, other in enumerate(others):
        output = output - beta * 10.0**-i * other
    return output / (len(others) + 1)


class _NegativeFeedback(Strategy):
    """What both forms share."""

    def _require_logits(self, step: Step) -> None:
        if step.objective.name != "cross-entropy":
            raise SettingError(
                f"{self.name} subtracts logits, and the loss is {step.objective.name}",
                where="--strategy",
                remedy="Take another strategy, or a model that ends in logits",
            )


@strategy("ovf")
@dataclass(kw_only=True)
class OrientedVariationalForward(_NegativeFeedback):
    """NeFT's OVF: three more instances of larger variation, the largest counting most.

    Source: arXiv 2305.14561; NeFT_CIM ``src/train_fn.py``. There, in ResNet-18, the larger variation reaches the first
    and the last layer only, because the blocks hold copies of its size; here it reaches every layer.

    Parameters
    ----------
    beta : float
        Weight of the feedback. Published: 1e-3 for VGG-8, 1e-4 to 1e-1 for ResNet-18.
    offsets : tuple of float
        What is added to sigma in the further instances, in NeFT's unit for devices of 2 bits. Published: 0.15, 0.1
        and 0.05.
    """

    beta: float = 1e-3
    offsets: tuple[float, ...] = (0.15, 0.10, 0.05)

    def __post_init__(self) -> None:
        within("beta", self.beta, 0)
        for offset in self.offsets:
            within("offsets", offset, 0)

    def begin(self, scene: Scene) -> Values:
        """Refuse a variation that cannot be made larger."""
        if scene.sigma == 0:
            raise SettingError("there is no device variation to enlarge", where="--sigma", remedy="Take plain")
        return {}

    def losses(self, step: Step) -> Iterator[Tensor]:
        """Yield the loss of the fed-back outputs."""
        self._require_logits(step)
        output, _ = step.run(step.programmed())
        scales = [1 + _UNIT * offset / step.scene.sigma for offset in self.offsets]
        others = [step.run(step.programmed(scale=scale))[0] for scale in scales]
        yield step.objective(feedback(output, others, self.beta), step.targets)


@strategy("irs")
@dataclass(kw_only=True)
class IntermediateRepresentationSnapshot(_NegativeFeedback):
    """NeFT's IRS: auxiliary heads on shallow layers, under device variation too, and dropped after training.

    A head averages over space to a few positions, then has two linear layers. Source: arXiv 2305.14561; NeFT_CIM
    ``models/irs_block.py``, ``models/vgg8.py``.

    Parameters
    ----------
    beta : float
        Weight of the feedback. Published: 1e-2 and 1e-1 for VGG-8, 1e-3 to 1e-1 for ResNet-18.
    at : tuple of str
        Values of the graph, or layers of a module, that heads read, from shallow to deep; chosen evenly if empty.
    heads : int
        How many to choose. Published: 3 for VGG-8, 4 for ResNet-18.
    hidden : int
        Width of a head.
    """

    beta: float = 1e-2
    at: tuple[str, ...] = ()
    heads: int = 3
    hidden: int = 512

    def __post_init__(self) -> None:
        within("beta", self.beta, 0)
        within("heads", self.heads, 1)
        within("hidden", self.hidden, 1)

    def begin(self, scene: Scene) -> Values:
        """Place the heads and draw their first weights."""
        self.sites = self._chosen(scene.network.sites(scene.inputs))
        generator = torch.Generator().manual_seed(mixed(scene.seed, _STREAM))
        extra: Values = {}
        for i, site in enumerate(self.sites):
            sizes = (_features(site, i), self.hidden, scene.outputs.shape[-1])
            for layer, (n, m) in enumerate(pairwise(sizes)):
                weight = torch.randn(m, n, generator=generator) * (2 / n) ** 0.5
                extra[f"head {i} weight {layer}"] = weight.to(scene.outputs)
                extra[f"head {i} bias {layer}"] = torch.zeros(m).to(scene.outputs)
        return extra

    def losses(self, step: Step) -> Iterator[Tensor]:
        """Yield the loss of the fed-back outputs."""
        self._require_logits(step)
        output, kept = step.run(step.programmed(), keep=[site.name for site in self.sites])
        law = Variation(step.scene.variation.default)
        heads = programmed(step.extra, [n for n in step.extra if "weight" in n], law, step.generator)
        others = [_head(kept[site.name], i, heads) for i, site in enumerate(self.sites)]
        yield step.objective(feedback(output, others, self.beta), step.targets)

    def _chosen(self, sites: list[Site]) -> list[Site]:
        if self.at:
            named = {site.name: site for site in sites}
            wrong = [name for name in self.at if name not in named]
            if wrong:
                raise SettingError(
                    f"no head can read '{wrong[0]}'", where="--set at", remedy=f"Take any of {', '.join(named)}"
                )
            return [named[name] for name in self.at]
        if not sites:
            raise SettingError("the network has no inner layer for a head", where="--strategy irs", remedy="Take ovf")
        count = min(self.heads, len(sites))
        return [sites[round(i * (len(sites) - 1) / max(count - 1, 1))] for i in range(count)]


def _positions(site: Site, i: int) -> tuple[int, ...]:
    """Return the positions that a head averages to along each axis of space: 6, 4 and 3, as for VGG-8."""
    return tuple(min((6, 4, 3)[min(i, 2)], n) for n in site.shape[1:])


def _features(site: Site, i: int) -> int:
    count = site.shape[0]
    for n in _positions(site, i):
        count *= n
    return count


def _head(x: Tensor, i: int, tensors: Values) -> Tensor:
    positions = _positions(Site("", tuple(x.shape[1:])), i)
    if len(positions) == 2:
        x = functional.adaptive_avg_pool2d(x, positions)
    elif len(positions) == 1:
        x = functional.adaptive_avg_pool1d(x, positions[0])
    hidden = functional.linear(x.flatten(1), tensors[f"head {i} weight 0"], tensors[f"head {i} bias 0"]).relu()
    return functional.linear(hidden, tensors[f"head {i} weight 1"], tensors[f"head {i} bias 1"])
