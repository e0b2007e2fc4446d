import json

import pytest

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
