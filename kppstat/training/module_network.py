"""A torch module as a network to train."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from kppstat.errors import ModelError
from kppstat.training.network import Network, Site, Values

_WEIGHTED = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.RNNBase, nn.Bilinear, nn.MultiheadAttention,
)  # fmt: skip


class ModuleNetwork(Network):
    """A module whose only input is a tensor, and whose only output is one.

    Weight matrices of linear, convolutional, recurrent and attention layers carry device variation; all other
    parameters are trained too and carry none. The module itself keeps its values until `export` writes the trained
    ones into it.

    Raises
    ------
    ModelError
        If no parameter would carry device variation.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module, self.device = module, device
        parameters = dict(module.named_parameters())
        owners = dict(module.named_modules())
        self.noisy = tuple(n for n, p in parameters.items() if p.ndim > 1 and _is_weight(n, owners))
        if not self.noisy:
            raise ModelError(
                "no parameter carries device variation",
                where=type(module).__name__,
                remedy="Device variation acts on the weights of linear, convolutional, recurrent and attention layers",
            )
        self.start = {n: p.detach().clone().to(device) for n, p in parameters.items()}
        self.statistics = {n: b.detach().clone().to(device) for n, b in module.named_buffers()}

    def run(
        self,
        values: Mapping[str, Tensor],
        statistics: Values,
        inputs: Values,
        *,
        training: bool,
        measured: Values | None = None,
        keep: Sequence[str] = (),
    ) -> tuple[Tensor, Values]:
        """Call the module with these values in the place of its parameters."""
        # In training mode a module overwrites its buffers, so it is given copies.
        buffers = {n: b.clone() for n, b in statistics.items()} if training else statistics
        state, parts = {**values, **buffers}, [self.module] if training else []
        if not training or not measured:
            return self._call(state, inputs, training=parts, keep=keep)

        def renormalised(name: str, norm: _BatchNorm) -> Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]:
            mean, variance = measured[f"{name}.running_mean"], measured[f"{name}.running_var"]
            return lambda _, args, __: _normalised(args[0], mean, variance, norm)

        norms = [(name, norm) for name, norm in self._norms() if f"{name}.running_mean" in measured]
        hooks = [norm.register_forward_hook(renormalised(name, norm)) for name, norm in norms]
        try:
            return self._call(state, inputs, training=parts, keep=keep)
        finally:
            for h in hooks:
                h.remove()

    def measured(self, values: Mapping[str, Tensor], inputs: Values) -> Values:
        """Return the statistics of one mini-batch, with gradients; the mean where a layer is called several times."""
        found: dict[str, list[Tensor]] = {}

        def remember(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
            def hook(_: nn.Module, args: tuple[Tensor]) -> None:
                over = (0, *range(2, args[0].ndim))
                found.setdefault(f"{name}.running_mean", []).append(args[0].mean(over))
                found.setdefault(f"{name}.running_var", []).append(args[0].var(over, correction=0))

            return hook

        hooks = [norm.register_forward_pre_hook(remember(name)) for name, norm in self._norms()]
        try:
            if hooks:
                self.run(values, self.statistics, inputs, training=True)
        finally:
            for h in hooks:
                h.remove()
        return {name: torch.stack(calls).mean(0) for name, calls in found.items()}

    def _norms(self) -> list[tuple[str, _BatchNorm]]:
        """Return the batch normalisations that keep running statistics."""
        named = self.module.named_modules()
        return [(n, m) for n, m in named if isinstance(m, _BatchNorm) and m.running_mean is not None]

    def refreshed(self, values: Mapping[str, Tensor], batches: Iterable[Values]) -> Values:
        """Measure the running statistics of batch normalisations without device variation."""
        norms = [m for m in self.module.modules() if isinstance(m, _BatchNorm)]
        if not norms:
            return self.statistics
        momenta = [m.momentum for m in norms]
        buffers = {
            n: torch.ones_like(b) if n.endswith("running_var") else torch.zeros_like(b)
            if n.endswith(("running_mean", "num_batches_tracked")) else b.clone()
            for n, b in self.statistics.items()
        }  # fmt: skip
        try:
            for m in norms:
                m.momentum = None  # a plain average over all mini-batches
            with torch.no_grad():
                for inputs in batches:
                    self._call({**values, **buffers}, inputs, training=norms, keep=())
        finally:
            for m, momentum in zip(norms, momenta, strict=True):
                m.momentum = momentum
        return buffers

    def sites(self, inputs: Values) -> list[Site]:
        """Return the outputs of all layers with weights but the last."""
        owners = dict(self.module.named_modules())
        names = [n for n in dict.fromkeys(w.rpartition(".")[0] for w in self.noisy) if n in owners][:-1]
        with torch.no_grad():
            _, kept = self._call({**self.start, **self.statistics}, inputs, training=[], keep=names)
        return [Site(n, tuple(kept[n].shape[1:])) for n in names if n in kept]

    def random(self, seed: int) -> Values:
        """Draw matrices, embeddings too, by the number of their columns; vectors are gains or biases."""
        generator = torch.Generator().manual_seed(seed)
        result: Values = {}
        for name, value in self.start.items():
            if value.ndim > 1:
                fan_in = max(math.prod(value.shape[1:]), 1)
                drawn = torch.randn(value.shape, generator=generator, dtype=value.dtype) * math.sqrt(2 / fan_in)
            else:
                drawn = torch.ones_like(value) if name.endswith("weight") else torch.zeros_like(value)
            result[name] = drawn.to(self.device)
        return result

    def export(self, values: Mapping[str, Tensor], statistics: Values) -> None:
        """Write the values into the module."""
        parameters, buffers = dict(self.module.named_parameters()), dict(self.module.named_buffers())
        with torch.no_grad():
            for name, value in values.items():
                parameters[name].copy_(value)
            for name, value in statistics.items():
                buffers[name].copy_(value)

    def _call(
        self, state: dict[str, Tensor], inputs: Values, *, training: Sequence[nn.Module], keep: Sequence[str]
    ) -> tuple[Tensor, Values]:
        """Call the module, with these parts of it in training mode and the others not."""
        kept: Values = {}

        def hook(name: str) -> object:
            def remember(_: nn.Module, __: object, output: object) -> None:
                if isinstance(output, Tensor):
                    kept[name] = output

            return remember

        modules = dict(self.module.named_modules())
        hooks = [modules[n].register_forward_hook(hook(n)) for n in keep]
        before = {m: m.training for m in modules.values()}
        self.module.eval()
        for part in training:
            part.train()
        try:
            output = functional_call(self.module, state, tuple(inputs.values()))
        finally:
            for m, mode in before.items():
                m.training = mode
            for h in hooks:
                h.remove()
        if not isinstance(output, Tensor):
            raise ModelError(
                f"the module returns {type(output).__name__}, not a tensor",
                where=type(self.module).__name__,
                remedy="Wrap it in a module that returns one tensor",
            )
        return output, kept


def _normalised(x: Tensor, mean: Tensor, variance: Tensor, norm: _BatchNorm) -> Tensor:
    """Normalise by hand: torch passes no gradient to statistics that it is given."""

    def per_channel(v: Tensor) -> Tensor:
        return v.reshape(-1, *[1] * (x.ndim - 2))

    y = (x - per_channel(mean)) * per_channel((variance + norm.eps).rsqrt())
    return y * per_channel(norm.weight) + per_channel(norm.bias) if norm.affine else y


def _is_weight(parameter: str, modules: Mapping[str, nn.Module]) -> bool:
    """Say whether this is a weight of a layer, and not one of the rows that attention may append to its keys."""
    owner, _, name = parameter.rpartition(".")
    return "weight" in name and isinstance(modules.get(owner), _WEIGHTED)
