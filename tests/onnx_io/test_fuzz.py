"""Damaged files: whatever the damage, loading gives a model or a ModelError of one line."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from onnx import ModelProto

from kppstat.errors import ModelError
from kppstat.onnx_io import load
from tests.onnx_io import zoo

NUMBERS = (0, -1, 1, 2, 3, 7, 127, 255, 65536, 10**6, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))
WORDS = ("", "x", "y", "w", "Loop", "Reshape", "Expand", "Conv", "ConstantOfShape", "Split", "LSTM", "/etc/passwd")


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Cut, overwrite, remove or repeat some bytes of a file."""
    data = bytearray(content)
    place, length = rng.randrange(len(data)), rng.randrange(1, 40)
    match rng.randrange(5):
        case 0:
            del data[place:]
        case 1:
            for _ in range(rng.choice((1, 2, 4, 16))):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case 2:
            del data[place : place + length]
        case 3:
            other = rng.randrange(len(data))
            data[place:place] = data[other : other + length]
        case _:
            data[place] ^= 1 << rng.randrange(8)
    return bytes(data)


def damaged_fields(model: ModelProto, rng: random.Random) -> bytes:
    """Change a few fields of a model: what decodes is then a wrong model, which goes further into the import."""
    damaged = ModelProto()
    damaged.CopyFrom(model)
    for _ in range(rng.choice((1, 1, 2, 3))):
        message: Any = damaged.graph if rng.random() < 0.9 else damaged
        while message is not None and message.ListFields():
            field, value = rng.choice(message.ListFields())
            message = damage(message, field, value, rng)
    return damaged.SerializeToString()


def damage(message: Any, field: FieldDescriptor, value: Any, rng: random.Random) -> Any:
    """Damage one field; return the message to go on in if it is a message that is left whole."""
    many = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
    if many and rng.random() < 0.1:
        del value[rng.randrange(len(value))]
        return None
    if field.message_type is not None:
        return rng.choice(value) if many else value
    try:
        if not many:
            setattr(message, field.name, other_value(value, rng))
        elif rng.random() < 0.3:
            value.append(other_value(value[0], rng))
        else:
            value[rng.randrange(len(value))] = other_value(rng.choice(value), rng)
    except ValueError:
        pass  # outside the range of the field's type
    return None


def other_value(value: Any, rng: random.Random) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return rng.choice((*NUMBERS, value + 1, value - 1, -value, 2 * value))
        case float():
            return rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
        case str():
            return rng.choice((*WORDS, value + "_"))
        case _:
            return rng.choice((b"", value[: len(value) // 2], value + bytes(4), rng.randbytes(len(value))))


def run(folder: Path, seed: int, count: int) -> Counter[str]:
    """Load `count` damaged files and count the models and the refusals."""
    rng = random.Random(seed)
    models = [make() for make in zoo.ALL]
    path, found = folder / "damaged.onnx", Counter[str]()
    for _ in range(count):
        model = rng.choice(models)
        if rng.random() < 0.3:
            path.write_bytes(damaged_bytes(model.SerializeToString(), rng))
        else:
            path.write_bytes(damaged_fields(model, rng))
        message = refusal(path)
        found["refusal" if message else "model"] += 1
        assert "\n" not in message
        assert len(message) < 800
    return found


def refusal(path: Path) -> str:
    """Load a file; return what the refusal says, or nothing if it loads."""
    try:
        assert load(path).weights
    except ModelError as error:
        return str(error)
    return ""


def test_damaged_files_are_refused_in_one_line(tmp_path):
    found = run(tmp_path, seed=1, count=150)
    assert found["model"] > 5  # some damage is harmless: the test does go through the import
    assert found["refusal"] > 50


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 7))
def test_thousands_of_damaged_files_are_refused_in_one_line(tmp_path, seed):
    assert run(tmp_path, seed, count=1000)["refusal"] > 300
