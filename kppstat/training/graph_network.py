"""An imported graph as a network to train, through the same operators that predict with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kppstat.errors import ModelError
from kppstat.graph import Node, Weight
from kppstat.onnx_io import Model, save
from kppstat.propagate import describe, forward, unsupported
from kppstat.training.batch_norm import in_training, measure, measured, statistics_of
from kppstat.training.network import Network, Site, Values

#: Reasons, as the import words them, for which a tensor is exact and yet learnt.
_LEARNT = ("a bias,", "a normalisation parameter,")


class GraphNetwork(Network):
    """The graph of an ONNX model.

    Weights, biases and normalisation parameters are trained; other constants (factors and offsets of preprocessing,
    shapes, look-up tables) stay as they are.

    Raises
    ------
    ModelError
        If an operator is missing, or the model computes in a type that cannot be trained.
    """

    def __init__(self, model: Model, device: torch.device) -> None:
        missing = unsupported(model.graph)
        if missing:
            raise ModelError(
                f"{describe(missing)} cannot be trained, because kppstat has no operator of its own for it",
                where=str(model.path),
                remedy="Train the network as a torch.nn.Module and export it again",
            )
        self.model, self.graph, self.group = model, model.graph, model.batch
        self.in_training = in_training(model.graph)
        running = statistics_of(model.graph)
        self.noisy = tuple(w.name for w in model.weights)
        self.digital = tuple(e.name for e in model.exact if e.reason.startswith(_LEARNT) and e.name not in running)
        constants = model.graph.constants
        for name in (*self.noisy, *self.digital):
            if constants[name].dtype not in (np.float32, np.float64):
                raise ModelError(
                    f"weight '{name}' is {constants[name].dtype}, which cannot be trained",
                    where=str(model.path),
                    remedy="Export the model in float32",
                )
        self.start = {n: _tensor(constants[n], device) for n in (*self.noisy, *self.digital)}
        self.statistics = {n: _tensor(constants[n], device) for n in running}
        self.device = device

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
        """Compute the graph with these values in the place of its constants."""
        graph = self.in_training if training and not measured else self.graph
        found = forward(graph, inputs, {**statistics, **(measured or {}), **values}, keep=keep)
        return found[self.graph.outputs[0].name], {name: found[name] for name in keep}

    def measured(self, values: Mapping[str, Tensor], inputs: Values) -> Values:
        """Return the statistics of one mini-batch, with gradients."""
        return dict(measured(self.in_training, values, inputs))

    def refreshed(self, values: Mapping[str, Tensor], batches: Iterable[Values]) -> Values:
        """Measure the running statistics of batch normalisations without device variation."""
        return measure(self.in_training, values, batches) if self.statistics else {}

    def sites(self, inputs: Values) -> list[Site]:
        """Return what the second and later nodes with weights read, up to reshaping."""
        found: dict[str, Site] = {}

        def watch(node: Node, outputs: tuple[Tensor, ...]) -> None:
            value = outputs[0] if outputs else None
            if isinstance(value, Tensor) and value.ndim in (2, 3, 4) and value.is_floating_point():
                found[node.outputs[0]] = Site(node.outputs[0], tuple(value.shape[1:]))

        with torch.no_grad():
            forward(self.graph, inputs, {**self.statistics, **self.start}, watch=watch)
        noisy = set(self.noisy)
        readers = [n for n in self.graph.nodes if noisy.intersection(n.inputs)]
        made = {name: n for n in self.graph.nodes for name in n.outputs}
        names = [next((i for i in _before(n.inputs, made, noisy) if i in found), None) for n in readers[1:]]
        return [found[n] for n in dict.fromkeys(names) if n is not None]

    def random(self, seed: int) -> Values:
        """Draw weights by the number of inputs of the node that reads them."""
        generator = torch.Generator().manual_seed(seed)
        roles = {name: (n, i) for n in reversed(self.graph.nodes) for i, name in enumerate(n.inputs)}
        result: Values = {}
        for name, value in self.start.items():
            shape = tuple(value.shape)
            node, index = roles.get(name, (Node("", (), ()), 0))
            if name in self.noisy:
                std = math.sqrt(2 / max(_fan_in(node, index, shape), 1))
                drawn = torch.randn(shape, generator=generator, dtype=value.dtype) * std
            else:
                gain = "Normalization" in node.op and index == 1
                drawn = torch.ones(shape, dtype=value.dtype) if gain else torch.zeros(shape, dtype=value.dtype)
            result[name] = drawn.to(self.device)
        return result

    def export(self, values: Mapping[str, Tensor], statistics: Values, out: str | Path) -> None:
        """Write the values into a copy of the ONNX file."""
        everything = {n: v.detach().cpu().numpy() for n, v in {**values, **statistics}.items()}
        position = len(self.model.weights)
        others = tuple(
            Weight(n, position + i, v.shape, float(np.abs(v).max(initial=0)), ())
            for i, (n, v) in enumerate((n, v) for n, v in everything.items() if n not in self.noisy)
        )
        # Digital tensors are written by the same way as the weights: by their name.
        save(replace(self.model, weights=(*self.model.weights, *others)), everything, out)


def _tensor(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(values)).to(device)


def _before(names: Sequence[str], made: Mapping[str, Node], noisy: set[str]) -> Iterator[str]:
    """Yield the data input of a node with weights, and what it was reshaped from."""
    name = next((n for n in names if n and n not in noisy), "")
    while name in made:
        if made[name].op not in ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Dropout"):
            yield name
            return
        name = made[name].inputs[0]


def _fan_in(node: Node, index: int, shape: tuple[int, ...]) -> int:
    """Return how many products add up to one output, for the initialisation of He et al. (2015)."""
    if node.op in ("Conv", "FusedConv"):
        return math.prod(shape[1:])
    if node.op == "ConvTranspose":
        strides = node.attributes.get("strides") or [1]
        return max(shape[0] * math.prod(shape[2:]) // math.prod(strides), 1)
    transposed = node.op == "Gemm" and bool(node.attributes.get("transB" if index else "transA", 0))
    if len(shape) >= 2 and node.op in ("MatMul", "Gemm"):
        rows, columns = shape[-2:]
        return (columns if transposed else rows) if index else (rows if transposed else columns)
    return shape[-1] if shape else 1
