import pickle

import numpy as np
import pytest

from kppstat.graph import ExactTensor, Graph, Node, Port, Weight


def test_weight_size_is_the_product_of_its_shape():
    assert Weight("w", 0, (4, 3, 2), 1.0, ("Conv 'c'",)).size == 24
    assert Weight("w", 0, (), 1.0, ()).size == 1


def test_values_are_immutable():
    for value in (Node("Relu", ("x",), ("y",)), Port("x", "float32", (None, 3)), ExactTensor("b", (3,), "a bias")):
        with pytest.raises(AttributeError):
            value.name = "other"


def test_a_graph_survives_pickling():
    node = Node("Gemm", ("x", "w"), ("y",), {"transB": 1}, "last")
    graph = Graph((node,), (Port("x", "float32", (None, 3)),), (Port("y", "float32", None),), {"w": np.eye(3)})
    again = pickle.loads(pickle.dumps(graph))
    assert again.nodes == graph.nodes
    assert again.inputs == graph.inputs
    np.testing.assert_array_equal(again.constants["w"], graph.constants["w"])
