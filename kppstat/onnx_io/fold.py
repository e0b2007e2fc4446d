"""Fold what is constant: nodes that compute from constants alone are replaced by their result.

Where a chain of constants ends in a weight, views (Transpose, Cast ...) of a stored tensor of real numbers stay, so
that device variation acts on the tensor in the file. Any other computation (DequantizeLinear, Mul by a scale ...) is
folded, and its result is the weight: that is what gets programmed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, shape_inference
from onnx.reference import ReferenceEvaluator

from kppstat.onnx_io.lift import Lifted, all_nodes, reads
from kppstat.onnx_io.normalise import SMALL, closed, opset_of
from kppstat.onnx_io.roles import FLOATS, VIEWS, canonical, weight_inputs
from kppstat.onnx_io.stored import graphs_in

# Cheap, deterministic, and enough for the arithmetic on shapes and on weights that exporters write.
# fmt: off
FOLDABLE = VIEWS | {
    "Abs", "Add", "And", "BitShift", "CastLike", "Ceil", "Clip", "Concat", "ConstantOfShape", "Cos", "CumSum",
    "DequantizeLinear", "Div", "Equal", "Erf", "Exp", "Expand", "EyeLike", "Floor", "Gather", "GatherElements",
    "GatherND", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Mean", "Min", "Mod",
    "Mul", "Neg", "NonZero", "Not", "OneHot", "Or", "Pad", "Pow", "QuantizeLinear", "Range", "Reciprocal",
    "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
    "Relu", "Round", "ScatterElements", "ScatterND", "Shape", "Sigmoid", "Sign", "Sin", "Size", "Slice",
    "Softmax", "Split", "Sqrt", "Sub", "Sum", "Tanh", "Tile", "Trilu", "Where", "Xor",
}
# fmt: on
REAL = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
LARGEST = 1 << 27  # elements of a result that is folded
ROUNDS = 8  # one more wherever the weights of a chain become known by folding


def fold(lifted: Lifted, notes: list[str]) -> dict[str, str]:
    """Replace constant nodes by their results, in place, and note the weights that come out of it.

    Returns the values that repeated an earlier computation, each with the value that now stands for it.
    """
    used = set(reads(lifted.skeleton.graph))
    results: dict[str, str] = {}
    folding = _Folding(lifted)
    for _ in range(ROUNDS):
        folding.kept, computed = _weight_chains(lifted)
        if not folding.graph(lifted.skeleton.graph):
            break
        results |= {name: f"{op} '{name}'" for name, op in computed.items() if name in lifted.constants}
    _prune(lifted, used)
    if results:
        notes.append(
            f"Device variation acts on the results where weights are computed from constants ({len(results)} of them): "
            f"{listed(list(results.values()))}."
        )
    return folding.aliases


def listed(items: Sequence[str], most: int = 4) -> str:
    """Return the first few items for a sentence."""
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def _weight_chains(lifted: Lifted) -> tuple[set[str], dict[str, str]]:
    """Return the outputs of the views to keep, and the computed values that are weights, with their operators."""
    producers = {name: node for node in all_nodes(lifted.skeleton.graph) for name in node.output if name}
    kept: set[str] = set()
    computed: dict[str, str] = {}
    for node in all_nodes(lifted.skeleton.graph):
        for index in weight_inputs(node.op_type, node.domain):
            if index >= len(node.input):
                continue
            chain: list[NodeProto] = []
            name = node.input[index]
            while (view := producers.get(name)) is not None and view.op_type in VIEWS and not canonical(view.domain):
                chain.append(view)
                name = view.input[0]
            real = name not in lifted.constants or lifted.constants[name].dtype.name in FLOATS
            while chain and not real:  # the integers become real numbers at the first Cast
                view = chain.pop()
                name, real = view.output[0], view.op_type == "Cast" and view.attribute[0].i in REAL
            kept.update(view.output[0] for view in chain)
            if name in producers:
                computed[name] = producers[name].op_type
    return kept, computed


@dataclass(eq=False)
class _Folding:
    lifted: Lifted
    kept: set[str] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)  # results that equal an earlier one, and that one
    seen: dict[tuple[object, ...], list[str]] = field(default_factory=dict)

    def graph(self, graph: GraphProto) -> bool:
        """Fold the nodes of one graph and its bodies; return whether any was."""
        outputs = {v.name for v in graph.output}
        folded: list[int] = []
        for position, node in enumerate(graph.node):
            for index, name in enumerate(node.input):
                if name in self.aliases:
                    node.input[index] = self.aliases[name]
            if self.kept.isdisjoint(node.output) and outputs.isdisjoint(node.output) and self.node(node):
                folded.append(position)
        for position in reversed(folded):
            del graph.node[position]
        in_bodies = [self.graph(body) for node in graph.node for body in graphs_in(node)]
        return bool(folded) or any(in_bodies)

    def node(self, node: NodeProto) -> bool:
        """Fold one node if it is constant; one that repeats an earlier computation shares its result."""
        if not _is_foldable(node) or any(name and name not in self.lifted.constants for name in node.input):
            return False
        key = (node.op_type, *(a.SerializeToString() for a in node.attribute), *map(self.identity, node.input))
        before = self.seen.get(key)
        if before is not None and len(before) == len(node.output):
            self.aliases.update(zip(node.output, before, strict=True))
            return True
        results = _results(node, self.lifted)
        if results is None:
            return False
        self.lifted.constants.update(results)
        self.seen[key] = list(node.output)
        return True

    def identity(self, name: str) -> object:
        """Return what makes a constant the same as another: its values if they are few, or else its name."""
        values = self.lifted.constants[name] if name else np.zeros(0)
        small = values.size <= SMALL and values.dtype.kind != "O"
        return (values.dtype.name, values.shape, values.tobytes()) if small else name


def _is_foldable(node: NodeProto) -> bool:
    quantised = node.domain == "com.microsoft" and node.op_type in ("DequantizeLinear", "QuantizeLinear")
    return node.op_type in FOLDABLE and (not canonical(node.domain) or quantised) and len(node.input) > 0


def _results(node: NodeProto, lifted: Lifted) -> dict[str, np.ndarray] | None:
    """Return the values of a constant node by name, or None if they are too large or not understood."""
    plain = NodeProto()
    plain.CopyFrom(node)
    plain.domain = ""
    inputs = {name: lifted.constants[name] for name in node.input if name}
    opset = opset_of(lifted.skeleton)
    try:
        if not _is_small(plain, inputs, opset):
            return None
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            values = ReferenceEvaluator(plain, opsets={"": opset}).run(None, inputs)
    except Exception:  # what the evaluator does not know stays for onnxruntime
        return None
    results = dict(zip(plain.output, values, strict=False))
    if len(results) < len(plain.output) or any(not isinstance(v, (np.ndarray, np.generic)) for v in values):
        return None
    return {name: np.asarray(v) for name, v in results.items() if name}


def _is_small(node: NodeProto, inputs: Mapping[str, np.ndarray], opset: int) -> bool:
    """Say whether shape inference bounds the results of a node, lest a damaged file ask for endless memory."""
    graph = helper.make_graph([node], "one", [], [helper.make_empty_tensor_value_info(name) for name in node.output])
    lifted = Lifted(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), dict(inputs))
    found = shape_inference.infer_shapes(closed(lifted), data_prop=True).graph.output
    shapes = [[d.dim_value if d.HasField("dim_value") else None for d in v.type.tensor_type.shape.dim] for v in found]
    known = all(v.type.tensor_type.HasField("shape") and None not in s for v, s in zip(found, shapes, strict=True))
    return known and all(prod(n or 0 for n in s) <= LARGEST for s in shapes)


def _prune(lifted: Lifted, used: set[str]) -> None:
    """Drop main-graph nodes whose results nothing reads any more, and constants that only they read."""
    graph = lifted.skeleton.graph
    while True:
        read = set(reads(graph))
        dead = [i for i, n in enumerate(graph.node) if not read.intersection(n.output)]
        if not dead:
            break
        for i in reversed(dead):
            del graph.node[i]
    for name in [n for n in lifted.constants if n in used and n not in read]:
        del lifted.constants[name]
