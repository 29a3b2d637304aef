"""Students of trained models."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from ser_tf import distil, models, train
from ser_tf.config import read_config, updated
from ser_tf.corpora import load_corpus
from ser_tf.emotions import EMOTIONS
from ser_tf.splits import make_split, read_split


def constant(logits: list[float]) -> keras.Model:
    """Answers the same whatever it hears."""
    layer = keras.layers.Dense(len(logits), kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((3,)), layer])
    model.set_weights([np.zeros((3, len(logits))), np.array(logits)])
    return model


def test_the_loss_is_that_of_the_labels_and_of_the_mean_of_the_teachers() -> None:
    body = constant([1.0, 0.0])
    teachers = [constant([5.0, -5.0]), constant([-5.0, 5.0])]  # together they know nothing
    taught = distil.Taught(body, teachers, share=0.25, seed=0)
    taught.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    heard, truth = np.zeros((4, 3), "float32"), np.tile([1.0, 0.0], (4, 1)).astype("float32")
    losses = [
        float(taught.compute_loss(heard, truth, taught(heard), training=True)) for _ in range(300)
    ]
    right, wrong = -np.log([np.e / (1 + np.e), 1 / (1 + np.e)])
    expected = 0.75 * right + 0.25 * (right + wrong) / 2
    assert np.mean(losses) == pytest.approx(expected, abs=0.03)
    assert len({round(loss, 4) for loss in losses}) == 2, "one teacher a step"
    alone = float(taught.compute_loss(heard, truth, taught(heard), training=False))
    assert alone == pytest.approx(right)


def test_a_student_keeps_none_of_its_teachers() -> None:
    body = constant([1.0, 0.0])
    taught = distil.Taught(body, [constant([5.0, -5.0])], share=0.5, seed=0)
    assert len(taught.trainable_variables) == len(body.trainable_variables)
    assert len(taught.variables) == len(body.variables) + 1  # which teacher is drawn next


@pytest.mark.timeout(300)
def test_a_student_hears_as_its_teacher_does_and_can_be_resumed(
    tiny_run: Path, generated_corpus: Path, tiny_config: Path, cache: Path, tmp_path: Path
) -> None:
    teacher, run = tiny_run / "model.keras", tmp_path / "student"
    options = ["--data", generated_corpus, "--config", tiny_config, "--epochs", 1]
    options += ["--teachers", teacher, "--out", run, "--cache", cache]
    assert train.main([*map(str, options)]) == 0
    assert read_config(run / "config.toml").train.teachers == (str(teacher),)
    theirs, ours = (
        models.load(path).get_layer("features") for path in (teacher, run / "model.keras")
    )
    for a, b in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert train.main(["--out", str(run), "--resume", "--cache", str(cache)]) == 0


def test_a_teacher_that_knows_the_test_recordings_is_refused(
    tiny_run: Path, generated_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", generated_corpus, "--split", "actors:0", "--out", tmp_path / "run"]
    options += ["--teachers", tiny_run / "model.keras"]
    assert train.main([*map(str, options)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "recordings that its student is judged on" in error
    assert not (tmp_path / "run").exists()


def test_what_a_teacher_was_chosen_by_may_be_learnt_from_but_not_tested_on(
    tiny_run: Path, generated_corpus: Path
) -> None:
    recordings = load_corpus(generated_corpus)
    same = read_split(tiny_run / "split.json", recordings)
    distil.refuse_leaks(tiny_run / "model.keras", same)
    distil.refuse_leaks(tiny_run / "model.keras", make_split(recordings, "common", validation=0.0))
    turned = type(same)("turned", same.train, [], same.validation)
    with pytest.raises(ValueError, match=f"from {len(same.validation)} recordings"):
        distil.refuse_leaks(tiny_run / "model.keras", turned)


@pytest.mark.parametrize("file", ["missing.keras", "broken.keras"])
def test_a_teacher_that_cannot_be_read_is_one_line(
    file: str,
    generated_corpus: Path,
    tiny_config: Path,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "broken.keras").write_bytes(b"no archive")
    options = ["--data", generated_corpus, "--config", tiny_config, "--cache", cache]
    options += ["--teachers", tmp_path / file, "--out", tmp_path / "run"]
    assert train.main([*map(str, options)]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(str(tmp_path / file))
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_emotions_is_refused(tiny_run: Path) -> None:
    config = read_config(tiny_run / "config.toml")
    with pytest.raises(ValueError, match="other labels or another front end"):
        distil.load_teachers([str(tiny_run / "model.keras")], config, EMOTIONS[:-1])


@pytest.mark.timeout(300)
def test_a_run_is_refitted_over_what_it_held_out(
    tiny_run: Path, generated_corpus: Path, cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "again"
    options = ["--refit", str(tiny_run), "--out", str(run), "--cache", str(cache)]
    assert train.main([*options, "--epochs", "1", "--seed", "7"]) == 0
    recordings = load_corpus(generated_corpus)
    first, second = (read_split(folder / "split.json", recordings) for folder in (tiny_run, run))
    assert second.test == first.test
    assert second.validation == []
    assert {r.name for r in second.train} == {r.name for r in [*first.train, *first.validation]}
    found = json.loads((tiny_run / "training.json").read_text())["temperature"]
    assert json.loads((run / "training.json").read_text())["temperature"] == found
    assert float(models.load(run / "model.keras").get_layer("temperature").temperature) == (
        pytest.approx(found)
    )
    config = read_config(run / "config.toml")
    assert config.train.seed == 7
    assert config.augment == read_config(tiny_run / "config.toml").augment
    assert train.main(["--out", str(run), "--resume", "--cache", str(cache)]) == 0


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("unfinished", "is not finished"),
        ("nothing held out", "held nothing out"),
        ("another model", "is for our own model"),
        ("no run", "holds no run"),
    ],
)
def test_what_cannot_be_refitted_is_one_line(
    damage: str,
    complaint: str,
    tiny_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    text = (run / "config.toml").read_text()
    if damage == "unfinished":
        (run / "training.json").unlink()
    elif damage == "nothing held out":
        config = updated(read_config(run / "config.toml"), {"train": {"validation": 0.0}}, "")
        config.write(run / "config.toml")
    elif damage == "another model":
        (run / "config.toml").write_text(text.replace('name = "cnn"', 'name = "lstm"'))
    else:
        (run / "config.toml").unlink()
    assert train.main(["--refit", str(run), "--out", str(tmp_path / "again")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert complaint in lines[0]
    assert not (tmp_path / "again").exists()


def test_a_refit_takes_no_other_settings(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train.main(["--refit", str(tiny_run), "--model", "lstm"])
    assert "--refit takes the settings of its run" in capsys.readouterr().err
