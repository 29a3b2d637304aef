"""Two models on the same recordings, and the bootstrap over speakers."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_tf import evaluate, metrics, paired
from ser_tf.answers import Answers
from ser_tf.bootstrap import Bootstrap
from ser_tf.corpora.recording import Recording
from tests import stub_model

CLIPS = 6  # of each emotion
SPEAKERS = ("ann", "bob", "eve")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Calm, angry and sad tones of which the first two sad ones sound happy."""
    folder = tmp_path_factory.mktemp("corpus") / "tones"
    for label in ("calm", "angry", "sad"):
        for clip in range(CLIPS):
            heard = "happy" if label == "sad" and clip < 2 else label
            path = folder / label / SPEAKERS[clip % 3] / f"{clip}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, stub_model.tone(heard, 0.5), stub_model.SAMPLE_RATE)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return stub_model.write_swapped(tmp_path_factory.mktemp("other"))


def command(*options):
    return evaluate.main([str(option) for option in options])


@pytest.fixture
def compared(tmp_path, corpus, stub, other, capsys):
    """The folder of an evaluation against another model, and what was printed."""
    out = tmp_path / "out"
    options = ("--model", stub, "--data", corpus, "--split", "elsewhere", "--out", out)
    assert command(*options, "--against", other) == 0
    return out, capsys.readouterr().out


