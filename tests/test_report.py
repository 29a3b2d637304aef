"""The HTML report: one page that needs nothing beside it."""

import base64
import csv
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from ser_tf.report import Report, ReportError
from tests.html_page import Page


def drawing():
    figure = Figure(figsize=(4, 2), layout="constrained")
    axes = figure.subplots()
    axes.scatter([1, 2], [3, 4], rasterized=True)
    axes.plot([1, 2], [4, 3], label="<line>")
    axes.legend()
    return figure


def full_report():
    report = Report("Voices & <b>noise</b>", "RAVDESS <i>all</i> of it.")
    report.section("Counts")
    report.text("fewer < more")
    report.table(
        ["emotion", "files", "share"], [["<calm>", 376, 0.125]], caption="<Counts>", name="counts"
    )
    report.section("Pictures & players")
    report.figure(drawing(), "first", caption="<One>", alt='a "quoted" <alt>')
    report.figure(drawing(), "second", caption="Two", alt="another")
    report.figure(drawing(), "dense", caption="Three", alt="dots", raster=True)
    report.audio(b"RIFF....", "audio/wav", caption="<clip>.wav")
    report.data(["name"], [["a"], ["b"]], caption="All <names>:", name="names")
    return report


def short_report():
    report = Report("Title", "Lead")
    report.table(["name", "x"], [["a, b", 0.123456789], ["c", None]], caption="c", name="values")
    return report


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "out"
    full_report().write(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return Page(folder / "index.html")


def test_what_was_written_is_shown_as_it_was_written(page):
    for text in (
        *("Voices & <b>noise</b>", "RAVDESS <i>all</i> of it.", "fewer < more", "<calm>"),
        *("<Counts>", "<One>", "<clip>.wav", "All <names>:", "<line>"),
    ):
        assert text in page.text
    assert not page.all("b")
    assert not page.all("i")


def test_the_page_asks_for_nothing_outside_itself(folder, page):
    policy = next(
        tag["content"] for tag in page.all("meta") if "content" in tag and "http-equiv" in tag
    )
    assert policy.startswith("default-src 'none'")
    for tag, attributes in page.tags:
        for name in ("src", "xlink:href", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), tag
        if tag == "a":
            target = attributes["href"]
            assert target.startswith("#") or (folder / target).is_file()
    text = (folder / "index.html").read_text()
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_the_contents_lead_to_every_section(page):
    anchors = {tag["id"] for tag in page.all("h2")}
    inside = {tag["href"][1:] for tag in page.all("a") if tag["href"].startswith("#")}
    assert inside == {"counts", "pictures-players", "content"}
    assert {"counts", "pictures-players"} <= anchors


def test_pictures_say_in_words_what_they_show(page):
    labels = [tag["aria-label"] for tag in page.all("svg") if tag.get("role") == "img"]
    assert labels == ['a "quoted" <alt>', "another"]
    assert [tag["alt"] for tag in page.all("img")] == ["dots"]


def test_pictures_drawn_alike_share_no_id(page):
    ids = [tag["id"] for _, tag in page.tags if "id" in tag]
    assert len(ids) == len(set(ids))
    used = {tag["xlink:href"][1:] for tag in page.all("use")}
    assert used <= set(ids)


def test_pictures_are_the_same_in_every_run(folder, tmp_path):
    full_report().write(tmp_path / "again")
    names = {path.name for path in folder.iterdir()}
    assert {"first.svg", "first.png", "dense.svg", "dense.png", "counts.csv"} <= names
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_player_holds_its_recording(page):
    (player,) = page.all("audio")
    assert base64.b64decode(player["src"].removeprefix("data:audio/wav;base64,")) == b"RIFF...."


def test_numbers_stand_to_the_right_and_share_their_decimals(tmp_path):
    report = Report("Title", "Lead")
    rows = [["a", 1234, 0.5, "12.5 %", "03-01", None], ["b", -7, np.float32(12.25), "–", "x", 2.0]]
    report.table(["name", "int", "float", "share", "code", "gap"], rows, caption="c", name="t")
    page = Page(report.write(tmp_path / "out"))
    cells = [
        "number" in (tag.get("class") or "") for name, tag in page.tags if name in ("td", "th")
    ]
    assert cells[:6] == cells[6:12] == cells[12:] == [False, True, True, True, False, True]
    for shown in ("1,234", "−7", "0.5", "12.2", "12.5 %", "2.00"):
        assert shown in page.text


def test_a_named_table_keeps_the_values_as_they_came(tmp_path):
    short_report().write(tmp_path / "out")
    with (tmp_path / "out" / "values.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["name", "x"], ["a, b", "0.123456789"], ["c", ""]]


def test_an_earlier_report_is_replaced_with_all_it_held(tmp_path):
    short_report().write(tmp_path / "out")
    Report("Other", "Lead").write(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["index.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["notes.txt", "index.html"])
def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("<p>mine</p>")
    with pytest.raises(ReportError, match=r"out: holds files that are no report"):
        short_report().write(tmp_path / "out")
    assert (tmp_path / "out" / name).read_text() == "<p>mine</p>"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    for out in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(ReportError, match="is a file"):
            short_report().write(out)


def test_a_write_that_fails_leaves_the_earlier_report(tmp_path, monkeypatch):
    before = short_report().write(tmp_path / "out").read_bytes()
    report = Report("Other", "Lead")
    monkeypatch.setattr(report, "_files", {"first.png": "not bytes"})
    with pytest.raises(TypeError):
        report.write(tmp_path / "out")
    assert (tmp_path / "out" / "index.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_files_of_one_name_are_refused():
    report = short_report()
    with pytest.raises(ValueError, match=r"holds a values\.csv already"):
        report.data(["a"], [[1]], caption="c", name="values")
    with pytest.raises(ValueError, match="lower-case words"):
        report.table(["a"], [[1]], caption="c", name="../Escape")
