"""``python -m ser_tf.evaluate --unlabelled``: a folder of recordings in, a table out."""

import csv
import io

import numpy as np
import pytest
import soundfile

from edge.classifier import EmotionClassifier
from ser_tf import evaluate
from tests.stub_model import EMOTIONS, SAMPLE_RATE, tone


@pytest.fixture
def clips(tmp_path):
    """A folder with a happy, a silent and a sad clip, and what else lies about in folders."""
    folder = tmp_path / "clips"
    (folder / "more").mkdir(parents=True)
    soundfile.write(folder / "a happy, loud.wav", tone("happy", 2.0), SAMPLE_RATE)
    soundfile.write(folder / "more" / "silent.ogg", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    soundfile.write(folder / "sad.flac", tone("sad", 1.5), SAMPLE_RATE)
    (folder / "notes.txt").write_text("not a recording")
    return folder


@pytest.fixture
def answer(stub, capsys):
    """Run the command in this process: exit status, rows on stdout, what stands on stderr."""

    def call(folder, *more):
        options = ["--model", stub, "--unlabelled", folder, *more]
        status = evaluate.main([str(option) for option in options])
        out, err = capsys.readouterr()
        return status, list(csv.DictReader(io.StringIO(out))), err

    return call


def test_every_recording_gets_a_row_with_all_probabilities(answer, clips, stub):
    status, rows, _ = answer(clips)
    assert status == 0
    assert list(rows[0]) == ["file", "start", "end", "emotion", "confidence", *EMOTIONS, "error"]
    found = {row["file"]: row for row in rows}
    assert list(found) == ["a happy, loud.wav", "more/silent.ogg", "sad.flac"]
    classifier = EmotionClassifier(stub)
    for name in ("a happy, loud.wav", "sad.flac"):
        said = classifier.predict_file(clips / name)
        row = found[name]
        assert (row["emotion"], row["error"]) == (said.emotion, "")
        assert float(row["confidence"]) == pytest.approx(said.confidence, abs=1e-6)
        shares = [float(row[emotion]) for emotion in EMOTIONS]
        assert shares == pytest.approx(list(said.probabilities.values()), abs=1e-6)
    assert [(row["start"], row["end"]) for row in rows] == [
        ("0.000", "2.000"), ("0.000", "1.000"), ("0.000", "1.500"),
    ]  # fmt: skip


def test_silence_is_an_answer_without_probabilities(answer, clips):
    silent = answer(clips)[1][1]
    assert (silent["emotion"], float(silent["confidence"]), silent["error"]) == ("silence", 0, "")
    assert {silent[emotion] for emotion in EMOTIONS} == {""}


def test_a_damaged_file_costs_its_own_row_and_the_exit_status(answer, clips):
    (clips / "empty.wav").write_bytes(b"")
    status, rows, err = answer(clips)
    assert status == 1
    assert [row["emotion"] for row in rows] == ["happy", "", "silence", "sad"]
    damaged = rows[1]
    assert damaged["error"] == "is empty (0 bytes); record it again"
    assert {damaged[column] for column in ("start", "end", "confidence", *EMOTIONS)} == {""}
    assert "1 of 4 files could not be used" in err


def test_the_table_can_be_a_file_that_appears_whole(answer, clips, tmp_path, monkeypatch):
    out = tmp_path / "new" / "answers.csv"
    printed = answer(clips)[1]
    assert answer(clips, "--out", out)[:2] == (0, [])
    before = out.read_text(encoding="utf-8")
    assert list(csv.DictReader(io.StringIO(before))) == printed
    assert answer(clips, "--out", out)[0] == 0  # its own table is written anew

    def cut_off(*_):
        raise OSError(28, "No space left on device", "disk")

    monkeypatch.setattr(EmotionClassifier, "predict_file", cut_off)
    assert answer(clips, "--out", out)[0] == 1
    assert out.read_text(encoding="utf-8") == before
    assert [path.name for path in out.parent.iterdir()] == ["answers.csv"]


def test_a_name_in_no_encoding_is_spelt_out(answer, clips):
    odd = clips / b"\xff.wav".decode(errors="surrogateescape")
    (clips / "sad.flac").rename(odd)
    status, rows, _ = answer(clips)
    assert (status, rows[-1]["file"], rows[-1]["emotion"]) == (0, "\\xff.wav", "sad")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--unlabelled": "nowhere"}, "nowhere: does not exist"),
        ({"--unlabelled": "sad.flac"}, "sad.flac: is a file; for one: python edge/run.py sad.flac"),
        ({"--unlabelled": "none"}, "none: holds no recordings"),
        ({"--model": "nowhere.tflite"}, "nowhere.tflite: does not exist"),
        ({"--out": "notes.txt"}, "notes.txt: is no table of answers"),
        ({"--out": "more"}, "more: is a folder"),
        ({"--out": "notes.txt/a.csv"}, "notes.txt/a.csv: cannot be made"),
    ],
)
def test_what_cannot_be_answered_is_one_line(changes, words, clips, stub, monkeypatch, capsys):
    monkeypatch.chdir(clips)
    (clips / "none").mkdir()
    before = sorted(clips.rglob("*"))
    options = {"--model": stub, "--unlabelled": ".", "--out": "answers.csv"} | changes
    assert evaluate.main([str(word) for option in options.items() for word in option]) == 1
    printed = capsys.readouterr()
    assert words in printed.err
    assert (printed.err.count("\n"), printed.out) == (1, "")
    assert sorted(clips.rglob("*")) == before


@pytest.mark.parametrize(
    "option",
    [
        ["--data", "x"], ["--split", "actors:0"], ["--report"], ["--robust"], ["--json"],
        ["--embed-audio"],
        ["--against", "x.tflite"], ["--jobs", "2"], ["--strict"],
    ],
)  # fmt: skip
def test_nothing_is_measured_without_labels(option, answer, clips, capsys):
    with pytest.raises(SystemExit) as stop:
        answer(clips, *option)
    assert stop.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert option[0] in error
    assert "not" in error
