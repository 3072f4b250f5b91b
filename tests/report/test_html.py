import re
from html.parser import HTMLParser

import pytest

from perturbkit.core.errors import FileError
from perturbkit.report.html import count, number, signed, write_report
from perturbkit.report.summarise import summarise

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects elements and text, and checks that every element is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page(run):
    return Page(write_report(run).read_text(encoding="utf-8"))


def test_the_report_is_one_file_that_fetches_nothing(maker):
    text = write_report(maker.run()).read_text(encoding="utf-8")
    found = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(found.tags)
    names = {name for name, _ in found.attributes}
    assert not [n for n in names if n.startswith("on")]
    assert not {"src", "srcset", "action"} & names
    links = [v for n, v in found.attributes if n in ("href", "xlink:href")]
    assert all(v.startswith("#") for v in links)
    assert not re.search(r"url\((?!#)", text)
    assert not re.search(r"@import", text)
    policy = dict(found.attributes)["content"]
    assert any("default-src 'none'" in (v or "") for _, v in found.attributes)
    assert policy
    assert len(text) < 600_000


def test_what_it_says_comes_from_the_summary(maker):
    run = maker.run()
    summary, found = summarise(run), page(run)
    assert summary["verdict"]["headline"] in found.text
    assert summary["footer"]["fingerprint"] in found.text
    for metric in summary["scores"]:
        for row in metric["rows"]:
            assert f"{row['value']:.3f}" in found.text
            assert f"{row['low']:.3f} to {row['high']:.3f}" in found.text
    assert found.tags.count("svg") == len(summary["scores"]) + 2 + len(summary["scatters"])


HOSTILE = '<img src=x onerror="alert(1)">'
READOUT = "</svg><script>alert('$\\frac{')</script>"


def test_hostile_names_are_shown_and_never_run(maker, renamed):
    target = maker.simulated.screen.targets[0]
    run = maker.run("a <b> & 'c'", rename=lambda r: renamed(r, target, HOSTILE, READOUT))
    config = run.config_path.read_text(encoding="utf-8")
    run.config_path.write_text(config.replace('"simulated"', '"=cmd()|<script>1</script>"'))
    path = write_report(run)
    text = path.read_text(encoding="utf-8")
    assert "<img" not in text
    assert "<script" not in text
    found = Page(text)
    assert {"img", "script"}.isdisjoint(found.tags)
    assert HOSTILE in found.text
    assert "=cmd()|<script>1</script>" in found.text
    assert "a <b> & 'c'" in found.text


def test_missing_pieces_still_make_a_whole_page(maker):
    found = page(maker.run(parts=frozenset()))
    assert "No verdict" in found.text
    assert "no learning curve" in found.text
    assert found.tags.count("svg") == 0
    bare = maker.run("barer", parts=frozenset())
    for name in ("data.json", "split.parquet", "env.json"):
        (bare.path / name).unlink()
    assert "not recorded" in page(bare).text


def test_the_same_run_makes_the_same_page(maker):
    run = maker.run()
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_the_report_can_go_elsewhere_and_says_where_it_cannot(maker, tmp_path):
    run = maker.run(parts=frozenset())
    path = tmp_path / "deep" / "down.html"
    assert write_report(run, path) == path
    assert path.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="could not write"):
        write_report(run, tmp_path / "file" / "x.html")


def test_numbers_are_written_for_people():
    assert number(0.12345) == "0.123"
    assert number(None) == "–"
    assert number(0.00001) == "1.0e-05"
    assert number(-12345.6) == "-12,346"
    assert signed(0.5) == "+0.500"
    assert signed(-0.5) == "-0.500"
    assert signed(-8.5e-7) == "0.000"
    assert count(1234567) == "1,234,567"
