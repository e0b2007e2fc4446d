import pickle

import pytest

from kppstat.errors import DataError, KppstatError, ModelError


def test_message_names_place_thing_and_remedy() -> None:
    error = ModelError("the file is empty", where="net.onnx", remedy="Export it again")
    assert str(error) == "net.onnx: the file is empty. Export it again."


@pytest.mark.parametrize("kind", [KppstatError, ModelError, DataError])
def test_errors_travel_between_processes(kind: type[KppstatError]) -> None:
    error = kind("labels reach 12", where="y", remedy="Give labels below 10")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.what, again.where, again.remedy) == (error.what, error.where, error.remedy)
