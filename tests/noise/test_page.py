import re
from pathlib import Path

import pytest

from kppstat.cli import run
from kppstat.noise import models
from kppstat.noise.page import devices, page, table

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_table_has_a_row_of_four_cells_for_each_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["noise", "--markdown"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines == table().splitlines()
    assert [re.split(r"(?<!\\)\|", line)[1].strip(" `") for line in lines[2:]] == list(models())
    assert {len(re.split(r"(?<!\\)\|", line)) for line in lines} == {6}


@pytest.mark.parametrize("name", models())
def test_every_parameter_says_what_it_means(name: str) -> None:
    assert all(meaning for _, meaning, _ in page(name, levels=3, draws=4).parameters)


def test_a_device_has_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    for device, model in devices().items():
        shown = page(device.lower(), levels=3, draws=4)
        assert (shown.name, shown.shown["device"]) == (model, device)
    assert devices()["hermes-1"] == "programming"
    assert run(["noise"]) == 0
    assert "devices of four-level: RRAM1, FeFET2" in capsys.readouterr().out
    assert run(["noise", "RRAM7"]) == 2
    assert "Did you mean 'RRAM" in capsys.readouterr().err


def test_the_readme_shows_the_table_of_the_registry() -> None:
    text = README.read_text("utf-8") if README.exists() else ""
    shown = re.search(r"<!-- devices -->\n(.*?)\n<!-- /devices -->", text, re.DOTALL)
    if shown is None:
        pytest.skip("the README has no table of devices between <!-- devices --> and <!-- /devices -->")
    assert shown[1].strip() == table(), "put the output of `kppstat noise --markdown` there"
