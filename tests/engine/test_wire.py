import numpy as np
import onnx
from onnx import numpy_helper

from kppstat.engine.wire import computation, initializers
from tests.engine.networks import convolutions


def test_initializers_are_where_onnx_says() -> None:
    proto = convolutions()
    raw = proto.SerializeToString()
    found = {e.name: raw[e.start : e.stop] for e in initializers(raw)}
    assert found == {i.name: i.raw_data for i in proto.graph.initializer}
    assert {e.kind for e in initializers(raw)} == {onnx.TensorProto.FLOAT}


def test_a_graph_written_in_two_parts_is_one() -> None:
    proto = convolutions()
    more = onnx.ModelProto(graph=onnx.GraphProto(initializer=[numpy_helper.from_array(np.ones(3), "more")]))
    raw = proto.SerializeToString() + more.SerializeToString()
    assert [e.name for e in initializers(raw)] == [i.name for i in proto.graph.initializer] + ["more"]


def test_names_of_nodes_mean_nothing_and_all_else_does() -> None:
    raw = convolutions().SerializeToString()
    renamed = onnx.ModelProto.FromString(raw)
    for i, node in enumerate(renamed.graph.node):
        node.name = f"node {i}"
    assert computation(renamed.SerializeToString()) == computation(raw)
    for change in ("op", "input", "attribute", "value"):
        other = onnx.ModelProto.FromString(raw)
        if change == "op":
            other.graph.node[1].op_type = "Tanh"
        elif change == "input":
            other.graph.node[1].input[0] = "x"
        elif change == "attribute":
            other.graph.node[0].attribute[0].ints[0] = 2
        else:
            other.graph.initializer[0].raw_data = other.graph.initializer[0].raw_data[::-1]
        assert computation(other.SerializeToString()) != computation(raw)
