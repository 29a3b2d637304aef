"""Keras rows of the earlier systems: what they are made of, and how they are trained."""

import csv
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from ser_tf.config import Config, updated
from ser_tf.corpora import CorpusError, load_corpus
from ser_tf.corpora.recording import Recording
from ser_tf.emotions import EMOTIONS
from ser_tf.runs import Run
from ser_tf.splits import Split, make_split
from ser_tf.systems import SYSTEMS, neural
from ser_tf.systems.neural import material as materials
from ser_tf.systems.neural.material import ONLY, Material, material, window_of
from ser_tf.systems.neural.recipe import Recipe, defaults, recipe_of
from ser_tf.systems.neural.training import standardisers
from ser_tf.systems.neural.watcher import Watcher, measure

ROWS = [
    *("cnn_refined", "cnn_frames", "lstm", "cnn_lstm", "cnn_stats", "cnn_lstm_stats"),
    *("cnn_gru_stats", "cnn_bilstm_attention", "dnn"),
]
PICTURES = ["efficientnet_b2", "efficientnet_b3"]


def test_every_keras_row_of_the_registry_has_a_recipe() -> None:
    rows = {name for name, system in SYSTEMS.items() if system.trainer == neural.__name__}
    assert rows == {*ROWS, *PICTURES, "wav2vec2"}
    assert rows == set(neural.CHOSEN)
    assert defaults("cnn_bilstm_attention")["batch_size"] == 8


def test_a_recipe_is_read_without_tensorflow() -> None:
    code = (
        "import sys; from ser_tf.systems.neural.recipe import defaults, recipe_of;"
        "defaults('dnn'); recipe_of('lstm'); sys.exit('tensorflow' in sys.modules)"
    )
    root = Path(__file__).resolve().parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize("name", ROWS)
def test_a_row_takes_its_features_and_gives_a_logit_for_each_class(name: str) -> None:
    recipe = recipe_of(name)
    features, body = recipe.features(), recipe.body(7)
    assert features.input_shape == (None, recipe.window)
    found = keras.tree.map_structure(lambda x: np.zeros((2, *x.shape[1:]), "float32"), body.input)
    assert keras.tree.map_structure(lambda x: x.shape[1:], found) == keras.tree.map_structure(
        lambda x: x.shape[1:], features.output
    )
    assert body(found).shape == (2, 7)


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_an_efficientnet_takes_pictures(name: str) -> None:
    recipe = recipe_of(name, "none")
    shape = recipe.features().output_shape[1:]
    assert recipe.body(7)(np.zeros((1, *shape), "float32")).shape == (1, 7)


def test_weights_that_are_none_of_a_row_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dnn starts from no published weights"):
        recipe_of("dnn", "some.h5")
    wrong = tmp_path / "wrong.h5"
    wrong.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"wrong\.h5: holds no weights of EfficientNet-B2"):
        recipe_of("efficientnet_b2", str(wrong)).body(8)


def test_the_window_lies_on_the_voice() -> None:
    recipe = dataclasses.replace(recipe_of("dnn"), sample_rate=16_000, window=16_000)
    waveform = np.zeros(64_000, "float32")
    waveform[40_000:48_000] = 0.1 * np.random.default_rng(0).standard_normal(8_000)
    window = window_of(waveform, recipe)
    assert np.flatnonzero(window).mean() == pytest.approx(8_000, abs=400)
    short = window_of(waveform[40_000:48_000], recipe)
    assert (short[:4_000].any(), short[4_000:12_000].all()) == (False, True)


def noise(count: int = 12, shape: tuple[int, ...] = (4, 3)) -> Material:
    generator = np.random.default_rng(0)
    values = 5 + 3 * generator.standard_normal((count, *shape)).astype("float32")
    return Material({ONLY: values}, np.arange(count) % 2)


@pytest.mark.parametrize("per", ["cell", "coefficient"])
def test_features_are_standardised_by_the_training_part(per: str) -> None:
    data = noise(200)
    data.features[ONLY][:, :, 1] = 7.0
    recipe = dataclasses.replace(recipe_of("lstm"), standardise=per)  # type: ignore[arg-type]
    (layer,) = standardisers(recipe, data).values()
    found = np.asarray(layer(data.inputs(slice(None))))
    axes = 0 if per == "cell" else (0, 1)
    np.testing.assert_allclose(found.mean(axis=axes), 0, atol=1e-4)
    deviation = found.std(axis=axes)
    np.testing.assert_allclose(deviation[..., 0], 1, atol=1e-3)
    np.testing.assert_allclose(deviation[..., 1], 0, atol=1e-4)  # a constant stays one


