"""``python -m ser_tf.evaluate`` asks a model about no recording that it has learnt from."""

import json

import pytest

from ser_tf import answers, held_out
from ser_tf.corpora import load_corpus
from tests.evaluation import LABELS, command


def test_a_run_is_tested_on_its_own_split_file(run_folder, tones, capsys):
    model = run_folder / "export" / "ser_int8.tflite"
    split = run_folder / "split.json"
    assert command("--model", model, "--data", tones, "--split", split, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["split"] == "common"
    assert report["count"] == len(json.loads(split.read_text())["test"])
    assert (run_folder / "export" / "ser_int8-common" / "metrics.json").is_file()


def test_a_recording_trained_on_is_refused(run_folder, tones, capsys):
    split = json.loads((run_folder / "split.json").read_text())
    leaked = split["train"][:3]
    other = run_folder.parent / "other.json"
    other.write_text(json.dumps(split | {"test": split["test"] + leaked}))
    model = run_folder / "export" / "ser_int8.tflite"
    assert command("--model", model, "--data", tones, "--split", other) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "these 3 of the 9 test recordings were trained on" in error
    assert leaked[0] in error
    assert not (run_folder / "export" / "ser_int8-common").exists()


def test_the_split_beside_a_model_is_asked_too(run_folder, tones, capsys):
    split = json.loads((run_folder / "split.json").read_text())
    other = run_folder.parent / "other.json"
    other.write_text(json.dumps(split | {"test": split["train"]}))
    (run_folder / "split.json").rename(run_folder / "export" / "split.json")
    model = run_folder / "export" / "ser_int8.tflite"
    assert command("--model", model, "--data", tones, "--split", other) == 1
    assert "were trained on" in capsys.readouterr().err


def test_a_recording_the_model_was_chosen_by_is_refused(run_folder, tones, capsys):
    split = json.loads((run_folder / "split.json").read_text())
    other = run_folder.parent / "other.json"
    other.write_text(json.dumps(split | {"test": split["validation"]}))
    model = run_folder / "export" / "ser_int8.tflite"
    assert command("--model", model, "--data", tones, "--split", other) == 1
    assert "used for choosing the model" in capsys.readouterr().err


def test_a_recording_of_a_further_corpus_learnt_from_is_refused(run_folder, tones, capsys):
    split = json.loads((run_folder / "split.json").read_text())
    extra = {"tones": split["test"][:2]}
    (run_folder / "split.json").write_text(json.dumps(split | {"extra": extra}))
    model = run_folder / "export" / "ser_int8.tflite"
    assert command("--model", model, "--data", tones) == 1
    assert "these 2 of the 6 test recordings were trained on" in capsys.readouterr().err


def test_all_of_a_new_corpus_is_asked_elsewhere(tones):
    recordings = load_corpus(tones)
    assert held_out.choose_test(recordings, "elsewhere") == ("elsewhere", recordings)


def test_recordings_whose_emotion_a_model_does_not_know_are_left_out(tones, capsys):
    recordings = load_corpus(tones)
    kept = held_out.answerable(recordings, ("calm", "sad", "tired"))
    assert [r.name for r in kept] == [r.name for r in recordings if r.emotion != "angry"]
    assert capsys.readouterr().err == (
        "10 of 30 test recordings left out: the model does not know angry\n"
    )
    assert held_out.answerable(recordings, LABELS) == recordings
    assert capsys.readouterr().err == ""
    with pytest.raises(answers.EvaluateError, match=r"no test recording has .* tired"):
        held_out.answerable(recordings, ("tired",))
