"""The released file is the one that its published figures speak of."""

import csv
import hashlib
import json
from pathlib import Path

import pytest
from conftest import ROOT

from edge.classifier import RUNTIMES, EmotionClassifier, default_model
from export import card
from ser_tf.emotions import EMOTIONS

METRICS = ROOT / "export" / "metrics"
SAMPLED = 10  # every tenth of the 491 published predictions is made again


def test_the_released_file_is_the_default_and_below_a_megabyte() -> None:
    assert default_model() == ROOT / "export" / "ser.tflite"
    assert default_model().stat().st_size < 1_000_000
    assert EmotionClassifier().labels == EMOTIONS


@pytest.mark.parametrize("folder", ["common", "elsewhere-nemo", "elsewhere-emospeech"])
def test_the_published_figures_are_of_this_file(folder: str) -> None:
    content = default_model().read_bytes()
    published = json.loads((METRICS / folder / "metrics.json").read_text())["model"]
    assert published["sha256"] == hashlib.sha256(content).hexdigest()
    assert published["bytes"] == len(content)


def test_none_of_the_published_predictions_is_of_a_training_recording() -> None:
    split = json.loads((METRICS / "common" / "split.json").read_text())
    with (METRICS / "common" / "predictions.csv").open(newline="") as file:
        names = {row["name"] for row in csv.DictReader(file)}
    assert names == set(split["test"])
    assert not names & {*split["train"], *split["validation"]}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_published_predictions_can_be_made_again(real_data: Path, runtime: str) -> None:
    found = {path.stem: path for path in (real_data / "ravdess").rglob("*.flac")}
    classifier = EmotionClassifier(runtime=runtime)
    with (METRICS / "common" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::SAMPLED]
    for row in rows:
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