def watched(recipe: Recipe, run: Run, epochs: int) -> tuple[Watcher, keras.Model, Material]:
    data = noise()
    body = keras.Sequential([keras.Input((4, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    body.compile(keras.optimizers.SGD(recipe.learning_rate), "categorical_crossentropy")
    watcher = Watcher(run, recipe, body, data, None)
    truth = np.eye(2)[data.labels]
    body.fit(data.inputs(slice(None)), truth, epochs=epochs, callbacks=[watcher], verbose=0)
    return watcher, body, data


def test_training_ends_and_the_rate_falls_without_progress(tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe_of("lstm"), learning_rate=0.0, patience=3, plateau=2)
    watcher, body, _ = watched(dataclasses.replace(recipe, learning_rate=1e-30), Run(tmp_path), 9)
    assert (watcher.epochs, watcher.best_epoch, watcher.out_of_patience) == (4, 1, True)
    assert float(body.optimizer.learning_rate) == pytest.approx(0.5e-30)


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    # So large a rate makes the loss wander.
    recipe = dataclasses.replace(recipe_of("lstm"), learning_rate=5.0, patience=None, plateau=None)
    watcher, body, data = watched(recipe, Run(tmp_path), 6)
    losses = [float(row["val_loss"]) for row in history(Run(tmp_path))]
    watcher.restore_best()
    assert watcher.best_epoch == 1 + int(np.argmin(losses))
    assert measure(body, data)["loss"] == pytest.approx(min(losses), rel=1e-4)


@pytest.fixture(scope="module")
def clips(generated_corpus: Path) -> Split:
    """Generated recordings of three emotions."""
    everything = load_corpus(str(generated_corpus))
    some = [clip for clip in everything if clip.emotion in EMOTIONS[:3]]
    return make_split(some, "common", validation=0.2)


def trained(folder: Path, clips: Split, cache: Path, epochs: int) -> Run:
    """The run of ``dnn`` in a folder, gone on with if it is there."""
    folder.mkdir(exist_ok=True)
    settings = {**defaults("dnn"), "epochs": epochs, "batch_size": 8}
    config = updated(Config(), {"train": settings}, "test")
    run = Run(folder)
    neural.train(
        SYSTEMS["dnn"],
        config,
        run,
        clips,
        labels=EMOTIONS[:3],
        cache=str(cache),
        watch=clips.test,
    )
    return run


def history(run: Run) -> list[dict[str, str]]:
    with run.history.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, clips: Split, cache: Path) -> Run:
    """A run of ``dnn``, three epochs at once."""
    return trained(tmp_path_factory.mktemp("rows") / "dnn", clips, cache, 3)


def test_a_run_tells_its_story(run: Run) -> None:
    rows = history(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(0 <= float(row["watched_accuracy"]) <= 1 for row in rows)
    facts = json.loads(run.metrics.read_text())
    assert facts["epochs"] == 3
    best = min(rows, key=lambda row: float(row["val_loss"]))
    assert facts["best_epoch"] == int(best["epoch"])
    assert facts["validation_loss"] == pytest.approx(float(best["val_loss"]), rel=1e-3)
    assert facts["seconds"] >= sum(float(row["seconds"]) for row in rows)


def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(
    run: Run, tmp_path: Path, clips: Split, cache: Path
) -> None:
    folder = tmp_path / "halves"
    trained(folder, clips, cache, 2)
    halves = trained(folder, clips, cache, 3)
    for name in ("loss", "val_loss", "watched_accuracy"):
        expected = [float(row[name]) for row in history(run)]
        assert [float(row[name]) for row in history(halves)] == pytest.approx(expected, rel=1e-4)


def test_a_saved_row_takes_a_waveform_and_gives_probabilities(run: Run) -> None:
    model = neural.load(run.model)
    waveform = 0.1 * np.random.default_rng(0).standard_normal((2, recipe_of("dnn").window))
    answers = np.asarray(model(waveform.astype("float32"), training=False))
    assert answers.shape == (2, 3)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)


def test_features_are_computed_once(
    clips: Split, cache: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise AssertionError("computed again")

    recipe = recipe_of("dnn")
    monkeypatch.setattr(materials, "_compute", refuse)
    given = (EMOTIONS[:3], recipe, recipe.features(), str(cache))
    found = material(clips.train, *given, title="again", strict=True)
    assert found.features[ONLY].shape == (len(clips.train), 317)


def test_a_damaged_recording_is_left_out_or_an_error(
    tmp_path: Path, clips: Split, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.wav"
    damaged.write_bytes(b"RIFF")
    recordings = [clips.test[0], Recording(damaged, clips.test[0].emotion, "", "damaged")]
    recipe = recipe_of("dnn")
    features = recipe.features()

    def found(*, strict: bool) -> Material:
        given = (EMOTIONS[:3], recipe, features, str(tmp_path))
        return material(recordings, *given, title="features", strict=strict)

    assert found(strict=False).labels.shape == (1,)
    assert "damaged.wav" in capsys.readouterr().err
    with pytest.raises(CorpusError, match="1 of 2 recordings"):
        found(strict=True)
