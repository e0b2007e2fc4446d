import pytest

from kppstat.errors import NoiseError
from kppstat.noise import Conductance, FourLevel, Gaussian, Proportional, Variation

A, B, C = Gaussian(0.1), Gaussian(0.2), Gaussian(0.3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("conv1.weight", B), ("conv2.weight", C), ("fc", A), ("w[0]", C), ("w0", B)],
)
def test_a_name_wins_then_the_first_pattern(name, expected):
    layers = {"conv1*": B, "conv*": C, "w[0-9]": B, "w[0]": C}
    assert Variation(A, layers).of(name) is expected


def test_patterns_without_a_weight_are_found():
    variation = Variation(A, {"conv*": B, "cvon*": C, "w[0]": C})
    assert variation.unmatched(["conv1", "w[0]"]) == ("cvon*",)
    with pytest.raises(NoiseError, match=r"no weight is called 'cvon\*'. The weights are conv1, w\[0\].$"):
        variation.require_matches(["conv1", "w[0]"])
    with pytest.raises(NoiseError, match="w7 and 92 more"):
        variation.require_matches(["w[0]", *(f"w{i}" for i in range(1, 100))])


@pytest.mark.parametrize("odd", [None, 3, "noise.toml", Variation(A)])
def test_only_noise_models_make_a_variation(odd):
    with pytest.raises(NoiseError, match=r"is no noise model. Give one such as kppstat.Gaussian\(0.1\)"):
        Variation(odd)
    with pytest.raises(NoiseError, match="is no noise model"):
        Variation(A, {"fc": odd})


@pytest.mark.parametrize("law", [Gaussian, Proportional, Conductance, FourLevel])
def test_deviations_that_would_overflow_are_refused(law):
    with pytest.raises(NoiseError, match=r"sigma is 1e\+30.*1e\+06 or less"):
        law(1e30)


def test_equal_laws_have_equal_descriptions():
    assert Variation(A).to_dict() == {"model": "gaussian", "sigma": 0.1, "layers": {}}
    assert Variation(A, {"x": B}).to_dict() != Variation(A).to_dict()
