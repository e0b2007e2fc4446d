import numpy as np

from kppstat.data import Dataset
from kppstat.onnx_io import Model
from kppstat.worst_case.network import Network
from kppstat.worst_case.ours import _one_answer
from kppstat.worst_case.region import Region


def test_one_answer_for_all_is_that_of_the_rarest_class(lenet: Model, few: Dataset) -> None:
    assert few.targets is not None
    rows = np.flatnonzero(few.targets != 3)[:200]
    network = Network(lenet, few.part(rows), few.targets[rows], [w.name for w in lenet.weights], budget=9)
    *_, last = _one_answer(network, Region(0.02), 0.1, network.margins(network.start()), 0)
    assert last.check
    assert network.passes <= network.budget
    assert (network.margins(last.u) > 0).mean() < 0.03  # to answer any other class leaves about a ninth


def test_no_pass_is_spent_where_the_rarest_class_is_no_lower(lenet: Model, few: Dataset) -> None:
    assert few.targets is not None
    network = Network(lenet, few, few.targets, [w.name for w in lenet.weights], budget=9)
    margins = network.margins(network.start())
    spent = network.passes
    assert not list(_one_answer(network, Region(0.02), network.rarest()[1], margins, 0))
    assert network.passes < spent + 0.01
