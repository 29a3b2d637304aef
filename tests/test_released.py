"""The released files are those that the published figures speak of."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from edge import audio
from edge.classifier import RUNTIMES, EmotionClassifier, default_model
from export import card
from ser_tf import finetune
from ser_tf.config import read_config
from ser_tf.emotions import EMOTIONS
from ser_tf.splits import PARTS

METRICS = ROOT / "export" / "metrics"
PROTOCOLS = ROOT / "export" / "protocols"
NAMES = sorted(path.name for path in PROTOCOLS.iterdir())
SAMPLED = 20  # every 20th of the published predictions is made again


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def export_report() -> dict[str, Any]:
    return json.loads((METRICS / "export.json").read_text())


def predictions(name: str) -> list[dict[str, str]]:
    with (METRICS / name / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_released_file_is_the_default_and_below_a_megabyte() -> None:
    assert default_model() == ROOT / "export" / "ser.tflite"
    assert default_model().stat().st_size < 1_000_000
    assert EmotionClassifier().labels == EMOTIONS


def test_the_float32_twin_answers_alike(real_data: Path) -> None:
    path = sorted((real_data / "ravdess_original").rglob("*.wav"))[0]
    answers = [
        EmotionClassifier(ROOT / "export" / name).predict_file(path).probabilities
        for name in ("ser.tflite", "ser_float32.tflite")
    ]
    for emotion in EMOTIONS:
        assert answers[0][emotion] == pytest.approx(answers[1][emotion], abs=0.05)


def test_the_keras_model_to_fine_tune_is_the_same(real_data: Path) -> None:
    from ser_tf import models, origin

    path = ROOT / "export" / "ser.keras"
    assert origin.read(path).corpora == ("ravdess", "nemo", "emospeech")
    classifier = EmotionClassifier(ROOT / "export" / "ser_float32.tflite")
    waveform = audio.load(sorted((real_data / "ravdess_original").rglob("*.wav"))[0])
    start = max(0, sum(audio.voice_span(waveform)) // 2 - classifier.window // 2)
    window = waveform[start : start + classifier.window]
    window = np.pad(window, (0, classifier.window - len(window)))
    expected = models.load(path)(window[None], training=False).numpy()[0]
    np.testing.assert_allclose(classifier.probabilities(window), expected, atol=1e-4)


def test_the_keras_model_can_be_gone_on_from() -> None:
    start = finetune.load(ROOT / "export" / "ser.keras")
    assert start.config.frontend == read_config(ROOT / "export" / "strangers.toml").frontend


@pytest.mark.parametrize(
    ("run", "settings"), [("common", "familiar.toml"), ("actors-0", "strangers.toml")]
)
def test_the_settings_of_a_published_model_are_those_that_would_make_it(run, settings) -> None:
    published = read_config(PROTOCOLS / run / "config.toml")
    again = read_config(ROOT / "export" / settings)
    for table in ("frontend", "augment", "model"):
        assert getattr(published, table) == getattr(again, table)
    for name in ("optimizer", "epochs", "learning_rate", "weight_decay", "extra_share"):
        assert getattr(published.train, name) == getattr(again.train, name)


def test_the_released_files_are_those_whose_export_is_reported() -> None:
    sizes = {variant["file"]: variant["bytes"] for variant in export_report()["variants"]}
    assert default_model().stat().st_size == sizes["ser_int8.tflite"]
    twin = ROOT / "export" / "ser_float32.tflite"
    assert twin.stat().st_size == sizes["ser_float32.tflite"]


def test_the_temperature_is_that_of_the_folds() -> None:
    folds = [PROTOCOLS / name / "training.json" for name in NAMES if name != "common"]
    known = [json.loads(path.read_text())["temperature"] for path in folds]
    assert known == pytest.approx([export_report()["temperature"]] * len(folds), rel=1e-4)


@pytest.mark.parametrize("corpus", ["nemo", "emospeech"])
def test_the_figures_of_ravdess_alone_elsewhere_are_of_the_common_model(corpus: str) -> None:
    alone, both = (
        json.loads((METRICS / folder / "metrics.json").read_text())
        for folder in (f"ravdess-alone/elsewhere-{corpus}", f"elsewhere-{corpus}")
    )
    common = sha256(PROTOCOLS / "common" / "ser_int8.tflite")
    assert alone["model"]["sha256"] == common != both["model"]["sha256"]
    assert alone["count"] == both["count"]


@pytest.mark.parametrize("name", NAMES)
def test_the_published_figures_are_of_the_published_files(name: str) -> None:
    published = json.loads((METRICS / name / "metrics.json").read_text())["model"]
    assert published["sha256"] == sha256(PROTOCOLS / name / "ser_int8.tflite")
    assert published["bytes"] < 1_000_000


@pytest.mark.parametrize("name", NAMES)
def test_none_of_the_published_predictions_is_of_a_training_recording(name: str) -> None:
    split = json.loads((PROTOCOLS / name / "split.json").read_text())
    names = {row["name"] for row in predictions(name)}
    assert names == set(split["test"])
    assert not names & {*split["train"], *split["validation"]}


def test_no_actor_is_tested_by_a_model_that_learnt_from_him() -> None:
    tested: set[str] = set()
    for name in NAMES:
        if name != "common":
            split = json.loads((PROTOCOLS / name / "split.json").read_text())
            actors = {part: {recording[-2:] for recording in split[part]} for part in PARTS}
            assert not actors["test"] & (actors["train"] | actors["validation"] | tested)
            tested |= actors["test"]
    assert tested


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NAMES)
def test_the_published_predictions_can_be_made_again(
    real_data: Path, name: str, runtime: str
) -> None:
    found = {path.stem: path for path in (real_data / "ravdess").rglob("*.flac")}
    classifier = EmotionClassifier(PROTOCOLS / name / "ser_int8.tflite", runtime=runtime)
    for row in predictions(name)[::SAMPLED]:
        probabilities = classifier.predict_file(found[row["name"]]).probabilities
        for emotion in EMOTIONS:
            assert probabilities[emotion] == pytest.approx(float(row[emotion]), abs=0.05)


@pytest.mark.parametrize("page", card.PAGES, ids=lambda page: page.name)
def test_the_tables_of_card_and_readme_are_those_of_the_metrics(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert card.SECTION.search(text)
    assert card.filled(text) == text


def test_every_original_gets_an_emotion(real_data: Path) -> None:
    classifier = EmotionClassifier()
    originals = sorted((real_data / "ravdess_original").rglob("*.wav"))
    assert len(originals) == 21
    for path in originals:
        assert classifier.predict_file(path).emotion in EMOTIONS
