"""``python -m ser_tf.evaluate`` on a small labelled folder and a stub model."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.classifier import EmotionClassifier
from ser_tf import evaluate, metrics
from ser_tf.corpora import load_corpus
from ser_tf.splits import make_split
from tests import stub_model
from tests.evaluation import CLIPS, LABELS, command

ROOT = Path(__file__).resolve().parent.parent


def test_the_folder_holds_figures_answers_table_and_picture(tmp_path, tones, stub, capsys):
    out = tmp_path / "out"
    assert command("--model", stub, "--data", tones, "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(evaluate.OUTPUTS)
    assert (out / "metrics.md").read_text() == capsys.readouterr().out.rstrip("\n") + "\n"
    for picture in ("confusion.png", "coverage.png"):
        assert (out / picture).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_answers_are_those_of_the_edge_classifier(tmp_path, tones, stub):
    out = tmp_path / "out"
    command("--model", stub, "--data", tones, "--out", out)
    classifier = EmotionClassifier(stub)
    with (out / "predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == [
        recording.name for recording in make_split(load_corpus(tones), "common").test
    ]
    for row in table:
        prediction = classifier.predict_file(tones / f"{row['name']}.wav")
        assert row["answer"] == prediction.emotion
        assert row["truth"] == row["name"].split("/")[0]
        probabilities = [float(row[label]) for label in classifier.labels]
        assert probabilities == pytest.approx(list(prediction.probabilities.values()), abs=1e-6)


def test_the_figures_are_those_of_the_answers(tones, stub):
    recordings = load_corpus(tones)
    report = evaluate.figures(stub, evaluate.run(stub, recordings))
    assert report["count"] == len(recordings) == 3 * CLIPS
    assert report["accuracy"] == pytest.approx(1 - 2 / (3 * CLIPS))
    assert report["classes"]["sad"]["recall"] == pytest.approx(1 - 2 / CLIPS)
    assert report["classes"]["happy"] == {
        "count": 0, "precision": 0.0, "recall": None, "f1": None, "accuracy": None,
    }  # fmt: skip
    assert report["model"]["bytes"] == stub.stat().st_size


def test_the_table_says_what_is_right_among_the_emotions_that_occur(tones, stub):
    recordings = load_corpus(tones)
    report = evaluate.figures(stub, evaluate.run(stub, recordings)) | evaluate.facts(
        str(tones), recordings, "elsewhere", len(recordings)
    )
    report["among_present"]["uar"] = 0.9875
    lines = evaluate.markdown(report).splitlines()
    assert "| UAR, answered among the 3 emotions that occur | 98.8 % | |" in lines


def test_a_silent_recording_counts_as_wrong(tmp_path, stub):
    for name, level in (("a", 0.3), ("b", 0.0)):
        (tmp_path / "data" / "calm").mkdir(parents=True, exist_ok=True)
        sound = stub_model.tone("calm", 1.0, level=level)
        soundfile.write(tmp_path / "data" / "calm" / f"{name}.wav", sound, stub_model.SAMPLE_RATE)
    report = evaluate.figures(stub, evaluate.run(stub, load_corpus(tmp_path / "data")))
    assert (report["count"], report["silent"], report["accuracy"]) == (2, 1, 0.5)


@pytest.mark.parametrize("place", ["training.json", "export/training.json"])
def test_calibration_without_the_temperature_of_the_run_is_told(run_folder, tones, place, capsys):
    model = run_folder / "export" / "ser_int8.tflite"
    options = ("--model", model, "--data", tones, "--json")
    command(*options)
    assert "ece_unscaled" not in json.loads(capsys.readouterr().out)
    (run_folder / place).write_text(json.dumps({"temperature": 0.5}))
    assert command(*options) == 0
    report = json.loads(capsys.readouterr().out)
    used = evaluate.run(model, make_split(load_corpus(tones), "common").test)
    truth = [recording.emotion for recording in used.recordings]
    raw = np.sqrt(used.clean) / np.sqrt(used.clean).sum(axis=1, keepdims=True)
    assert report["temperature"] == 0.5
    assert report["ece_unscaled"] == pytest.approx(
        metrics.calibration_error(truth, raw, used.labels)
    )
    assert "ECE without temperature 0.50" in evaluate.markdown(report)


def test_a_run_without_a_temperature_has_no_other_calibration(run_folder, tones, capsys):
    (run_folder / "training.json").write_text(json.dumps({"epochs": 3}))
    model = run_folder / "export" / "ser_int8.tflite"
    assert command("--model", model, "--data", tones, "--json") == 0
    assert "temperature" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("content", ["[]", "{", '{"temperature": "warm"}'])
def test_a_broken_account_of_the_training_is_one_line(run_folder, tones, content, capsys):
    (run_folder / "training.json").write_text(content)
    model = run_folder / "export" / "ser_int8.tflite"
    assert command("--model", model, "--data", tones) == 1
    error = capsys.readouterr().err
    assert "training.json: is not the training.json of a run" in error
    assert error.count("\n") == 1  # found before anything is run
    assert not (run_folder / "export" / "ser_int8-common").exists()


def test_json_goes_to_standard_output_alone(tmp_path, tones, stub, capsys):
    out = tmp_path / "out"
    assert command("--model", stub, "--data", tones, "--out", out, "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads((out / "metrics.json").read_text())
    assert "evaluating" in printed.err


def test_an_earlier_evaluation_is_replaced(tmp_path, tones, stub):
    out = tmp_path / "out"
    arguments = ("--model", stub, "--data", tones, "--out", out)
    command(*arguments)
    before = (out / "metrics.json").read_text()
    (out / "metrics.md").write_text("old")
    assert command(*arguments) == 0
    assert (out / "metrics.json").read_text() == before
    assert (out / "metrics.md").read_text() != "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_the_earlier_evaluation(tmp_path, tones, stub, monkeypatch):
    out = tmp_path / "out"
    arguments = ("--model", stub, "--data", tones, "--out", out)
    command(*arguments)
    (out / "metrics.md").write_text("old")

    def full(*_, **__):
        raise OSError(28, "No space left on device", "confusion.png")

    monkeypatch.setattr(evaluate.plots, "confusion_matrix", full)
    assert command(*arguments) == 1
    assert (out / "metrics.md").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_something_else_is_not_touched(run_folder, tones, stub, capsys):
    command("--model", stub, "--data", tones, "--out", run_folder.parent / "out")
    shutil.copy(run_folder.parent / "out" / "metrics.json", run_folder)
    capsys.readouterr()
    before = sorted(run_folder.rglob("*"))
    assert command("--model", stub, "--data", tones, "--out", run_folder) == 1
    assert "holds files that are no evaluation" in capsys.readouterr().err
    assert sorted(run_folder.rglob("*")) == before


def test_the_evaluation_of_another_model_is_not_replaced(tmp_path, tones, stub, capsys):
    out = tmp_path / "out"
    command("--model", stub, "--data", tones, "--out", out)
    other = stub_model.write(tmp_path, "other.tflite")
    capsys.readouterr()
    assert command("--model", other, "--data", tones, "--out", out) == 1
    assert "holds the evaluation of stub.tflite on tones, split common" in capsys.readouterr().err


@pytest.fixture
def partly_broken(tmp_path):
    """Nine clips of which one has a good header and no numbers in it."""
    for label in LABELS:
        (tmp_path / "data" / label).mkdir(parents=True)
        for clip in range(3):
            sound = stub_model.tone(label, 0.5)
            if (label, clip) == ("calm", 1):
                sound = np.full_like(sound, np.nan)
            path = tmp_path / "data" / label / f"{clip}.wav"
            soundfile.write(path, sound, stub_model.SAMPLE_RATE, subtype="FLOAT")
    return load_corpus(tmp_path / "data")


def test_an_unreadable_recording_is_left_out_with_a_warning(partly_broken, stub, capsys):
    report = evaluate.figures(stub, evaluate.run(stub, partly_broken))
    assert (report["count"], report["left_out"]) == (8, 1)
    error = capsys.readouterr().err
    assert "calm/1.wav: holds values that are not numbers" in error
    assert "1 of 9 recordings left out" in error


def test_strict_makes_an_unreadable_recording_an_error(partly_broken, stub):
    with pytest.raises(evaluate.EvaluateError, match=r"calm/1.wav: holds values that are not"):
        evaluate.run(stub, partly_broken, strict=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--model": "nowhere.tflite"}, "nowhere.tflite: does not exist"),
        ({"--model": "text.tflite"}, "text.tflite: is not a TFLite model"),
        ({"--model": "half.tflite"}, "half.tflite: "),
        ({"--data": "nowhere"}, "nowhere: no such folder"),
        ({"--split": "halves"}, "split 'halves'"),
        ({"--split": "all"}, "holds nothing out to test on"),
        ({"--split": "nowhere.json"}, "nowhere.json: cannot be read"),
        ({"--split": "text.json"}, "text.json: is not the split.json of a run"),
        ({"--split": "foreign.json"}, "2 of its 2 test recordings are not in the corpus"),
        ({"--out": "text.json"}, "text.json: is a file"),
        ({"--out": "text.json/below"}, "text.json/below: cannot be made"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(
    changes, words, tmp_path, tones, stub, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.tflite").write_text("not a model")
    (tmp_path / "half.tflite").write_bytes(stub.read_bytes()[: stub.stat().st_size // 2])
    (tmp_path / "text.json").write_text("{}")
    foreign = {"name": "common", "train": [], "validation": [], "test": ["a", "b"]}
    (tmp_path / "foreign.json").write_text(json.dumps(foreign))
    before = sorted(tmp_path.rglob("*"))
    options = {"--model": stub, "--data": tones, "--out": "out"} | changes
    assert command(*(word for option in options.items() for word in option)) == 1
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_foreign_model_ends_the_process_with_one_line_and_status_1(tmp_path, tones):
    model = tmp_path / "clip.tflite"
    model.write_bytes(b"RIFF")
    done = subprocess.run(
        [sys.executable, "-m", "ser_tf.evaluate", "--model", model, "--data", tones],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{model}: is not a TFLite model; name a .tflite file\n"


def test_an_unknown_option_is_a_usage_error(stub):
    with pytest.raises(SystemExit) as stop:
        command("--model", stub, "--threads", "0")
    assert stop.value.code == 2
