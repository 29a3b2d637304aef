"""``python -m ser_tf.explore``: what it writes of corpora whose counts are known."""

import csv
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_tf import explore
from ser_tf.corpus_report import survey
from ser_tf.report import Report
from tests import stub_model
from tests.html_page import Page

ROOT = Path(__file__).resolve().parent.parent
RATE = stub_model.SAMPLE_RATE
RAVDESS = dict.fromkeys(("calm", "happy", "sad", "angry", "fearful"), 376) | {
    "neutral": 188,
    "disgust": 192,
    "surprised": 192,
}


def command(*arguments):
    return explore.main([str(argument) for argument in arguments])


def rows(folder, name):
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def voice(seconds, pitch=150.0):
    time = np.arange(round(RATE * seconds)) / RATE
    return 0.2 * np.sign(np.sin(2 * np.pi * pitch * time)) * np.sin(2 * np.pi * 2 * time)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twelve voices of three labels, one that this project does not know, and odd files."""
    folder = tmp_path_factory.mktemp("corpus") / "mine"
    for speaker, pitch in (("anna", 220.0), ("ben", 110.0)):
        for label, raised in (("happy", 1.3), ("sad", 1.0), ("bored", 0.9)):
            (folder / label / speaker).mkdir(parents=True)
            for clip in range(2):
                sound = voice(0.5 + 0.1 * clip, raised * pitch)
                soundfile.write(folder / label / speaker / f"{clip}.wav", sound, RATE)
    odd = folder / "sad" / "ben"
    soundfile.write(odd / "stereo.wav", np.stack([voice(0.5), -0.5 * voice(0.5)], 1), RATE)
    soundfile.write(odd / "clipped.wav", np.clip(9 * voice(0.5), -1, 1), RATE)
    soundfile.write(odd / "silent.wav", np.zeros(RATE // 2), RATE)
    (odd / "copy.wav").write_bytes((folder / "happy" / "anna" / "0.wav").read_bytes())
    (odd / "text.wav").write_text("no sound")
    whole = (odd / "0.wav").read_bytes()
    (odd / "cut.wav").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="module")
def written(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("written") / "report"
    assert command("--data", corpus, "--out", out) == 0
    return out


def test_files_are_counted_by_label_and_speaker(written):
    counts = {row["emotion"]: int(row["files"]) for row in rows(written, "emotions")}
    assert counts == {"happy": 4, "sad": 8, "bored": 4, "all": 16}
    assert {row["speaker"]: row["files"] for row in rows(written, "speakers")} == {
        "anna": "6",
        "ben": "10",
    }


def test_the_page_shows_what_the_tables_say(written):
    page = Page(written / "index.html")
    caption = "mine, all 16 recordings: files by emotion and what else the corpus says of them."
    header, *body = page.tables[caption]
    assert header == ["emotion", "files", "minutes"]
    assert [row[:2] for row in body] == [
        ["happy", "4"],
        ["sad", "8"],
        ["bored", "4"],
        ["all", "16"],
    ]
    assert "16 recordings by 2 speakers" in page.text


def test_every_recording_has_a_row_of_facts_and_one_of_descriptors(corpus, written):
    facts, features = rows(written, "files"), rows(written, "features")
    assert [row["name"] for row in facts] == [row["name"] for row in features]
    assert len(facts) == 16
    for row in facts:
        assert float(row["seconds"]) == soundfile.info(corpus / f"{row['name']}.wav").duration
    pitch = {row["name"]: float(row["pitch_median_hz"] or "nan") for row in features}
    assert pitch["sad/ben/0"] == pytest.approx(110, rel=0.03)
    assert pitch["sad/anna/0"] == pytest.approx(220, rel=0.03)


def test_damaged_and_odd_files_are_listed_and_cost_their_own_row(written):
    remarks = {row["file"]: row["what stands out"] for row in rows(written, "odd")}
    assert "not audio" in remarks.pop("sad/ben/text.wav")
    assert "is cut short" in remarks.pop("sad/ben/cut.wav")
    assert remarks.pop("sad/ben/clipped").startswith("is clipped")
    assert remarks == {
        "sad/ben/stereo": "is stereo, most are mono",
        "sad/ben/silent": "is silent",
    }


def test_files_are_named_below_the_corpus_however_it_is_named(corpus, monkeypatch):
    monkeypatch.chdir(corpus.parent)
    listed = ("path,emotion", "mine/sad/ben/cut.wav,sad", "gone.wav,sad", "mine/sad/ben/0.wav,sad")
    (corpus.parent / "table.csv").write_text("\n".join(listed))
    for data, wanted in (
        ("mine", {"sad/ben/text.wav", "sad/ben/cut.wav"}),
        (f"../{corpus.parent.name}/mine/", {"sad/ben/text.wav", "sad/ben/cut.wav"}),
        ("table.csv", {"mine/sad/ben/cut.wav", "table.csv, row 3: gone.wav"}),
    ):
        assert {where for where, _ in explore.study(data, 1).unusable} == wanted


def test_a_copy_under_another_label_is_found(written):
    (row,) = rows(written, "identical")
    assert set(row.values()) == {"happy/anna/0", "sad/ben/copy", "happy", "sad"}


def test_the_folder_holds_no_recording(written):
    assert {path.suffix for path in written.iterdir()} == {".html", ".csv", ".png", ".svg"}
    assert not Page(written / "index.html").all("audio")


def test_every_picture_is_there_twice_and_names_its_corpus(written):
    drawn = {path.stem for path in written.glob("*.svg")}
    assert drawn == {path.stem for path in written.glob("*.png")}
    assert drawn == {
        *("recordings", "levels", "speakers", "examples", "scalars", "profiles", "vectors"),
        *("correlations", "map"),
    }
    for path in written.glob("*.svg"):
        assert "mine" in path.read_text()


def test_a_corpus_of_one_label_without_speakers_is_explored(tmp_path, capsys):
    label = "5$ <^$_ calm"
    (tmp_path / "clips" / label).mkdir(parents=True)
    for clip in range(2):
        soundfile.write(tmp_path / "clips" / label / f"{clip}.wav", voice(0.3 + clip), RATE)
    assert command("--data", tmp_path / "clips", "--out", tmp_path / "out") == 0
    assert f"clips: 2 recordings, 0.0 minutes, labelled {label}." in capsys.readouterr().out
    assert {row["η² emotion"] for row in rows(tmp_path / "out", "families")} == {""}
    page = Page(tmp_path / "out" / "index.html")
    assert "too few for a map" in page.text
    assert label in page.text


def test_the_originals_are_counted_as_they_are(real_data, tmp_path, monkeypatch):
    monkeypatch.setattr(Report, "figure", lambda *_, **__: None)
    assert command("--data", real_data / "ravdess_original", "--out", tmp_path / "out") == 0
    formats = {row["channels"]: row for row in rows(tmp_path / "out", "formats")}
    assert {channels: row["files"] for channels, row in formats.items()} == {"1": "15", "2": "6"}
    assert {row["sample rate, Hz"] for row in formats.values()} == {"48000"}
    assert {row["bits"] for row in formats.values()} == {"16"}
    (pair,) = rows(tmp_path / "out", "identical")
    assert {pair["file"], pair["sounds like"]} == {"03-01-03-01-02-01-07", "03-01-03-01-02-02-07"}
    total = rows(tmp_path / "out", "emotions")[-1]
    assert (total["files"], total["song"], total["speech"]) == ("21", "7", "14")
    assert [row["what stands out"] for row in rows(tmp_path / "out", "odd")] == [
        "is stereo, most are mono"
    ] * 6


def test_the_committed_report_holds_the_known_counts():
    folder = ROOT / "docs" / "corpus"
    emotions = {row["emotion"]: row for row in rows(folder, "emotions")}
    assert {name: int(row["files"]) for name, row in emotions.items()} == RAVDESS | {"all": 2452}
    assert (emotions["all"]["speech"], emotions["all"]["song"]) == ("1440", "1012")
    speakers = {row["speaker"]: int(row["files"]) for row in rows(folder, "speakers")}
    assert len(speakers) == 24
    assert speakers.pop("actor-18") == 60  # who has no songs
    assert set(speakers.values()) == {104}
    assert Counter(row["emotion"] for row in rows(folder, "files")) == RAVDESS
    assert "2,452 recordings by 24 speakers" in Page(folder / "index.html").text


def test_processes_find_what_one_finds(corpus, monkeypatch):
    recordings = explore.load_corpus(corpus, labels=None)[:4]
    alone = list(explore._measured(recordings, 1))
    monkeypatch.setattr(explore, "WORTH_A_PROCESS", 2)
    for found, wanted in zip(explore._measured(recordings, 2), alone, strict=True):
        assert not isinstance(found, str)
        assert not isinstance(wanted, str)
        assert found[0] == wanted[0]
        assert found[1] == pytest.approx(wanted[1], rel=1e-4, abs=1e-4, nan_ok=True)


@pytest.mark.slow
def test_processes_begin_together_where_nothing_is_compiled_yet(corpus, tmp_path):
    code = (
        "import sys; from ser_tf import explore; explore.WORTH_A_PROCESS = 2;"
        "sys.exit(explore.main(sys.argv[1:]))"
    )
    options = ["--data", corpus, "--out", tmp_path / "out", "--jobs", "4"]
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, options)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "compiled")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    assert list((tmp_path / "compiled").rglob("guf-*.nbi"))


def test_what_cannot_be_explored_is_said_in_one_line(corpus, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear diary")
    assert command("--data", corpus, "--out", tmp_path / "mine") == 1
    assert capsys.readouterr().err.strip() == (
        f"{tmp_path / 'mine'}: holds files that are no report; give another --out"
    )
    assert command("--data", tmp_path / "absent", "--out", tmp_path / "out") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_corpus_of_which_nothing_can_be_read_is_refused(corpus, tmp_path, capsys):
    (tmp_path / "clips" / "sad").mkdir(parents=True)
    cut = (corpus / "sad" / "ben" / "cut.wav").read_bytes()
    (tmp_path / "clips" / "sad" / "cut.wav").write_bytes(cut)
    assert command("--data", tmp_path / "clips", "--out", tmp_path / "out") == 1
    assert "none of its 1 recordings can be read" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_that_only_the_survey_cannot_read_costs_its_own_row(corpus, monkeypatch):
    def fail(*_):
        raise survey.soundfile.SoundFileError("seek failed")

    monkeypatch.setattr(survey.soundfile, "SoundFile", fail)
    path = corpus / "sad" / "ben" / "0.wav"
    with pytest.raises(survey.audio.AudioError, match=r"0\.wav: cannot be read \(seek failed\)"):
        survey.inspect(path, np.zeros(RATE, np.float32))


def test_help_fits_a_screen():
    assert len(explore._parser().format_help().splitlines()) <= 30


def test_exploring_needs_no_tensorflow():
    code = "import ser_tf.explore, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
