"""Training runs: what they leave, how they resume, what they refuse."""

import csv
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from ser_tf import decoding, fitting, models, pipeline, train
from ser_tf.config import Config, ConfigError, FrontendConfig, read_config
from ser_tf.corpora import load_corpus
from ser_tf.emotions import EMOTIONS
from ser_tf.frontend import build_log_mel
from ser_tf.runs import Run, RunError
from ser_tf.splits import read_split


def command(*options: object) -> list[str]:
    return [sys.executable, "-m", "ser_tf.train", *map(str, options)]


def weights(run: Path) -> list[np.ndarray]:
    return models.load(run / "model.keras").get_weights()


def history(run: Path) -> list[dict[str, str]]:
    path = run / "history.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.timeout(300)
def test_a_killed_run_resumes_and_ends_with_the_same_weights(
    tiny_run: Path, generated_corpus: Path, tiny_config: Path, cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    options = ["--data", generated_corpus, "--config", tiny_config, "--cache", cache, "--out", run]
    process = subprocess.Popen(command(*options), cwd=ROOT, stderr=subprocess.DEVNULL)
    while len(history(run)) < 2:
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run / "model.keras").exists()

    done = subprocess.run(
        command("--out", run, "--resume", "--cache", cache),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [row["epoch"] for row in history(run)] == ["1", "2", "3", "4"]
    for resumed, uninterrupted in zip(weights(run), weights(tiny_run), strict=True):
        np.testing.assert_allclose(resumed, uninterrupted, rtol=1e-4, atol=1e-5)


def test_a_run_folder_says_all_about_its_run(tiny_run: Path, generated_corpus: Path) -> None:
    config = read_config(tiny_run / "config.toml")
    assert config.data == str(generated_corpus.resolve())
    assert config.train.epochs == 4
    split = json.loads((tiny_run / "split.json").read_text())
    assert split["name"] == "common"
    parts = [set(split[part]) for part in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 128
    rows = history(tiny_run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(rows[0])
    assert list((tiny_run / "tensorboard").rglob("events.out.*"))
    assert next(tiny_run.glob("example.*")).resolve().is_file()


def test_training_lowers_the_loss(tiny_run: Path) -> None:
    losses = [float(row["loss"]) for row in history(tiny_run)]
    assert losses[-1] < 0.9 * losses[0]


def test_another_seed_ends_with_other_weights(
    tiny_run: Path, generated_corpus: Path, tiny_config: Path, cache: Path, tmp_path: Path
) -> None:
    options = ["--data", generated_corpus, "--config", tiny_config, "--cache", cache, "--seed", 1]
    assert train.main([str(option) for option in [*options, "--out", tmp_path / "other"]]) == 0
    differences = [
        np.abs(one - other).max()
        for one, other in zip(weights(tiny_run), weights(tmp_path / "other"), strict=True)
    ]
    assert max(differences) > 0.01


@pytest.mark.parametrize("option", ["--mixed-precision", "--strategy=mirrored"])
def test_a_model_trained_in_another_way_is_saved_in_float32(
    option: str, generated_corpus: Path, tiny_config: Path, cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    options = ["--data", generated_corpus, "--config", tiny_config, "--cache", cache, "--out", run]
    assert train.main([*map(str, options), "--epochs", "1", option]) == 0
    model = models.load(run / "model.keras")
    assert {layer.compute_dtype for layer in model._flatten_layers()} == {"float32"}
    assert model(np.zeros((1, 57600), "float32")).shape == (1, 8)


def test_two_runs_never_share_a_folder(
    tiny_run: Path, generated_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")}
    assert train.main(["--data", str(generated_corpus), "--out", str(tiny_run)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")} == before


def test_a_run_in_progress_is_not_resumed_by_another_process(tiny_run: Path) -> None:
    with Run(tiny_run).locked():
        done = subprocess.run(
            command("--out", tiny_run, "--resume"), cwd=ROOT, capture_output=True, text=True
        )
    assert done.returncode == 1
    assert "another process" in done.stderr.splitlines()[-1]


def test_a_resumed_run_keeps_its_settings(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(["--out", str(tiny_run), "--resume", "--epochs", "9"]) == 1
    assert "other settings" in capsys.readouterr().err


def test_a_damaged_state_is_one_line(tiny_run: Path) -> None:
    state = tiny_run / "state.npz"
    content = state.read_bytes()
    state.write_bytes(content[: len(content) // 2])
    try:
        with pytest.raises(RunError, match=r"state\.npz: cannot be resumed from"):
            Run(tiny_run).load_state([])
    finally:
        state.write_bytes(content)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[train]\nepoch = 3", "no setting is called 'epoch'"),
        ("[train]\nepochs = 'many'", "epochs must be int"),
        ("[augment]\nnoise_snr_db = [1.0]", "a list of 2"),
        ("train = 3", "train is a table"),
        ("[train", "cannot be read as TOML"),
    ],
)
def test_a_wrong_setting_is_named(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=complaint) as error:
        read_config(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        ["--data", "nowhere"],
        ["--split", "sideways"],
        ["--epochs", "0"],
        ["--config", "missing.toml"],
        ["--out", "missing", "--resume"],
    ],
)
def test_a_users_mistake_is_one_line_and_leaves_no_folder(
    options: list[str],
    generated_corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--data" not in options and "--resume" not in options:
        options = [*options, "--data", str(generated_corpus)]
    assert train.main(options) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--batch-size", "1000"], "give a smaller --batch-size"),
        (["--cache", "taken/by/a/file"], "taken/by/a/file: cannot hold decoded recordings"),
    ],
)
def test_a_run_that_cannot_begin_leaves_no_folder(
    options: list[str],
    complaint: str,
    generated_corpus: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    always = ["--data", str(generated_corpus), "--out", "run", "--cache", str(cache)]
    assert train.main([*always, *options]) == 1
    assert complaint in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("before", "now"), [("true", 64), ("false", 0)])
def test_settings_from_before_pitch_mean_what_they_meant(tmp_path, before, now) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"[frontend]\ndeltas = {before}\n[train]\nepochs = 7\n")
    config = read_config(path)
    assert config.frontend == FrontendConfig(deltas=now, pitch=False)
    assert (config.train.optimizer, config.train.epochs) == ("adamw", 7)
    config.write(path)
    assert read_config(path) == config


def test_a_run_from_before_channel_dropout_was_a_setting_keeps_what_it_had(tmp_path):
    Config().write(written := tmp_path / "config.toml")
    before = written.read_text().replace("channel_dropout = 0.05\n", "")
    assert "channel_dropout" not in before
    written.write_text(before)
    assert read_config(written).model.channel_dropout == 0.1
    (partial := tmp_path / "mine.toml").write_text("[model]\nblocks = [64, 64]\n")
    assert read_config(partial).model.channel_dropout == Config().model.channel_dropout


def test_an_optimiser_that_does_not_exist_is_one_line(
    generated_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('[train]\noptimizer = "sgd"\n')
    options = ["--data", generated_corpus, "--config", settings, "--out", tmp_path / "run"]
    assert train.main([*map(str, options)]) == 1
    assert capsys.readouterr().err.splitlines() == ["no optimizer 'sgd'; there are: muon, adamw"]


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_whitening_brings_features_to_the_same_deviation(
    whitening: float, tiny_run: Path, generated_corpus: Path, cache: Path
) -> None:
    split = read_split(tiny_run / "split.json", load_corpus(generated_corpus))
    shards = decoding.prepare(split.train, EMOTIONS, str(cache))
    config = FrontendConfig(whitening=whitening)
    features = models.build_features(config)
    fitting.set_statistics(features, shards, config)
    log_mel = build_log_mel(config)
    cepstrum = features.layers[0]
    waveforms = [waveform for waveform, _ in pipeline.waveforms(shards, 32)]
    before = np.concatenate([cepstrum(log_mel(w)) for w in waveforms]).std(axis=(0, 1))
    after = np.concatenate([features(log_mel(w)) for w in waveforms]).std(axis=(0, 1))
    rms = np.sqrt(np.mean(before**2))
    np.testing.assert_allclose(after, (before / rms) ** (1 - whitening), rtol=1e-3)


def test_rare_classes_weigh_more_and_the_mean_weight_is_one() -> None:
    shares = np.array([0.75, 0.25, 0.0])
    weights = fitting.class_weights(shares, 0.5)
    assert weights[1] / weights[0] == pytest.approx(3**0.5)
    assert np.sum(weights * shares) == pytest.approx(1)
    assert fitting.class_weights(shares, 0.0) == pytest.approx([1, 1, 1])


def test_shares_of_classes_are_those_of_a_batch() -> None:
    corpora = [np.array([0, 0, 0, 1]), np.array([2] * 100)]
    assert fitting.class_shares(corpora, [24, 8], 4) == pytest.approx([9 / 16, 3 / 16, 1 / 4, 0])


def test_further_corpora_are_learnt_from_and_named(
    generated_corpus: Path, tiny_config: Path, cache: Path, tmp_path: Path
) -> None:
    from ser_tf.corpora import synthetic

    further = tmp_path / "further"
    synthetic.generate(further, speakers=2, clips=1)
    run = tmp_path / "run"
    options = ["--data", generated_corpus, "--config", tiny_config, "--cache", cache, "--out", run]
    options += ["--extra", further, "--epochs", 1]
    assert train.main([*map(str, options)]) == 0
    assert read_config(run / "config.toml").extra == (str(further.resolve()),)
    split = json.loads((run / "split.json").read_text())
    assert split["extra"] == {"further": [recording.name for recording in load_corpus(further)]}
    # A quarter of a batch of 16 is the further corpus's.
    trained = json.loads((run / "training.json").read_text())
    assert trained["steps"] == len(split["train"]) // 12


def test_what_a_further_corpus_calls_calm_may_be_learnt_as_neutral(
    generated_corpus: Path,
    tiny_config: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('relabel = ["calm=neutral"]\n' + tiny_config.read_text())
    learnt: list[Counter[str]] = []

    def noted(corpora: list[np.ndarray], *rest: Any) -> np.ndarray:
        learnt.extend(Counter(EMOTIONS[label] for label in labels) for labels in corpora)
        return shares_of(corpora, *rest)

    shares_of = fitting.class_shares
    monkeypatch.setattr(fitting, "class_shares", noted)
    options = ["--data", generated_corpus, "--config", settings, "--cache", cache]
    options += ["--out", tmp_path / "run", "--extra", generated_corpus, "--epochs", 1]
    assert train.main([*map(str, options)]) == 0
    first, further = learnt
    counted = Counter(recording.emotion for recording in load_corpus(generated_corpus))
    assert further["neutral"] == counted["neutral"] + counted["calm"]
    assert further["calm"] == 0 < first["calm"]


def test_the_temperature_undoes_overconfidence() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 8))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([generator.choice(8, p=row) for row in probabilities])
    assert fitting.fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("steps", [40, 400, 11_000])
def test_averaged_weights_forget_the_initial_ones(steps: int) -> None:
    optimizer = fitting.compiled_body(Config(), 8, steps).optimizer
    assert optimizer.ema_momentum**steps < 1e-6
