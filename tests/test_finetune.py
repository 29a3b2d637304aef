"""Going on from a trained model with somebody's own clips: ``ser_tf.train --from``."""

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edge.classifier import EmotionClassifier
from export import convert
from ser_tf import finetune, models, origin, train
from ser_tf.config import TrainConfig
from ser_tf.emotions import EMOTIONS
from ser_tf.systems import ours

LABELS = ("happy", "angry", "Bored")  # two that the model knows, in its order, and a new one


@pytest.fixture(scope="module")
def clips(generated_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips each of LABELS, in folders that spell some of them otherwise."""
    folder = tmp_path_factory.mktemp("clips")
    copy(generated_corpus, folder, {"happy": "happy", "Anger": "angry", "Bored": "calm"}, 12)
    (folder / "bored").mkdir()
    next((folder / "Bored").iterdir()).rename(folder / "bored" / "another.wav")
    return folder


def copy(corpus: Path, folder: Path, labels: Mapping[str, str], count: int) -> None:
    """Clips of the corpus's emotions into a folder label/clip.wav."""
    for label, emotion in labels.items():
        (folder / label).mkdir(parents=True)
        for path in sorted((corpus / emotion).iterdir())[:count]:
            shutil.copy(path, folder / label)


def tune(start: Path, data: Path, out: Path, cache: Path, *options: object) -> int:
    given = ["--from", start, "--data", data, "--out", out, "--cache", cache, *options]
    return train.main([str(option) for option in given])


@pytest.fixture(scope="module")
def tuned(
    tiny_run: Path, clips: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = tmp_path_factory.mktemp("tuned") / "run"
    start = tiny_run / "model.keras"
    # More would leave this hardly trained model too wild for eight bits.
    options = ["--split", "common", "--epochs", 40]
    assert tune(start, clips, run, cache, *options) == 0
    return run


def test_the_exported_file_answers_with_the_labels_of_the_clips(tuned: Path) -> None:
    assert convert.main([str(tuned)]) == 0
    for name in ("ser_float32.tflite", "ser_int8.tflite"):
        assert EmotionClassifier(tuned / "export" / name).labels == LABELS
    assert origin.read(tuned / "export" / "ser.keras").labels == LABELS


def test_it_learns_the_clips(tuned: Path) -> None:
    with (tuned / "history.csv").open(newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.9 * losses[0]


def test_front_end_and_statistics_stay_as_they_were(tiny_run: Path, tuned: Path) -> None:
    before, after = (models.load(run / "model.keras") for run in (tiny_run, tuned))
    pairs = zip(before.weights, after.weights, strict=True)
    moved = {old.path: not np.array_equal(old, new) for old, new in pairs if old.shape == new.shape}
    stay = ("features/", "moving_mean", "moving_variance")
    assert not [path for path, has in moved.items() if has and any(part in path for part in stay)]
    assert [path for path, has in moved.items() if has and path.endswith("kernel")]


def test_what_a_model_knows_of_a_label_goes_along(tiny_run: Path) -> None:
    start = finetune.load(tiny_run / "model.keras")
    config = start.config
    features = models.build_features(config.frontend)
    body = models.build_body(config.model, config.frontend, 3)
    start.hand_over(features, body, ["bored", "sad", "neutral"])
    old = start.model.get_layer("cnn").get_layer("logits").get_weights()
    for before, after in zip(old, body.get_layer("logits").get_weights(), strict=True):
        np.testing.assert_array_equal(after[..., 0], 0)
        np.testing.assert_array_equal(after[..., 1], before[..., EMOTIONS.index("sad")])
        np.testing.assert_array_equal(after[..., 2], before[..., EMOTIONS.index("neutral")])


def test_one_clip_a_label_is_enough_and_the_temperature_stays(
    tiny_run: Path,
    generated_corpus: Path,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy(generated_corpus, tmp_path / "clips", {"happy": "happy", "sad": "sad"}, 1)
    run = tmp_path / "run"
    start = tiny_run / "model.keras"
    assert tune(start, tmp_path / "clips", run, cache, "--epochs", 3) == 0
    assert " of 2 clips right as it is" in capsys.readouterr().err
    split = json.loads((run / "split.json").read_text())
    assert (len(split["train"]), split["validation"], split["test"]) == (2, [], [])
    temperature = json.loads((tiny_run / "training.json").read_text())["temperature"]
    written = models.load(run / "model.keras").get_layer("temperature").temperature
    assert float(written) == pytest.approx(temperature)
    assert convert.main([str(run)]) == 0


@pytest.fixture(scope="module")
def again(
    tuned: Path, clips: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A run that goes on from a fine-tuned model, and what it printed."""
    run = tmp_path_factory.mktemp("again") / "run"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert tune(tuned / "model.keras", clips, run, cache, "--epochs", 2) == 0
    return run, printed.getvalue()


def test_a_fine_tuned_model_can_be_fine_tuned(again: tuple[Path, str], clips: Path) -> None:
    known = origin.read(again[0] / "model.keras")
    assert known.labels == LABELS
    assert known.corpora == ("voices", clips.name, clips.name)


def test_the_accuracy_before_stands_beside_that_after(again: tuple[Path, str]) -> None:
    run, printed = again
    facts = json.loads((run / "training.json").read_text())
    assert facts["validation_recordings"] == 4
    assert f"of 4 recordings ({facts['validation_accuracy_before']:.1%} before)" in printed


@pytest.mark.slow
def test_a_stopped_run_resumes_and_ends_with_the_same_weights(
    tuned: Path,
    again: tuple[Path, str],
    clips: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start, run = tmp_path / "start.keras", tmp_path / "run"
    shutil.copy(tuned / "model.keras", start)

    def stop(keeper: ours.Keeper, epoch: int, logs: dict | None = None) -> None:
        keeper._begin = 0.0
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ours.Keeper, "on_epoch_begin", stop)
        assert tune(start, clips, run, cache, "--epochs", 2) == 130
    start.unlink()  # the run's folder is enough
    assert train.main(["--out", str(run), "--resume", "--cache", str(cache)]) == 0
    whole, resumed = (models.load(folder / "model.keras") for folder in (again[0], run))
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("clips", "mistakes", "size", "rate"),
    [(8, 0, 8, 1 / 16), (8, 6, 8, 3 / 8), (40, 10, 20, 5 / 8), (160, 40, 32, 1)],
)
def test_batches_are_even_and_few_mistakes_are_learnt_from_gently(
    clips: int, mistakes: int, size: int, rate: float
) -> None:
    settings = finetune.for_clips(TrainConfig(batch_size=32, learning_rate=1.0), clips, mistakes)
    assert (settings.batch_size, settings.learning_rate) == (size, rate)


def test_mistakes_are_counted_among_the_labels_of_the_clips() -> None:
    logits = np.array([[9.0, 2.0, 1.0], [9.0, 1.0, 2.0], [9.0, -1.0, -2.0]])
    known, labels = ("calm", "sad", "angry"), ("sad", "angry", "bored")
    assert finetune.count_mistakes(logits, np.array([0, 1, 0]), labels, known) == 0
    assert finetune.count_mistakes(logits, np.array([1, 1, 2]), labels, known) == 2


@pytest.mark.parametrize(
    ("mistakes", "clips", "share"), [(0, 8, 1 / 4), (2, 8, 1 / 2), (4, 8, 1), (8, 8, 1)]
)
def test_a_model_goes_as_far_as_it_is_wrong(mistakes: int, clips: int, share: float) -> None:
    assert finetune.share_of_way(mistakes, clips) == share


def test_new_labels_go_all_the_way_and_known_ones_as_far_as_they_are_mistaken(
    tuned: Path, again: tuple[Path, str]
) -> None:
    def share(run: Path) -> float:
        return json.loads((run / "training.json").read_text())["share_of_way"]

    assert share(tuned) == 1.0
    assert share(again[0]) < 1.0


def test_weights_stay_behind_between_the_old_and_the_new(
    tuned: Path,
    again: tuple[Path, str],
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def finished_with(share: float) -> list[np.ndarray]:
        run = tmp_path / f"{share}"
        shutil.copytree(again[0], run)
        monkeypatch.setattr(finetune, "share_of_way", lambda mistakes, clips: share)
        assert train.main(["--out", str(run), "--resume", "--cache", str(cache)]) == 0
        return models.load(run / "model.keras").get_weights()

    old, halfway, new = (finished_with(share) for share in (0.0, 0.5, 1.0))
    for begun, a, b, c in zip(
        models.load(tuned / "model.keras").get_weights(), old, halfway, new, strict=True
    ):
        np.testing.assert_array_equal(a, begun)
        np.testing.assert_allclose(b, (a + c) / 2, rtol=1e-5, atol=1e-6)
    assert any(not np.array_equal(a, c) for a, c in zip(old, new, strict=True))


def damaged(path: Path, whole: Path) -> None:
    path.write_bytes(whole.read_bytes()[:-1000])


def exported(path: Path, whole: Path) -> None:
    path.write_bytes(b"\x20\x00\x00\x00TFL3")


def of_another_front_end(path: Path, whole: Path) -> None:
    start = finetune.load(whole)
    frontend = {"n_mfcc": 13}
    config = train.updated(start.origin.config, {"frontend": frontend}, "")
    origin.save(start.model, origin.Origin(start.origin.labels, (), config), path)


def of_no_known_settings(path: Path, whole: Path) -> None:
    models.load(whole).save(path)


@pytest.mark.parametrize(
    ("name", "make", "complaint"),
    [
        ("model.keras", damaged, "is not a whole .keras file"),
        ("ser.tflite", exported, "is an exported model, which cannot be trained"),
        ("model.keras", of_another_front_end, "has another front end"),
        ("model.keras", of_no_known_settings, "does not say what it was trained with"),
        ("model.keras", lambda path, _: path.mkdir(), "is a folder"),
        ("model.keras", lambda path, _: None, "No such file"),
    ],
)
def test_a_model_that_cannot_be_gone_on_from_is_one_line(
    name: str,
    make: object,
    complaint: str,
    tiny_run: Path,
    clips: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make(tmp_path / name, tiny_run / "model.keras")  # type: ignore[operator]
    assert tune(tmp_path / name, clips, tmp_path / "run", tmp_path / "cache") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / name}: ")
    assert complaint in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("labels", "options", "complaint"),
    [
        (["happy"], [], "all 1 clips are 'happy'"),
        (["happy", "sad"], ["--split", "common"], "too few to set 1 aside"),
        (["happy", "sad"], ["--config", "other.toml"], "--from brings its own"),
    ],
)
def test_clips_that_do_not_do_are_one_line(
    labels: list[str],
    options: list[str],
    complaint: str,
    tiny_run: Path,
    generated_corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.toml").write_text("[model]\nstem = 8\n")
    copy(generated_corpus, Path("clips"), {label: label for label in labels}, 1)
    assert tune(tiny_run / "model.keras", Path("clips"), Path("run"), Path("c"), *options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert not Path("run").exists()


@pytest.mark.parametrize("options", [["--out", "run", "--resume"], ["--out", "run"]])
def test_from_needs_clips_and_begins_a_new_run(options: list[str]) -> None:
    with pytest.raises(SystemExit) as status:
        train.main(["--from", "model.keras", *options])
    assert status.value.code == 2


def test_a_clip_is_answered_with_one_of_the_new_labels(tuned: Path, clips: Path) -> None:
    classifier = EmotionClassifier(tuned / "export" / "ser_int8.tflite")
    answer = classifier.predict_file(next((clips / "happy").iterdir()))
    assert answer.emotion in LABELS
    assert list(answer.probabilities) == list(LABELS)
