import contextlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kppstat.errors import NoiseError
from kppstat.noise import Gaussian, Table, Variation, read


def written(tmp_path, text):
    path = tmp_path / "noise.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_whole_file(tmp_path):
    text = 'model = "gaussian"\nsigma = 0.1\n[layers."conv1*"]\nmodel = "gaussian"\nsigma = 0.05\n'
    assert read(written(tmp_path, text)) == Variation(Gaussian(0.1), {"conv1*": Gaussian(0.05)})
    assert read(str(tmp_path / "noise.toml")).of("conv1.w") == Gaussian(0.05)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = ", "noise.toml: is not TOML"),
        (b"\xff\xfe", "is not text"),
        ("", "no model is named"),
        ('model = "gaussian"\nsigma = -1', "noise.toml: sigma is -1"),
        ("a = " + "[" * 5000, "is beyond reason|is not TOML"),
        (
            'model = "chain"\nlaws = ' + '[{model = "chain", laws = ' * 150 + "[]" + "}]" * 150,
            "beyond reason|nested too deeply|no laws",
        ),
        ('model = "gaussian"\nsigma = 1' + "0" * 400, "sigma is 1"),
        ('model = "gaussian"\nsigma = 1' + "0" * 5000, "is beyond reason"),
        ('model = "gaussian"\nunit = "plain"\nsigma = 1' + "0" * 400, "sigma is"),
    ],
)
def test_bad_files_are_one_line_errors(tmp_path, text, message):
    with pytest.raises(NoiseError, match=message) as caught:
        read(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NoiseError, match=r"nowhere\.toml: cannot be read"):
        read(tmp_path / "nowhere.toml")


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=60), at=st.integers(0, 80))
def test_no_bytes_give_another_error_than_a_noise_error(tmp_path_factory, data, at):
    whole = b'model = "gaussian"\nsigma = 0.1\n[layers."conv1*"]\nmodel = "gaussian"\nsigma = 0.05\n'
    path = tmp_path_factory.mktemp("fuzz") / "noise.toml"
    path.write_bytes(whole[:at] + data + whole[at + len(data) :])
    with contextlib.suppress(NoiseError):
        assert isinstance(read(path), Variation)


def test_importing_noise_loads_neither_numba_nor_torch():
    code = "import sys, kppstat.noise; print([m for m in ('numba', 'torch', 'matplotlib', 'onnx') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_table_is_read_from_csv_beside_the_file(tmp_path):
    (tmp_path / "devices.csv").write_text("note, Level ,mean,SD\na,0,0.1,0.2\n\nb,25, 24.5 ,0.8\n")
    text = 'model = "encoded"\nencoding = ["offset"]\ndevice = {model = "table", file = "devices.csv"}\n'
    model = read(written(tmp_path, text)).default
    assert model.device == Table((0, 25), (0.1, 24.5), (0.2, 0.8))
    # What a journal records does not depend on the CSV file any more.
    assert model.to_dict()["device"]["levels"] == [0.0, 25.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"devices\.csv: cannot be read"),
        ("level,mean\n0,1\n", "has no column sd"),
        ("", "has no column level"),
        ("level,mean,sd\n0,1,x\n", "row 2 has 'x' for sd"),
        ("level,mean,sd\n0,1,2\n1,2\n", "row 3 has nothing for sd"),
        ("level,mean,sd\n0,1,2\n0,1,2\n", "levels do not rise"),
        (b"\xff\xfe\x00", "is not text"),
    ],
)
def test_bad_csv_files_are_one_line_errors(tmp_path, text, message):
    if text is not None:
        (tmp_path / "devices.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(NoiseError, match=message) as caught:
        read(written(tmp_path, 'model = "table"\nfile = "devices.csv"\n'))
    assert "\n" not in str(caught.value)
