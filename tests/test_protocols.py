"""``python -m export.protocols`` on runs of the stub model and on real recordings."""

import csv
import json
import shutil
import statistics
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.classifier import default_model
from export import protocols
from ser_tf import answers, evaluate, metrics
from ser_tf.corpora import load_corpus
from ser_tf.splits import make_split, write_split
from tests import stub_model

NAMES = ("common", "actors-0", "actors-3", "actors-4")
CODES = {"calm": "02", "angry": "05"}
MISHEARD = ("actor-04", "actor-05", "actor-22")  # whose angry songs sound happy
FAINT = 5  # whose calm speech is heard, but 20 dB lower is silence


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Tones under RAVDESS's names: each actor speaks and sings, calmly and angrily."""
    folder = tmp_path_factory.mktemp("corpus") / "ravdess"
    for actor in range(1, 25):
        (folder / f"Actor_{actor:02d}").mkdir(parents=True)
        for emotion, code in CODES.items():
            for channel in ("01", "02"):
                wrong = f"actor-{actor:02d}" in MISHEARD and (emotion, channel) == ("angry", "02")
                faint = (actor, emotion, channel) == (FAINT, "calm", "01")
                level = 0.0008 if faint else 0.3
                sound = stub_model.tone("happy" if wrong else emotion, 0.3, level=level)
                name = f"03-{channel}-{code}-01-01-01-{actor:02d}.wav"
                path = folder / f"Actor_{actor:02d}" / name
                soundfile.write(path, sound, stub_model.SAMPLE_RATE)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory, corpus) -> Path:
    """Runs as training leaves them: the common split and folds 0, 3 and 4."""
    folder = tmp_path_factory.mktemp("runs")
    model = stub_model.model()
    recordings = load_corpus(corpus)
    for name in NAMES:
        run = folder / name
        (run / "export").mkdir(parents=True)
        (run / "export" / protocols.MODEL).write_bytes(model)
        write_split(make_split(recordings, name.replace("-", ":")), run / "split.json")
        split = json.loads((run / "split.json").read_text())
        split["train"].append("nemo/happy/one")
        (run / "split.json").write_text(json.dumps(split))
        (run / "training.json").write_text(json.dumps({"temperature": 0.8}))
        settings = f'data = "{corpus}/"\nextra = ["/somewhere/nemo", "other/table.csv"]\n'
        settings += '[train]\nseed = 3\nteachers = ["/some/where/runs/one/model.keras"]\n'
        (run / "config.toml").write_text(settings)
        (run / "history.csv").write_text("epoch\n")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory, runs) -> Path:
    folder = tmp_path_factory.mktemp("export") / "protocols"
    assert command("collect", runs, "--out", folder) == 0
    return folder


@pytest.fixture(scope="module")
def scored(tmp_path_factory, corpus, models) -> Path:
    """The figures of all collected models, without conditions."""
    out = tmp_path_factory.mktemp("scored") / "metrics"
    assert command("score", "--data", corpus, "--models", models, "--out", out) == 0
    return out


def command(*arguments) -> int:
    return protocols.main([str(argument) for argument in arguments])


def report_of(out: Path, name: str) -> dict:
    return json.loads((out / name / "metrics.json").read_text())


def test_a_run_is_collected_as_model_split_training_and_settings(runs, models):
    assert sorted(path.name for path in models.iterdir()) == [
        "actors-0", "actors-3", "actors-4", "common",
    ]  # fmt: skip
    for name in ("common", "actors-3"):
        kept = {path.name for path in (models / name).iterdir()}
        assert kept == {"ser_int8.tflite", "split.json", "training.json", "config.toml"}
        for part in ("split.json", "training.json"):
            assert (models / name / part).read_bytes() == (runs / name / part).read_bytes()
        model = (models / name / "ser_int8.tflite").read_bytes()
        assert model == (runs / name / "export" / "ser_int8.tflite").read_bytes()


def test_no_path_of_a_machine_is_collected(models):
    settings = tomllib.loads((models / "common" / "config.toml").read_text())
    assert settings["data"] == "ravdess"
    assert settings["extra"] == ["nemo", "table.csv"]
    assert settings["train"] == {"seed": 3, "teachers": ["one/model.keras"]}


