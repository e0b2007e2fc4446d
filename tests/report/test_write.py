import errno
import os
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from kppstat.errors import SettingError
from kppstat.graph import ExactTensor
from kppstat.report import NoisyTensor, Tensors, check, write
from tests.sampling.made import DEGENERATE, accuracies, made

pytest.importorskip("matplotlib")

X = "\N{MULTIPLICATION SIGN}"
EMPTY_ELEMENTS = {"meta", "br", "link", "img", "input", "hr"}
ESTIMATE = made(accuracies(120), k=5)
TENSORS = Tensors(
    (
        NoisyTensor("conv.weight", ("Conv 'conv'",), (8, 1, 3, 3), 72, 0.5, 0.05, "gaussian, sigma 0.1"),
        NoisyTensor("fc.weight", ("Gemm 'fc'",), (10, 128), 1280, 0.25, 0.0125, "gaussian, sigma 0.05"),
    ),
    (ExactTensor("conv.bias", (8,), "a bias is digital"), ExactTensor("scale", (), "not a weight")),
)
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></svg><iframe src=https://example.com>",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{x_{$",
    "nul\x00 bell\x07 override\u202e surrogate\udc80 --> <!-- ]]>",
    "#0b5cad 'quotes' &amp; url(https://example.com)",
]


class Page(HTMLParser):
    """Elements, attributes and text of a page; fails on an element that is closed out of order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in EMPTY_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join("".join(self.text).split())


def page_of(path):
    return Page(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    files = write(ESTIMATE, TENSORS, folder / "new" / "out.html", command="kppstat estimate small.onnx --sigma 0.1")
    return files, page_of(files[0])


def test_the_page_and_its_figures_are_written_and_nothing_else(report):
    files, _ = report
    names = ["out.html", "out-distribution.svg", "out-distribution.png", "out-convergence.svg", "out-convergence.png"]
    assert [file.name for file in files] == names
    assert sorted(files[0].parent.iterdir()) == sorted(files)
    for file in files[1:]:
        if file.suffix == ".png":
            assert file.read_bytes().startswith(b"\x89PNG")
            assert int.from_bytes(file.read_bytes()[16:20]) == 1050  # 3.5 inches at 300 dots an inch
        else:
            assert ElementTree.parse(file).getroot().tag.endswith("svg")


def test_the_page_has_one_of_each_id_and_points_nowhere_outside(report):
    files, page = report
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert "script" not in page.elements
    text = files[0].read_text("utf-8")
    assert "//" not in re.sub(r"sha256 \w+", "", text)
    targets = [value for name, value in page.attributes if name in ("href", "src", "xlink:href", "srcset", "action")]
    targets += re.findall(r"url\(([^)]*)\)", text)
    assert targets
    assert {target.removeprefix("#") for target in targets} <= set(ids)
    assert all(target.startswith("#") for target in targets)
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_the_page_says_everything(report):
    _, page = report
    for words in (
        ESTIMATE.summary(),
        "What the guarantee “exact” means",
        "1,352 weights in 2 tensors.",
        f"conv.weight Conv 'conv' 8 {X} 1 {X} 3 {X} 3 72 0.5 0.05 gaussian, sigma 0.1",
        f"fc.weight Gemm 'fc' 10 {X} 128 1,280 0.25 0.0125 gaussian, sigma 0.05",
        "a bias is digital 1 conv.bias 8",
        "not a weight 1 scale scalar",
        "Two constants were folded.",
        "kppstat estimate small.onnx --sigma 0.1",
        ESTIMATE.model_sha256,
        ESTIMATE.data_sha256,
        "python 3.11.7, kppstat 0.1.0",
    ):
        assert words in re.sub(r"\s+", " ", " ".join(page.text)) or words in page.words, words
    assert page.elements.count("svg") == 2
    labels = [value for name, value in page.attributes if name == "aria-label"]
    assert any(ESTIMATE.show(ESTIMATE.kpp) in label for label in labels)


def test_figures_take_the_colours_of_the_page(report):
    files, _ = report
    text = files[0].read_text("utf-8")
    svgs = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert all("var(--accent)" in svg and not re.search(r"#[0-9a-f]{6}\b", svg) for svg in svgs)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name, tmp_path, report):
    hostile = replace(
        ESTIMATE, model=name, data=name, performance=f"m:{name}", notes=(name,), versions={name: name}, stop_reason=name
    )
    noisy = tuple(replace(tensor, name=name, consumers=(name,), law=name + tensor.law) for tensor in TENSORS.noisy)
    exact = tuple(replace(tensor, name=name, reason=name + tensor.reason) for tensor in TENSORS.exact)
    files = write(hostile, Tensors(noisy, exact), tmp_path / "out.html", command=name)
    page, (_, benign) = page_of(files[0]), report
    assert set(page.elements) <= set(benign.elements) | {"p"}
    assert {name for name, _ in page.attributes} <= {name for name, _ in benign.attributes}
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", files[0].read_text("utf-8"))
    assert all(value.startswith("#") for key, value in page.attributes if key in ("href", "src"))
    if name.isprintable():
        assert page.words.count(" ".join(name.split())) >= 8
    for file in files[1:]:
        if file.suffix == ".svg":
            ElementTree.parse(file)


@pytest.mark.parametrize("name", ["one instance", "nothing known", "infinite losses", "no number", "free of cost"])
def test_any_estimate_has_a_report(name, tmp_path):
    write(DEGENERATE[name], Tensors((), ()), tmp_path / "out.html")
    words = page_of(tmp_path / "out.html").words
    assert "None: every instance is the intended network." in words
    assert not re.search(r"\b(nan|inf)\b", words)


def test_equal_estimates_give_equal_figures(tmp_path):
    for folder in "ab":
        write(ESTIMATE, TENSORS, tmp_path / folder / "out.html")
    for name in ("out-distribution.svg", "out-convergence.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_full_disk_leaves_the_last_report_as_it_was(tmp_path, monkeypatch):
    page = tmp_path / "out.html"
    files = write(ESTIMATE, TENSORS, page)
    before = {file: file.read_bytes() for file in files}
    synced = []

    def full(handle):
        synced.append(handle)
        if len(synced) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingError, match="No space left on device") as caught:
        write(made(accuracies(50)), TENSORS, page)
    assert "\n" not in str(caught.value)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_figure_that_cannot_take_its_place_means_no_page(tmp_path):
    (tmp_path / "out-distribution.svg").mkdir()
    with pytest.raises(SettingError, match=r"out-distribution.svg: the report cannot be written"):
        write(ESTIMATE, TENSORS, tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("file/out.html", "the report cannot be written"),
        ("out.pdf", r"a report is an HTML page\. Name it out\.pdf\.html"),
        ("folder", r"a report is an HTML page\. Name it .*folder/report\.html"),
        ("folder.html", "this is a folder"),
        ("nul\0.html", "the report cannot be written"),
        ("x" * 300 + ".html", "the report cannot be written"),
    ],
)
def test_a_place_that_cannot_take_a_report_is_refused_before_the_run(name, what, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(SettingError, match=what) as caught:
        check(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_a_missing_extra_is_told_before_the_run(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingError, match=r"pip install 'kppstat\[report\]'"):
        check(tmp_path / "out.html")
