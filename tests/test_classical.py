"""Random forests, neighbours, support vectors and boosted trees on features by librosa."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import librosa
import numpy as np
import pytest
import skops.io
import soundfile
from sklearn.dummy import DummyClassifier

from edge.classifier import ModelError
from ser_tf.config import Config
from ser_tf.corpora import CorpusError, Recording, load_corpus
from ser_tf.runs import Run
from ser_tf.splits import Split
from ser_tf.systems import SYSTEMS
from ser_tf.systems.classical import CHOSEN, Classifier, classifier, estimators, extraction, train
from ser_tf.systems.classical.extraction import extract
from ser_tf.systems.classical.features import FEATURE_SETS, RATE_B, RATE_D, RATE_E, FeatureSet

RANDOM = np.random.default_rng(0)
EMOTIONS = ("neutral", "happy", "angry")
FOREST = "random_forest_d1"


def tone(frequency: float, seconds: float, rate: int) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * k * frequency * time) / k for k in (1, 2, 3))
    return (0.2 * wave).astype(np.float32)


def silence(seconds: float, rate: int) -> np.ndarray:
    return np.zeros(round(seconds * rate), np.float32)


def saved(folder: Path, name: str, samples: np.ndarray, emotion: str, speaker: str) -> Recording:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.wav"
    soundfile.write(path, samples, 16_000)
    return Recording(path, emotion, speaker, name)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems that are fitted in a moment."""
    for size in ("TREES", "TREES_ENHANCED", "ROUNDS_HISTOGRAM", "ROUNDS_XGBOOST"):
        monkeypatch.setattr(estimators, size, 12)


