"""``python -m ser_tf.evaluate`` on a small labelled folder and a stub model."""

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge import audio
from edge.classifier import EmotionClassifier
from ser_tf import answers, conditions, evaluate, held_out, metrics
from ser_tf.answers import BABBLE_POOL
from ser_tf.corpora import load_corpus
from ser_tf.splits import make_split, write_split
from tests import stub_model

ROOT = Path(__file__).resolve().parent.parent
LABELS = ("calm", "angry", "sad")
CLIPS = 10  # of each label; the first two sound like another emotion


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Tones named after what the stub hears in them, save that the first two "sad" are "happy"."""
    folder = tmp_path_factory.mktemp("corpus") / "tones"
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for clip in range(CLIPS):
            heard = "happy" if label == "sad" and clip < 2 else label
            sound = stub_model.tone(heard, 0.5 + 0.1 * clip)
            soundfile.write(folder / label / f"{clip}.wav", sound, stub_model.SAMPLE_RATE)
    return folder


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    return stub_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture
def run_folder(tmp_path, corpus, stub):
    """RUN/export/ser_int8.tflite and RUN/split.json, as training leaves them."""
    folder = tmp_path / "run"
    (folder / "export").mkdir(parents=True)
    (folder / "export" / "ser_int8.tflite").write_bytes(stub.read_bytes())
    write_split(make_split(load_corpus(corpus), "common"), folder / "split.json")
    return folder


def command(*arguments):
    """Run the command in this process; its exit status."""
    return evaluate.main([str(argument) for argument in arguments])


def test_the_folder_holds_figures_answers_table_and_picture(tmp_path, corpus, stub, capsys):
    out = tmp_path / "out"
    assert command("--model", stub, "--data", corpus, "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(evaluate.OUTPUTS)
    assert (out / "metrics.md").read_text() == capsys.readouterr().out.rstrip("\n") + "\n"
    for picture in ("confusion.png", "coverage.png"):
        assert (out / picture).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_answers_are_those_of_the_edge_classifier(tmp_path, corpus, stub):
    out = tmp_path / "out"
    command("--model", stub, "--data", corpus, "--out", out)
    classifier = EmotionClassifier(stub)
    with (out / "predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table] == [
        recording.name for recording in make_split(load_corpus(corpus), "common").test
    ]
    for row in table:
        prediction = classifier.predict_file(corpus / f"{row['name']}.wav")
        assert row["answer"] == prediction.emotion
        assert row["truth"] == row["name"].split("/")[0]
        probabilities = [float(row[label]) for label in classifier.labels]
        assert probabilities == pytest.approx(list(prediction.probabilities.values()), abs=1e-6)


def test_the_figures_are_those_of_the_answers(corpus, stub):
    recordings = load_corpus(corpus)
    report = evaluate.figures(stub, evaluate.run(stub, recordings))
    assert report["count"] == len(recordings) == 3 * CLIPS
    assert report["accuracy"] == pytest.approx(1 - 2 / (3 * CLIPS))
    assert report["classes"]["sad"]["recall"] == pytest.approx(1 - 2 / CLIPS)
    assert report["classes"]["happy"] == {
        "count": 0, "precision": 0.0, "recall": None, "f1": None, "accuracy": None,
    }  # fmt: skip
    assert report["model"]["bytes"] == stub.stat().st_size


def test_a_silent_recording_counts_as_wrong(tmp_path, stub):
    for name, level in (("a", 0.3), ("b", 0.0)):
        (tmp_path / "data" / "calm").mkdir(parents=True, exist_ok=True)
        sound = stub_model.tone("calm", 1.0, level=level)
        soundfile.write(tmp_path / "data" / "calm" / f"{name}.wav", sound, stub_model.SAMPLE_RATE)
    report = evaluate.figures(stub, evaluate.run(stub, load_corpus(tmp_path / "data")))
    assert (report["count"], report["silent"], report["accuracy"]) == (2, 1, 0.5)


@pytest.fixture(scope="module")
def robust(corpus, stub):
    """The answers to every third recording under all conditions, and the pool of voices."""
    recordings = load_corpus(corpus)
    pool = evaluate.babble_pool(recordings)
    return evaluate.run(stub, recordings[::3], pool=pool), pool


def test_under_a_condition_each_recording_is_degraded_by_its_own_name(robust, stub):
    answers, pool = robust
    classifier = EmotionClassifier(stub)
    for condition in ("gain -20 dB", "babble at 5 dB", "white noise at 5 dB"):
        for recording, row in zip(answers.recordings, answers.degraded[condition], strict=True):
            others = [voice for name, voice in pool.items() if name != recording.name]
            heard = conditions.conditions(others)[condition](
                audio.load(recording.path), conditions.generator(recording.name, condition)
            )
            probabilities = classifier.predict(heard).probabilities
            assert row == pytest.approx(list(probabilities.values()))


def test_the_figures_of_a_condition_are_those_of_its_answers(robust):
    answers, _ = robust
    degraded = {
        "far": answers.clean.copy(),
        **dict.fromkeys(evaluate.MODERATE_GAINS, answers.clean),
    }
    degraded["far"][:2] = 0.0
    report = evaluate.measured(dataclasses.replace(answers, degraded=degraded))
    count = len(answers.recordings)
    assert report["robust"]["far"]["loss"] == pytest.approx(2 / count)
    assert report["robust"]["far"]["accuracy"] == pytest.approx(report["accuracy"] - 2 / count)
    assert report["robust"]["gain +10 dB"]["loss"] == 0


def test_losses_are_summed_up_over_all_conditions_and_over_moderate_gains():
    losses = {"gain -20 dB": 0.5, "gain -10 dB": 0.1, "gain +10 dB": 0.2, "telephone": 0.4}
    summary = evaluate.robust_summary({name: {"loss": loss} for name, loss in losses.items()})
    assert summary["gain_loss"] == 0.2
    assert summary["mean_loss"] == pytest.approx(0.3)


def test_processes_side_by_side_give_the_same_answers(robust, corpus, stub):
    answers, pool = robust
    again = evaluate.run(stub, load_corpus(corpus)[::3], pool=pool, jobs=2)
    assert again.recordings == answers.recordings
    assert np.array_equal(again.clean, answers.clean)
    assert list(again.degraded) == list(answers.degraded)
    for condition, rows in answers.degraded.items():
        assert np.array_equal(again.degraded[condition], rows)


def test_a_recording_is_no_part_of_its_own_babble(corpus, stub, monkeypatch):
    recordings = load_corpus(corpus)[:3]
    pool = {recording.name: audio.load(recording.path) for recording in recordings}
    heard = []

    def none_but_noted(voices):
        heard.append(list(map(len, voices)))
        return {}

    monkeypatch.setattr(answers, "conditions", none_but_noted)
    evaluate.run(stub, recordings, pool=pool)
    lengths = list(map(len, pool.values()))
    assert len(set(lengths)) == 3
    assert heard[1:] == [[*lengths[:k], *lengths[k + 1 :]] for k in range(3)]


def test_the_babble_is_that_of_the_corpus_whatever_the_order(tmp_path, corpus):
    recordings = load_corpus(corpus)
    pool = evaluate.babble_pool(recordings)
    assert list(evaluate.babble_pool(recordings[::-1])) == list(pool)
    assert len(pool) == min(BABBLE_POOL, len(recordings))


def test_a_corpus_without_a_second_voice_has_no_babble(tmp_path, stub, capsys):
    data = tmp_path / "data"
    (data / "calm").mkdir(parents=True)
    for name, level in (("a", 0.3), ("b", 0.0)):
        sound = stub_model.tone("calm", 1.0, level=level)
        soundfile.write(data / "calm" / f"{name}.wav", sound, stub_model.SAMPLE_RATE)
    options = ("--model", stub, "--data", data, "--split", "elsewhere", "--out", tmp_path / "out")
    assert command(*options, "--robust") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "only 1 of the corpus's 2 recordings has a voice" in error
    assert command(*options) == 0


def test_the_command_writes_the_table_of_conditions(tmp_path, corpus, stub, capsys):
    out = tmp_path / "out"
    assert command("--model", stub, "--data", corpus, "--out", out, "--robust", "--jobs", 2) == 0
    report = json.loads((out / "metrics.json").read_text())
    robust = report["robust"]
    assert set(robust) == {
        *conditions.conditions([np.ones(1, np.float32)]),
        "mean_loss",
        "gain_loss",
    }
    row = robust["babble at 5 dB"]
    assert set(row) == {"accuracy", "uar", "weighted_f1", "loss"}
    assert f"| babble at 5 dB | {100 * row['accuracy']:.1f} % |" in capsys.readouterr().out
    row["loss"] = 0.125
    line = next(line for line in evaluate.markdown(report).splitlines() if "babble at 5 dB" in line)
    assert line.endswith("| 12.5 |")


@pytest.mark.parametrize("place", ["training.json", "export/training.json"])
def test_calibration_without_the_temperature_of_the_run_is_told(run_folder, corpus, place, capsys):
    model = run_folder / "export" / "ser_int8.tflite"
    options = ("--model", model, "--data", corpus, "--json")
    command(*options)
    assert "ece_unscaled" not in json.loads(capsys.readouterr().out)
    (run_folder / place).write_text(json.dumps({"temperature": 0.5}))
    assert command(*options) == 0
    report = json.loads(capsys.readouterr().out)
    used = evaluate.run(model, make_split(load_corpus(corpus), "common").test)
    truth = [recording.emotion for recording in used.recordings]
    raw = np.sqrt(used.clean) / np.sqrt(used.clean).sum(axis=1, keepdims=True)
    assert report["temperature"] == 0.5
    assert report["ece_unscaled"] == pytest.approx(
        metrics.calibration_error(truth, raw, used.labels)
    )
    assert "ECE without temperature 0.50" in evaluate.markdown(report)


def test_a_run_without_a_temperature_has_no_other_calibration(run_folder, corpus, capsys):
    (run_folder / "training.json").write_text(json.dumps({"epochs": 3}))
    model = run_folder / "export" / "ser_int8.tflite"
    assert command("--model", model, "--data", corpus, "--json") == 0
    assert "temperature" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("content", ["[]", "{", '{"temperature": "warm"}'])
def test_a_broken_account_of_the_training_is_one_line(run_folder, corpus, content, capsys):
    (run_folder / "training.json").write_text(content)
    model = run_folder / "export" / "ser_int8.tflite"
    assert command("--model", model, "--data", corpus) == 1
    error = capsys.readouterr().err
    assert "training.json: is not the training.json of a run" in error
    assert error.count("\n") == 1  # found before anything is run
    assert not (run_folder / "export" / "ser_int8-common").exists()


def test_json_goes_to_standard_output_alone(tmp_path, corpus, stub, capsys):
    out = tmp_path / "out"
    assert command("--model", stub, "--data", corpus, "--out", out, "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads((out / "metrics.json").read_text())
    assert "evaluating" in printed.err


def test_a_run_is_tested_on_its_own_split_file(run_folder, corpus, capsys):
    model = run_folder / "export" / "ser_int8.tflite"
    split = run_folder / "split.json"
    assert command("--model", model, "--data", corpus, "--split", split, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["split"] == "common"
    assert report["count"] == len(json.loads(split.read_text())["test"])
    assert (run_folder / "export" / "ser_int8-common" / "metrics.json").is_file()


def test_a_recording_trained_on_is_refused(run_folder, corpus, capsys):
    split = json.loads((run_folder / "split.json").read_text())
    leaked = split["train"][:3]
    other = run_folder.parent / "other.json"
    other.write_text(json.dumps(split | {"test": split["test"] + leaked}))
    model = run_folder / "export" / "ser_int8.tflite"
    assert command("--model", model, "--data", corpus, "--split", other) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "these 3 of the 9 test recordings were trained on" in error
    assert leaked[0] in error
    assert not (run_folder / "export" / "ser_int8-common").exists()


def test_the_split_beside_a_model_is_asked_too(run_folder, corpus, capsys):
    split = json.loads((run_folder / "split.json").read_text())
    other = run_folder.parent / "other.json"
    other.write_text(json.dumps(split | {"test": split["train"]}))
    (run_folder / "split.json").rename(run_folder / "export" / "split.json")
    model = run_folder / "export" / "ser_int8.tflite"
    assert command("--model", model, "--data", corpus, "--split", other) == 1
    assert "were trained on" in capsys.readouterr().err


def test_a_recording_the_model_was_chosen_by_is_refused(run_folder, corpus, capsys):
    split = json.loads((run_folder / "split.json").read_text())
    other = run_folder.parent / "other.json"
    other.write_text(json.dumps(split | {"test": split["validation"]}))
    model = run_folder / "export" / "ser_int8.tflite"
    assert command("--model", model, "--data", corpus, "--split", other) == 1
    assert "used for choosing the model" in capsys.readouterr().err


def test_a_recording_of_a_further_corpus_learnt_from_is_refused(run_folder, corpus, capsys):
    split = json.loads((run_folder / "split.json").read_text())
    extra = {"tones": split["test"][:2]}
    (run_folder / "split.json").write_text(json.dumps(split | {"extra": extra}))
    model = run_folder / "export" / "ser_int8.tflite"
    assert command("--model", model, "--data", corpus) == 1
    assert "these 2 of the 6 test recordings were trained on" in capsys.readouterr().err


def test_an_earlier_evaluation_is_replaced(tmp_path, corpus, stub):
    out = tmp_path / "out"
    arguments = ("--model", stub, "--data", corpus, "--out", out)
    command(*arguments)
    before = (out / "metrics.json").read_text()
    (out / "metrics.md").write_text("old")
    assert command(*arguments) == 0
    assert (out / "metrics.json").read_text() == before
    assert (out / "metrics.md").read_text() != "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failure_leaves_the_earlier_evaluation(tmp_path, corpus, stub, monkeypatch):
    out = tmp_path / "out"
    arguments = ("--model", stub, "--data", corpus, "--out", out)
    command(*arguments)
    (out / "metrics.md").write_text("old")

    def full(*_, **__):
        raise OSError(28, "No space left on device", "confusion.png")

    monkeypatch.setattr(evaluate.plots, "confusion_matrix", full)
    assert command(*arguments) == 1
    assert (out / "metrics.md").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_something_else_is_not_touched(run_folder, corpus, stub, capsys):
    command("--model", stub, "--data", corpus, "--out", run_folder.parent / "out")
    shutil.copy(run_folder.parent / "out" / "metrics.json", run_folder)
    capsys.readouterr()
    before = sorted(run_folder.rglob("*"))
    assert command("--model", stub, "--data", corpus, "--out", run_folder) == 1
    assert "holds files that are no evaluation" in capsys.readouterr().err
    assert sorted(run_folder.rglob("*")) == before


def test_the_evaluation_of_another_model_is_not_replaced(tmp_path, corpus, stub, capsys):
    out = tmp_path / "out"
    command("--model", stub, "--data", corpus, "--out", out)
    other = stub_model.write(tmp_path, "other.tflite")
    capsys.readouterr()
    assert command("--model", other, "--data", corpus, "--out", out) == 1
    assert "holds the evaluation of ser.tflite on tones, split common" in capsys.readouterr().err


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


def test_all_of_a_new_corpus_is_asked_elsewhere(corpus):
    recordings = load_corpus(corpus)
    assert held_out.choose_test(recordings, "elsewhere") == ("elsewhere", recordings)


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
    changes, words, tmp_path, corpus, stub, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.tflite").write_text("not a model")
    (tmp_path / "half.tflite").write_bytes(stub.read_bytes()[: stub.stat().st_size // 2])
    (tmp_path / "text.json").write_text("{}")
    foreign = {"name": "common", "train": [], "validation": [], "test": ["a", "b"]}
    (tmp_path / "foreign.json").write_text(json.dumps(foreign))
    before = sorted(tmp_path.rglob("*"))
    options = {"--model": stub, "--data": corpus, "--out": "out"} | changes
    assert command(*(word for option in options.items() for word in option)) == 1
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_foreign_model_ends_the_process_with_one_line_and_status_1(tmp_path, corpus):
    model = tmp_path / "clip.tflite"
    model.write_bytes(b"RIFF")
    done = subprocess.run(
        [sys.executable, "-m", "ser_tf.evaluate", "--model", model, "--data", corpus],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{model}: is not a TFLite model; name a .tflite file\n"


def test_recordings_whose_emotion_a_model_does_not_know_are_left_out(corpus, capsys):
    recordings = load_corpus(corpus)
    kept = held_out.answerable(recordings, ("calm", "sad", "tired"))
    assert [r.name for r in kept] == [r.name for r in recordings if r.emotion != "angry"]
    assert capsys.readouterr().err == (
        "10 of 30 test recordings left out: the model does not know angry\n"
    )
    assert held_out.answerable(recordings, LABELS) == recordings
    assert capsys.readouterr().err == ""
    with pytest.raises(answers.EvaluateError, match=r"no test recording has .* tired"):
        held_out.answerable(recordings, ("tired",))


def test_an_unknown_option_is_a_usage_error(stub):
    with pytest.raises(SystemExit) as stop:
        command("--model", stub, "--threads", "0")
    assert stop.value.code == 2
