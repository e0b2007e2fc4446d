import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.errors import NoiseError
from kppstat.noise import Gaussian, RightCensored, Variation, from_dict, model_from_dict, models, noise_model


def test_round_trip_of_a_variation():
    variation = Variation(Gaussian(0.1), {"conv*": Gaussian(0.2), "fc": RightCensored(0.1, 1.5)})
    description = json.loads(json.dumps(variation.to_dict()))
    assert from_dict(description) == variation
    assert from_dict(description).to_dict() == variation.to_dict()


def test_units_convert_on_reading_and_are_written_as_sigma():
    model = model_from_dict({"model": "gaussian", "sigma": 0.3, "unit": "neft-8-2"})
    assert model.to_dict() == {"model": "gaussian", "sigma": pytest.approx(0.2333, abs=1e-4)}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"model": "gausian", "sigma": 0.1}, "noise model 'gausian' is not known. Did you mean 'gaussian'"),
        ({"model": "gaussian", "sgima": 0.1}, "parameter of gaussian 'sgima' is not known. Did you mean 'sigma'"),
        ({"model": "gaussian"}, "gaussian has no sigma. Give sigma"),
        ({"model": "gaussian", "sigma": -1}, "sigma is -1.0?"),
        ({"model": "gaussian", "sigma": "x", "unit": "neft-8-2"}, "sigma is 'x'"),
        ({"model": "gaussian", "unit": "neft-8-2"}, "gaussian has no sigma"),
        ({"model": "gaussian", "sigma": 0.1, "unit": "nefd-8-2"}, "Did you mean 'neft-8-2'"),
        ({"sigma": 0.1}, "no model is named"),
        ({"model": 3}, "noise model 3 is not known"),
        ([], "is not a table"),
        ({"model": "gaussian", "sigma": 0.1, "layers": [1]}, "layers is not a table"),
        ({"model": "gaussian", "sigma": 0.1, "layers": {"a": 1}}, "layers 'a': 1 is not a table"),
        ({"model": "gaussian", "sigma": 0.1, "layers": {"a": {"model": "gaussian", "sigma": -2}}}, "layers 'a': sigma"),
    ],
)
def test_mistakes_are_named(description, message):
    with pytest.raises(NoiseError, match=message):
        from_dict(description)


def test_a_name_is_taken_once():
    with pytest.raises(TypeError, match="two noise models"):
        noise_model("gaussian")(Gaussian)


def test_every_model_is_documented():
    for name, cls in models().items():
        assert cls.name == name
        assert cls.formula, name
        assert cls.unit, name
        assert cls.source, name
        assert cls.__doc__, name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value, path=()):
    """Every path into a nested description."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from places(inner, (*path, i))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("name", sorted(models()))
@settings(max_examples=60)
@given(data=st.data())
def test_no_description_gives_another_error_than_a_noise_error(name, data):
    whole = {"model": name, **models()[name].example}
    path = data.draw(st.sampled_from(list(places(whole))))
    description = replaced(whole, path, data.draw(JSON))
    with contextlib.suppress(NoiseError):
        from_dict(description).to_dict()
    for key in data.draw(st.lists(st.sampled_from(["sigma", "unit", "layers", "time", "laws"]), max_size=2)):
        if isinstance(description, dict):
            description[key] = data.draw(JSON)
    with contextlib.suppress(NoiseError):
        from_dict(description).to_dict()