def test_collecting_again_replaces_what_was_there(tmp_path, runs):
    out = tmp_path / "protocols"
    command("collect", runs, "--out", out)
    (out / "common" / "split.json").write_text("old")
    assert command("collect", runs, "--out", out) == 0
    split = (runs / "common" / "split.json").read_text()
    assert (out / "common" / "split.json").read_text() == split
    assert len(list(out.iterdir())) == 4


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda runs: (runs / "actors-4/export/ser_int8.tflite").unlink(), "is missing; finish"),
        (lambda runs: shutil.copy(runs / "common/split.json", runs / "actors-4"), "'common', whi"),
        (lambda runs: (runs / "actors-4/config.toml").write_text("data ="), "cannot be read as"),
        (lambda runs: [(runs / name).rename(runs / f"x-{name}") for name in NAMES], "holds no run"),
    ],
)
def test_what_cannot_be_collected_is_one_line_and_copies_nothing(
    spoil, words, tmp_path, runs, capsys
):
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    spoil(copy)
    assert command("collect", copy, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_not_replaced(tmp_path, runs, capsys):
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "notes.txt").write_text("mine")
    assert command("collect", runs, "--out", tmp_path) == 1
    assert "holds files that are no collected run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["common"]


def test_each_model_is_scored_as_the_evaluation_does(tmp_path, scored, corpus, models):
    for name in NAMES:
        model, split = models / name / protocols.MODEL, models / name / "split.json"
        options = ["--model", model, "--data", corpus, "--split", split, "--out", tmp_path / name]
        assert evaluate.main(list(map(str, options))) == 0
        for file in evaluate.OUTPUTS:
            assert (scored / name / file).read_bytes() == (tmp_path / name / file).read_bytes()
        assert report_of(scored, name)["temperature"] == 0.8


def test_pooled_figures_are_those_of_the_answers_of_all_folds(scored, models):
    truth, answered, speakers = [], [], []
    for name in NAMES[1:]:
        with (scored / name / "predictions.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                truth.append(row["truth"])
                answered.append(row["answer"])
                speakers.append(row["name"][-2:])
    report = report_of(scored, "actors")
    assert report["split"] == "actors"
    assert report["count"] == report["corpus"]["test"] == len(truth) == 4 * 14
    expected = metrics.overall(truth, answered)
    assert {key: report[key] for key in expected} == pytest.approx(expected)
    assert report["accuracy"] == 1 - 3 / 56
    spread = report["intervals"]
    assert (spread["over"], spread["units"]) == ("speakers", 14)
    low, high = metrics.intervals(truth, answered, stub_model.EMOTIONS, speakers)["accuracy"]
    assert spread["accuracy"] == pytest.approx([low, high])
    assert sum(map(sum, report["confusion"]["counts"])) == len(truth)
    assert set(report["slices"]["channel"]) == {"speech", "song"}
    assert not (scored / "actors" / "predictions.csv").exists()  # they stand in the folds


def test_the_spread_from_fold_to_fold_is_told(scored):
    folds = report_of(scored, "actors")["folds"]
    accuracies = [report_of(scored, name)["accuracy"] for name in NAMES[1:]]
    assert accuracies == [1 - 1 / 20, 1.0, 1 - 2 / 16]
    assert [row["accuracy"] for row in folds["runs"].values()] == accuracies
    assert list(folds["runs"]) == list(NAMES[1:])
    assert folds["runs"]["actors-4"]["count"] == 16
    assert folds["mean"]["accuracy"] == pytest.approx(statistics.mean(accuracies))
    assert folds["sd"]["accuracy"] == pytest.approx(statistics.stdev(accuracies))
    line = "| actors-4 | 16 | 87.5 % |"
    assert line in (scored / "actors" / "metrics.md").read_text()


def test_speech_is_pooled_without_song(scored):
    report = report_of(scored, "actors-speech")
    assert report["count"] == report["corpus"]["test"] == 2 * 14
    assert report["accuracy"] == 1.0
    assert set(report["slices"]["channel"]) == {"speech"}
    assert [row["count"] for row in report["folds"]["runs"].values()] == [10, 10, 8]


def test_scoring_prints_one_table_of_all_protocols(tmp_path, corpus, models, scored, capsys):
    arguments = ("score", "--data", corpus, "--models", models, "--out", scored)
    assert command(*arguments) == 0  # earlier figures are replaced
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in printed[2:]] == [
        f"| {name}" for name in (*NAMES, *protocols.POOLED)
    ]
    assert printed[-2].startswith("| actors | 56 | 94.6 % (")


