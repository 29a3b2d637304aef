"""``python -m ser_tf.evaluate --robust``: recordings made worse, and what that costs."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile

from edge import audio
from edge.classifier import EmotionClassifier
from ser_tf import answers, conditions, evaluate
from ser_tf.answers import BABBLE_POOL
from ser_tf.corpora import load_corpus
from tests import stub_model
from tests.evaluation import command


@pytest.fixture(scope="module")
def robust(tones, stub):
    """The answers to every third recording under all conditions, and the pool of voices."""
    recordings = load_corpus(tones)
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


def test_processes_side_by_side_give_the_same_answers(robust, tones, stub):
    answers, pool = robust
    again = evaluate.run(stub, load_corpus(tones)[::3], pool=pool, jobs=2)
    assert again.recordings == answers.recordings
    assert np.array_equal(again.clean, answers.clean)
    assert list(again.degraded) == list(answers.degraded)
    for condition, rows in answers.degraded.items():
        assert np.array_equal(again.degraded[condition], rows)


def test_a_recording_is_no_part_of_its_own_babble(tones, stub, monkeypatch):
    recordings = load_corpus(tones)[:3]
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


def test_the_babble_is_that_of_the_corpus_whatever_the_order(tmp_path, tones):
    recordings = load_corpus(tones)
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


def test_the_command_writes_the_table_of_conditions(tmp_path, tones, stub, capsys):
    out = tmp_path / "out"
    assert command("--model", stub, "--data", tones, "--out", out, "--robust", "--jobs", 2) == 0
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