def differing(out):
    with (out / "differences.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_difference_of_two_models_is_printed_and_kept(compared, stub, other):
    out, printed = compared
    found = json.loads((out / "metrics.json").read_text())["against"]
    assert (found["count"], found["differing"]) == (3 * CLIPS, CLIPS)
    assert found["difference"] == pytest.approx((4 - 2) / (3 * CLIPS))
    assert found["classes"]["sad"]["difference"] == pytest.approx((4 - 2) / CLIPS)
    assert found["classes"]["calm"]["difference"] == 0
    assert found["mcnemar"] == {"this_alone": 4, "other_alone": 2, "p": 0.6875}
    names = [f"{path.parent.name}/stub.tflite" for path in (stub, other)]
    assert found["names"] == names
    assert f"| accuracy | recordings | {names[0]} | {names[1]} |" in printed
    assert "| all | 18 | 88.9 % | 77.8 % | +11.1 |" in printed
    assert "4 recordings are answered rightly by the first alone, 2 by the second" in printed


def test_recordings_that_are_answered_differently_are_listed(compared):
    rows = differing(compared[0])
    assert [row["right"] for row in rows] == ["this"] * 4 + ["other"] * 2
    assert {row["truth"] for row in rows} == {"sad"}
    for row in rows:
        answers = ("sad", "happy") if row["right"] == "this" else ("happy", "sad")
        assert (row["answer"], row["other answer"]) == answers
    names = {row["name"] for row in rows}
    assert names == {f"sad/{SPEAKERS[n % 3]}/{n}" for n in range(CLIPS)}


def test_a_model_does_not_differ_from_itself(tmp_path, corpus, stub, capsys):
    out = tmp_path / "out"
    options = ("--model", stub, "--data", corpus, "--split", "elsewhere", "--out", out, "--report")
    assert command(*options, "--against", stub) == 0
    assert differing(out) == []
    found = json.loads((out / "metrics.json").read_text())["against"]
    assert found["interval"] == [0, 0]
    assert found["mcnemar"] == {"this_alone": 0, "other_alone": 0, "p": 1}
    assert "p = 1" in (out / "report" / "index.html").read_text(encoding="utf-8")


def test_the_page_tells_who_wins_and_where(tmp_path, corpus, stub, other):
    out = tmp_path / "out"
    options = ("--model", stub, "--data", corpus, "--split", "elsewhere", "--out", out, "--report")
    assert command(*options, "--against", other) == 0
    text = (out / "report" / "index.html").read_text(encoding="utf-8")
    assert "The difference in accuracy is +11.1 (0.0 to +33.3) points" in text
    assert "p = 0.69" in text
    with (out / "report" / "differences.csv").open(encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == differing(out)


def test_a_model_that_learnt_from_the_recordings_is_no_rival(tmp_path, corpus, stub, other, capsys):
    rival = tmp_path / "rival"
    rival.mkdir()
    (rival / "ser.tflite").write_bytes(other.read_bytes())
    split = {"name": "all", "train": ["calm/ann/0"], "validation": [], "test": []}
    (rival / "split.json").write_text(json.dumps(split))
    options = ("--model", stub, "--data", corpus, "--split", "elsewhere", "--out", tmp_path / "out")
    assert command(*options, "--against", rival / "ser.tflite") == 1
    error = capsys.readouterr().err
    assert f"{rival / 'ser.tflite'}: these 1 of the 18 test recordings were trained on" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("this_alone", "other_alone", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (6, 0, 2 / 64), (1, 5, 2 * 7 / 64), (3, 3, 1.0), (8, 2, 112 / 1024)],
)
def test_mcnemar_is_the_two_sided_binomial_test_of_those_that_one_gets_right(
    this_alone, other_alone, p
):
    this = [True] * this_alone + [False] * other_alone + [True, False]
    other = [False] * this_alone + [True] * other_alone + [True, False]
    found = paired.mcnemar(this, other)
    assert (found["this_alone"], found["other_alone"]) == (this_alone, other_alone)
    assert found["p"] == pytest.approx(p)


def answers(names, rows):
    recordings = [Recording(Path(name), "sad", "", name) for name in names]
    return Answers(("calm", "sad"), recordings, np.array(rows))


def test_only_recordings_that_both_could_use_are_compared():
    this = answers(["a", "b"], [(0.9, 0.1), (0.2, 0.8)])
    other = answers(["b", "c"], [(0.7, 0.3), (0.1, 0.9)])
    found = paired.compare(*paired.aligned(this, other))
    assert (found["count"], found["accuracy"], found["other_accuracy"]) == (1, 1, 0)


def test_two_wrong_answers_that_differ_are_a_difference_too():
    this, other = answers(["a"], [(0.9, 0.1)]), answers(["a"], [(0.0, 0.0)])
    ((*_, right),) = paired.differences(this, other)
    assert right == "neither"
    assert paired.compare(this, other)["differing"] == 1


def test_files_of_one_name_are_told_apart_by_their_folders():
    names = paired.names(Path("/r/one/export/m.tflite"), Path("/r/two/export/m.tflite"))
    assert names == ("one/export/m.tflite", "two/export/m.tflite")
    assert paired.names(Path("/r/a.tflite"), Path("/r/b.tflite")) == ("a.tflite", "b.tflite")
    assert paired.names(Path("/r/a.tflite"), Path("/r/a.tflite")) == ("a.tflite", "a.tflite")


def test_the_bootstrap_is_that_of_the_protocol():
    rng = np.random.default_rng(3)
    truth = rng.choice(["calm", "sad"], 60).tolist()
    answered = np.where(rng.random(60) < 0.7, truth, "calm").tolist()
    for speakers in ([f"{n % 7}" for n in range(60)], [""] * 60):
        known = metrics.intervals(truth, answered, ("calm", "sad"), speakers)
        bootstrap = Bootstrap(speakers)
        assert (bootstrap.over, bootstrap.units) == (known["over"], known["units"])
        found = bootstrap.interval(np.equal(truth, answered), np.ones(60))
        assert found == pytest.approx(known["accuracy"])


def test_what_one_voice_alone_tells_has_no_interval():
    bootstrap = Bootstrap(["ann", "ann", "bob", "bob"])
    assert bootstrap.interval([1, 0, 0, 0], [1, 1, 0, 0]) is None
    assert bootstrap.interval([1, 1, 0, 0], [1, 1, 1, 1]) == [0, 1]


def test_a_difference_varies_as_the_recordings_of_a_voice_do_together():
    """Gains that cancel out within every voice are the same in every draw."""
    bootstrap = Bootstrap([f"{n // 2}" for n in range(40)])
    assert bootstrap.interval([1, -1] * 20, np.ones(40)) == [0, 0]
    apart = Bootstrap([""] * 40).interval([1, -1] * 20, np.ones(40))
    assert apart is not None
    assert apart[0] < -0.2 < 0.2 < apart[1]