@pytest.fixture
def clips(tmp_path: Path) -> list[Recording]:
    """Three emotions, each a pitch of its own; three speakers, two clips each."""
    return [
        saved(
            tmp_path / "clips",
            f"{emotion}-{speaker}-{clip}",
            tone(pitch + 5 * clip + ord(speaker), 0.5, 16_000),
            emotion,
            speaker,
        )
        for emotion, pitch in zip(EMOTIONS, (200, 500, 900), strict=True)
        for speaker in "abc"
        for clip in range(2)
    ]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The recordings whose features are computed meanwhile."""
    computed: list[Path] = []
    compute = extraction._compute

    def count(recording: Path, kept: Path, name: str) -> str:
        computed.append(recording)
        return compute(recording, kept, name)

    monkeypatch.setattr(extraction, "_compute", count)
    return computed


@pytest.fixture
def trained(tmp_path: Path, clips: list[Recording]) -> Path:
    """The model file of a forest that knows the clips of two of the three speakers."""
    run = Run.create(tmp_path / "run")
    split = Split(
        "actors:0",
        [c for c in clips if c.speaker != "c"],
        [c for c in clips if c.speaker == "c"],
        [],
    )
    return train(
        SYSTEMS[FOREST], Config(), run, split, labels=EMOTIONS, cache=str(tmp_path / "cache")
    )


@pytest.mark.parametrize("held", FEATURE_SETS.values(), ids=list(FEATURE_SETS))
def test_every_waveform_has_as_many_finite_values_as_its_set_says(held: FeatureSet):
    rate = held.sample_rate
    noise = RANDOM.normal(0, 0.1, rate).astype(np.float32)
    for waveform in (noise, noise[:1], silence(1, rate), tone(220, 5, rate)):
        values = held.compute(waveform)
        assert (values.shape, values.dtype) == ((held.size,), np.float32)
        assert np.isfinite(values).all()


def test_features_are_those_of_plain_calls_of_librosa():
    noise = RANDOM.normal(0, 0.1, 3 * RATE_B).astype(np.float32)
    mfcc = librosa.feature.mfcc(y=noise, sr=RATE_D, n_mfcc=40)
    contrast = librosa.feature.spectral_contrast(y=noise, sr=RATE_D)
    found = FEATURE_SETS["d"].compute(noise)
    assert found[:40] == pytest.approx(mfcc.mean(axis=1), abs=1e-2)
    assert found[-7:] == pytest.approx(contrast.mean(axis=1), abs=1e-2)
    beside = FEATURE_SETS["b"].compute(noise)
    assert beside[:13] == pytest.approx(mfcc[:13].mean(axis=1), abs=1e-2)
    assert beside[13:26] == pytest.approx(mfcc[:13].std(axis=1), abs=1e-2)
    centroid, crossings = beside[306], beside[312]
    assert centroid == pytest.approx(librosa.feature.spectral_centroid(y=noise).mean(), rel=1e-3)
    assert crossings == pytest.approx(librosa.feature.zero_crossing_rate(noise).mean(), rel=1e-3)


def test_the_last_values_of_e_are_zero_crossings_and_level():
    crossings, rms = FEATURE_SETS["e"].compute(tone(1_000, 1, RATE_E))[-2:]
    assert crossings == pytest.approx(2 * 1_000 / RATE_E, rel=0.05)
    assert rms == pytest.approx(0.2 * np.sqrt((1 + 1 / 4 + 1 / 9) / 2), rel=0.05)


def test_the_last_values_of_b_tell_what_lasts_from_what_strikes():
    clicks = silence(3, RATE_B)
    clicks[:: RATE_B // 2] = 1.0
    tempo, harmonic, percussive = FEATURE_SETS["b"].compute(clicks)[-3:]
    assert tempo == pytest.approx(120, rel=0.05)
    assert percussive > harmonic + 10
    _, harmonic, percussive = FEATURE_SETS["b"].compute(tone(220, 3, RATE_B))[-3:]
    assert harmonic > percussive + 10


def test_b_hears_the_middle_of_the_voice_wherever_it_is():
    voice = tone(220, 2, RATE_B)
    early = np.concatenate([silence(2, RATE_B), voice, silence(5, RATE_B)])
    late = np.concatenate([silence(6, RATE_B), voice, silence(1, RATE_B)])
    compute = FEATURE_SETS["b"].compute
    assert compute(early) == pytest.approx(compute(late), rel=0.02, abs=0.5)
    first_seconds = compute(early[: 3 * RATE_B])
    assert np.abs(first_seconds - compute(early)).max() > 10


def test_features_are_computed_once_for_the_same_content(
    clips: list[Recording], counted: list[Path], tmp_path: Path
):
    cache = str(tmp_path / "cache")
    rows, used = extract(clips, FEATURE_SETS["d"], cache)
    assert rows.shape == (len(clips), 59)
    assert used == clips
    assert len(counted) == len(clips)
    clips[3].path.write_bytes(clips[9].path.read_bytes())
    again, _ = extract(clips[::-1], FEATURE_SETS["d"], cache)
    assert len(counted) == len(clips)
    unchanged = [n for n in range(len(clips)) if n != 3]
    np.testing.assert_array_equal(again[::-1][unchanged], rows[unchanged])
    np.testing.assert_array_equal(again[::-1][3], rows[9])


def test_what_a_kill_has_left_in_the_cache_is_computed_again(
    clips: list[Recording], counted: list[Path], tmp_path: Path
):
    rows, _ = extract(clips, FEATURE_SETS["d"], str(tmp_path / "cache"))
    kept = sorted((tmp_path / "cache").rglob("*.npy"))
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    kept[1].unlink()
    again, _ = extract(clips, FEATURE_SETS["d"], str(tmp_path / "cache"))
    assert len(counted) == len(clips) + 2
    np.testing.assert_array_equal(again, rows)


def test_a_damaged_recording_costs_its_own_row_only(
    clips: list[Recording], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    clips[1].path.write_bytes(clips[1].path.read_bytes()[:2_000])
    rows, used = extract(clips[:4], FEATURE_SETS["d"], str(tmp_path / "cache"))
    assert used == [clips[0], clips[2], clips[3]]
    assert len(rows) == 3
    warned = capsys.readouterr().err
    assert str(clips[1].path) in warned
    assert "1 of 4 left out" in warned
    with pytest.raises(CorpusError, match="1 of 4 recordings cannot be decoded"):
        extract(clips[:4], FEATURE_SETS["d"], str(tmp_path / "cache"), strict=True)
    with pytest.raises(CorpusError, match="none of 1 recordings"):
        extract(clips[1:2], FEATURE_SETS["d"], str(tmp_path / "cache"))


def test_processes_compute_what_one_does(
    clips: list[Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    alone, _ = extract(clips[:4], FEATURE_SETS["d"], str(tmp_path / "one"))
    monkeypatch.setattr(extraction, "CORES", 2)
    monkeypatch.setattr(extraction, "WORTH_A_PROCESS", 2)
    shared, _ = extract(clips[:4], FEATURE_SETS["d"], str(tmp_path / "two"))
    np.testing.assert_array_equal(shared, alone)


def test_neither_features_nor_answers_need_tensorflow():
    code = (
        "import sys, ser_tf.systems.classical.estimators, ser_tf.systems.classical as package;"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


@pytest.mark.parametrize("name", estimators.FEATURES)
def test_a_saved_system_answers_as_it_did(name: str, tmp_path: Path):
    held = FEATURE_SETS[estimators.FEATURES[name]]
    answers = np.arange(60) % 3
    rows = RANDOM.normal(size=(60, held.size)).astype(np.float32)
    rows[:, ::5] += 2 * answers[:, np.newaxis]
    pipeline = estimators.fit(name, rows, answers, seed=0)
    assert np.mean(pipeline.predict_proba(rows).argmax(axis=1) == answers) > 0.8
    path = tmp_path / "model.skops"
    classifier.save(pipeline, EMOTIONS, EMOTIONS, held.name, path)
    loaded = Classifier(path)
    assert (loaded.labels, loaded.sample_rate) == (EMOTIONS, held.sample_rate)
    voice = tone(300, 1, held.sample_rate)
    said = loaded.predict(voice)
    expected = pipeline.predict_proba(held.compute(voice)[np.newaxis])[0]
    assert list(said.probabilities.values()) == pytest.approx(expected, abs=1e-6)
    nodes = estimators.count_nodes(pipeline)
    if name in ("knn", "svm", "svm_unscaled"):
        assert nodes is None
    else:
        assert nodes is not None
        assert nodes > 60


def test_the_registry_lists_every_classical_system_and_what_was_chosen_for_it():
    classical = {name for name, system in SYSTEMS.items() if system.classical}
    assert classical == set(estimators.FEATURES) == set(CHOSEN)


def test_a_run_holds_a_model_and_what_it_took(trained: Path, clips: list[Recording]):
    facts = json.loads((trained.parent / "training.json").read_text())
    assert facts["training_recordings"] == 12
    assert facts["validation_recordings"] == 6
    assert facts["parameters"] >= 36
    assert facts["seconds"] > 0
    assert facts["epochs"] is None
    model = Classifier(trained)
    assert facts["validation_accuracy"] == pytest.approx(
        np.mean(
            [model.predict_file(c.path).emotion == c.emotion for c in clips if c.speaker == "c"]
        )
    )
    assert [model.predict_file(clip.path).emotion for clip in clips[:2]] == ["neutral", "neutral"]


def test_a_finished_run_is_not_trained_again(trained: Path, tmp_path: Path):
    before = trained.read_bytes()
    again = train(
        SYSTEMS[FOREST],
        Config(),
        Run(trained.parent),
        Split("common", [], [], []),
        labels=EMOTIONS,
        cache=str(tmp_path / "nothing"),
    )
    assert (again, again.read_bytes()) == (trained, before)


def test_a_label_that_no_recording_had_gets_no_probability(clips: list[Recording], tmp_path: Path):
    run = Run.create(tmp_path / "run")
    labels = ("calm", *EMOTIONS)
    split = Split("common", clips, [], [])
    cache = str(tmp_path / "cache")
    model = train(SYSTEMS["xgboost"], Config(), run, split, labels=labels, cache=cache)
    said = Classifier(model).predict_file(clips[0].path)
    assert said.emotion == "neutral"
    assert tuple(said.probabilities) == labels
    assert said.probabilities["calm"] == 0
    assert sum(said.probabilities.values()) == pytest.approx(1)


def test_recordings_of_one_emotion_teach_nothing(clips: list[Recording], tmp_path: Path):
    run = Run.create(tmp_path / "run")
    alike = Split("common", clips[:3], [], [])
    with pytest.raises(ValueError, match="all neutral"):
        train(SYSTEMS["knn"], Config(), run, alike, labels=EMOTIONS, cache=str(tmp_path / "cache"))
    assert not run.classical.exists()


def test_silence_is_answered_as_silence(trained: Path):
    model = Classifier(trained)
    said = model.predict(silence(2, model.sample_rate))
    assert said.silent
    assert (said.confidence, said.probabilities, said.end) == (0, {}, 2)


def test_a_long_recording_is_answered_by_its_first_minute(trained: Path, tmp_path: Path):
    model = Classifier(trained)
    minute = tone(205, 60, 16_000)
    soundfile.write(tmp_path / "long.wav", np.concatenate([minute, -minute / 2]), 16_000)
    soundfile.write(tmp_path / "minute.wav", minute, 16_000)
    long = model.predict_file(tmp_path / "long.wav")
    assert long.end == pytest.approx(60)
    assert long.probabilities == pytest.approx(
        model.predict_file(tmp_path / "minute.wav").probabilities, abs=0.05
    )


def test_folds_of_a_stack_keep_speakers_apart():
    answers = np.tile(np.arange(4), 30)
    speakers = [f"speaker {n // 12}" for n in range(120)]
    for learnt, tried in estimators.stacking_folds(answers, speakers, 0).split():
        assert not {speakers[n] for n in learnt} & {speakers[n] for n in tried}
    mixed = estimators.stacking_folds(answers, None, 0).split()
    assert any(
        {speakers[n] for n in learnt} & {speakers[n] for n in tried} for learnt, tried in mixed
    )


def test_folds_of_a_stack_mix_speakers_where_one_alone_has_an_emotion():
    answers = np.array([0, 1] * 20 + [2, 2, 2])
    speakers = ["a"] * 10 + ["b"] * 30 + ["c"] * 3
    for learnt, _ in estimators.stacking_folds(answers, speakers, 0).split():
        assert set(answers[learnt]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "does not exist"), (b"", "no model"), (b"PK\x03\x04 and so on", "no model")],
)
def test_what_is_no_model_is_refused_in_one_line(content: bytes | None, why: str, tmp_path: Path):
    path = tmp_path / "model.skops"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=why) as refusal:
        Classifier(path)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)


def test_a_model_of_other_types_is_refused_unread(tmp_path: Path):
    path = tmp_path / "model.skops"
    skops.io.dump({"labels": list(EMOTIONS), "pipeline": subprocess.run}, path)
    with pytest.raises(ModelError, match="subprocess"):
        Classifier(path)


def test_a_model_of_other_features_or_another_scikit_learn_is_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = tmp_path / "other.skops"
    with zipfile.ZipFile(trained) as old, zipfile.ZipFile(other, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            if member == "schema.json":
                import sklearn

                held = json.dumps(sklearn.__version__).replace('"', '\\"').encode()
                assert held in content
                content = content.replace(held, held.replace(b"1.", b"0."))
            new.writestr(member, content)
    with pytest.raises(ModelError, match="written with scikit-learn 0"):
        Classifier(other)
    monkeypatch.setattr(classifier, "VERSION", 2)
    with pytest.raises(ModelError, match="other features"):
        Classifier(trained)
    foreign = DummyClassifier().fit(np.zeros((2, 3)), [0, 1])
    classifier.save(foreign, EMOTIONS, EMOTIONS[:2], "d", other)
    with pytest.raises(ModelError, match="other features"):
        Classifier(other)


def test_forests_learn_the_generated_corpus(generated_corpus: Path, tmp_path: Path):
    corpus = [r for r in load_corpus(generated_corpus) if r.name.endswith(("0", "1"))]
    assert len({recording.emotion for recording in corpus}) == 8
    rows, used = extract(corpus, FEATURE_SETS["e"], str(tmp_path / "cache"))
    labels = sorted({recording.emotion for recording in used})
    answers = np.array([labels.index(recording.emotion) for recording in used])
    odd = np.arange(len(used)) % 2 == 1
    model = estimators.fit("random_forest_e1", rows[~odd], answers[~odd], seed=0)
    assert np.mean(model.predict(rows[odd]) == answers[odd]) > 3 / 8