def test_robust_figures_are_averaged_over_folds(tmp_path, corpus, models, monkeypatch):
    few = tmp_path / "models"
    for name in ("actors-0", "actors-4"):
        shutil.copytree(models / name, few / name)
    heard = []
    run = answers.run

    def noted(model, test, **how):
        heard.extend(test)
        return run(model, test, **how)

    monkeypatch.setattr(protocols, "run", noted)
    out = tmp_path / "out"
    options = ("--data", corpus, "--models", few, "--out", out, "--robust")
    assert command("score", *options) == 0
    assert len(heard) == len({recording.name for recording in heard}) == 36  # once each
    folds = [report_of(out, name)["robust"] for name in ("actors-0", "actors-4")]
    pooled = report_of(out, "actors")["robust"]
    assert list(pooled) == list(folds[0])
    assert [fold["gain -20 dB"]["loss"] for fold in folds] == pytest.approx([1 / 20, 0])
    for condition in ("babble at 5 dB", "gain -20 dB"):
        for key in ("accuracy", "uar", "weighted_f1", "loss"):
            mean = statistics.mean(fold[condition][key] for fold in folds)
            assert pooled[condition][key] == pytest.approx(mean)
    rows = [row for row in pooled.values() if isinstance(row, dict)]
    assert pooled["mean_loss"] == pytest.approx(statistics.mean(row["loss"] for row in rows))
    assert "robust" in report_of(out, "actors-speech")


def test_answers_are_listed_under_names_of_ravdess_alone(tmp_path, corpus, models):
    for emotion, code in CODES.items():
        for path in corpus.rglob(f"*-{code}-*.wav"):
            target = tmp_path / "data" / emotion / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    recordings = load_corpus(tmp_path / "data")
    assert recordings[0].name.startswith("angry/")
    few = tmp_path / "models"
    shutil.copytree(models / "common", few / "common")
    write_split(make_split(recordings, "common"), few / "common" / "split.json")
    out = tmp_path / "out"
    assert command("score", "--data", tmp_path / "data", "--models", few, "--out", out) == 0
    assert {path.name for path in (out / "common").iterdir()} == {*evaluate.OUTPUTS} - {
        "predictions.csv"
    }
    assert sorted(path.name for path in out.iterdir()) == ["common"]  # no folds, nothing pooled


@pytest.mark.parametrize("place", ["actors-4", "actors"])
def test_figures_of_something_else_are_found_before_anything_runs(
    place, tmp_path, corpus, models, capsys
):
    (tmp_path / place).mkdir()
    (tmp_path / place / "notes.txt").write_text("mine")
    assert command("score", "--data", corpus, "--models", models, "--out", tmp_path) == 1
    error = capsys.readouterr().err
    assert "holds files that are no evaluation" in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [place]


def test_a_model_tested_on_what_it_learnt_from_is_refused(tmp_path, corpus, models, capsys):
    few = tmp_path / "models"
    shutil.copytree(models / "common", few / "common")
    split = json.loads((few / "common" / "split.json").read_text())
    split["test"] += split["train"][:2]
    (few / "common" / "split.json").write_text(json.dumps(split))
    options = ("--data", corpus, "--models", few, "--out", tmp_path / "out")
    assert command("score", *options) == 1
    assert "were trained on" in capsys.readouterr().err


def test_real_recordings_are_scored_with_the_released_model(tmp_path, real_data):
    data, models, out = (tmp_path / name for name in ("data", "models", "out"))
    for fold, actor in ((1, 3), (2, 10)):
        folder, run = data / f"Actor_{actor:02d}", models / f"actors-{fold}"
        folder.mkdir(parents=True)
        run.mkdir(parents=True)
        speech = real_data / "ravdess" / "Audio_Speech_Actors_01-24" / folder.name
        test = sorted(speech.glob("*.flac"))[::16]
        for path in test:
            shutil.copy(path, folder)
        shutil.copy(default_model(), run / protocols.MODEL)
        names = [path.stem for path in test]
        split = {"name": f"actors:{fold}", "train": [], "validation": [], "test": names}
        (run / "split.json").write_text(json.dumps(split))
    options = ("--data", data, "--models", models, "--out", out, "--robust")
    assert command("score", *options) == 0
    report = report_of(out, "actors")
    assert (report["count"], report["silent"], report["left_out"]) == (8, 0, 0)
    accuracies = {
        condition: row["accuracy"]
        for condition, row in report["robust"].items()
        if isinstance(row, dict)
    }
    assert len(accuracies) == 17
    assert report["accuracy"] >= 0.75  # it has learnt from most of them
    assert np.mean(list(accuracies.values())) > 2 / len(stub_model.EMOTIONS)
