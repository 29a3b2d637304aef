"""Every system of the registry: two steps of training, saving, reloading, answering, exporting."""

import json
from pathlib import Path

import pytest
import soundfile

from edge.classifier import EmotionClassifier
from ser_tf import evaluate, train
from ser_tf.answers import open_model
from ser_tf.config import read_config
from ser_tf.emotions import EMOTIONS
from ser_tf.runs import Run
from ser_tf.systems import SYSTEMS, System, defaults_of, sample_rate_of, trainer_of

KEPT = ("happy", "sad")  # two emotions, so that there are few recordings
DROPPED = [emotion for emotion in EMOTIONS if emotion not in KEPT]
# Left for -m slow: EfficientNets take minutes on a processor, and all that the others are made of
# is in cnn_refined and cnn_lstm_stats, too.
HEAVY = ("efficientnet_b2", "efficientnet_b3", "cnn_frames", "lstm", "cnn_lstm", "cnn_stats")
TRAINED = [name for name, system in SYSTEMS.items() if not system.needs]
NETWORKS = [name for name in TRAINED if not SYSTEMS[name].classical]
# Rows of the table of earlier systems that were trained; the others of it are what users saw.
EARLIER = {"A1", "B1", "B2", "B3", "C1", "D1", "D2", "D3", "E1", "E2", "E3"}


def marked(names: list[str]) -> list[object]:
    """The names as parameters, heavy ones marked as slow."""
    return [pytest.param(n, marks=pytest.mark.slow) if n in HEAVY else n for n in names]


class Runs(dict):
    """The run of each system, trained when it is first asked for."""

    def __init__(self, folder: Path, corpus: Path, config: Path, cache: Path) -> None:
        super().__init__()
        self.folder = folder
        self.options = ["--data", corpus, "--cache", cache, "--epochs", 1, "--batch-size", 16]
        self.config = config

    def __missing__(self, name: str) -> Run:
        options = [*self.options, "--model", name, "--drop", *DROPPED, "--watch"]
        if SYSTEMS[name].ours:
            options += ["--config", self.config]
        folder = self.folder / name
        assert train.main([str(option) for option in [*options, "--out", folder]]) == 0
        self[name] = Run(folder)
        return self[name]


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
    generated_corpus: Path,
    tiny_config: Path,
    cache: Path,
) -> Runs:
    return Runs(tmp_path_factory.mktemp("systems"), generated_corpus, tiny_config, cache)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", marked(TRAINED))
def test_a_trained_system_says_what_it_is(name: str, runs: Runs) -> None:
    run = runs[name]
    assert run.finished == (run.classical if SYSTEMS[name].classical else run.model)
    config = read_config(run.config)
    assert (config.model.name, list(config.drop)) == (name, DROPPED)
    facts = json.loads(run.metrics.read_text())
    assert {"parameters", "epochs", "best_epoch", "seconds"} <= set(facts)
    assert facts["seconds"] >= 0
    if not SYSTEMS[name].classical:
        assert facts["parameters"] > 1_000
        assert facts["epochs"] == facts["best_epoch"] == 1
        header, row = run.history.read_text().splitlines()
        watched = dict(zip(header.split(","), row.split(","), strict=True))["watched_accuracy"]
        assert 0 <= float(watched) <= 1


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", marked(NETWORKS))
def test_a_network_is_exported_and_the_file_answers(name: str, runs: Runs) -> None:
    from export import convert

    run = runs[name]
    assert convert.main([str(run.folder)]) == 0
    classifier = EmotionClassifier(run.folder / "export" / "ser_float32.tflite")
    assert classifier.labels == KEPT
    assert classifier.sample_rate == sample_rate_of(SYSTEMS[name])
    answer = classifier.predict_file(next(run.folder.glob("example.*")))
    assert answer.emotion in KEPT
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", [name for name in TRAINED if SYSTEMS[name].classical])
def test_a_classical_model_is_opened_and_answers(name: str, runs: Runs) -> None:
    run = runs[name]
    model = open_model(run.classical)
    assert tuple(model.labels) == KEPT
    example = next(run.folder.glob("example.*"))
    answer = model.predict_file(example)
    assert answer.emotion in KEPT
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-3)
    waveform, rate = soundfile.read(example, dtype="float32")
    if rate == model.sample_rate:
        assert model.predict(waveform).emotion == answer.emotion


def test_a_classical_model_is_evaluated_and_answers_unlabelled_recordings(
    runs: Runs, generated_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs["knn"]
    model = ["--model", str(run.classical)]
    asked = [*model, "--data", str(generated_corpus), "--out", str(tmp_path / "out")]
    assert evaluate.main([*asked, "--split", str(run.split)]) == 0
    report = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert report["count"] == len(json.loads(run.split.read_text())["test"])
    assert report["model"]["file"] == "model.skops"
    assert evaluate.main([*asked, "--split", "elsewhere"]) == 1
    assert "were trained on" in capsys.readouterr().err
    folder = generated_corpus / "sad"
    assert evaluate.main([*model, "--unlabelled", str(folder)]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header == "file,start,end,emotion,confidence,happy,sad,error"
    assert len(rows) == len(list(folder.glob("*.wav")))


def test_a_file_that_is_no_classical_model_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "broken.skops"
    model.write_bytes(b"RIFF")
    assert evaluate.main(["--model", str(model), "--data", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{model}: ")


def test_a_classical_run_is_not_exported(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    from export import convert

    folder = runs["knn"].folder
    assert convert.main([str(folder)]) == 1
    assert "model.skops: runs as it is" in capsys.readouterr().err


def test_dropped_emotions_are_in_no_part_and_the_others_stand_where_they_stood(
    runs: Runs, tiny_run: Path
) -> None:
    parts = json.loads(runs["knn"].split.read_text())
    everything = json.loads((tiny_run / "split.json").read_text())
    kept = [name for name in everything["test"] if name.split("/")[0] in KEPT]
    assert parts["test"] == kept
    assert {name.split("/")[0] for part in ("train", "validation") for name in parts[part]} <= {
        *KEPT
    }


def test_every_earlier_system_has_a_row() -> None:
    assert {system.rows for system in SYSTEMS.values()} - {""} == EARLIER
    assert [name for name, system in SYSTEMS.items() if system.ours] == ["cnn"]
    assert all(0 < share < 1 for system in SYSTEMS.values() for share in system.reported.values())


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_every_system_has_a_trainer_with_its_settings(system: System) -> None:
    assert callable(trainer_of(system).train)
    assert system.ours or system.chosen
    if not (system.ours or system.classical):
        assert defaults_of(system)["epochs"] > 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--model", "oracle"], "no model 'oracle'; there are: cnn, "),
        (["--model", "knn", "--drop", "bored"], "--drop: no emotion is 'bored'"),
        (["--model", "knn", "--drop", *EMOTIONS[1:]], "leaves 1 emotions"),
        (["--model", "knn", "--extra", "elsewhere"], "knn learns from one corpus"),
    ],
)
def test_a_wrong_choice_is_one_line(
    options: list[str],
    complaint: str,
    generated_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    assert train.main(["--data", str(generated_corpus), "--out", str(out), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert not out.exists()
