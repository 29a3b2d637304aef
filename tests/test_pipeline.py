"""Decoded recordings become the same batches again and again."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from conftest import OFF
from voice_clips import saved, voice

from edge import audio
from edge.classifier import cut, window_starts
from ser_tf import augment, decoding, models, pipeline
from ser_tf.config import N_SAMPLES, SAMPLE_RATE, AugmentConfig, FrontendConfig
from ser_tf.corpora import Recording
from ser_tf.emotions import EMOTIONS
from ser_tf.frontend import build_log_mel, n_features

FRONTEND = FrontendConfig()
MEL_ALONE = FrontendConfig(floor_db=-40.0, pitch=False)
CLIPS, BATCH = 64, 16


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def log_mels(recordings: list[Recording], cache: str, frontend: FrontendConfig) -> np.ndarray:
    """What the pipeline makes of each recording, ``(recordings, 224, bands)`` in dB."""
    names = [recording.name for recording in recordings]
    labelled = [Recording(r.path, r.name, "", r.name) for r in recordings]
    shards = decoding.prepare(labelled, names, cache)
    features = keras.layers.Identity()
    batches = list(pipeline.plain_batches(shards, 8, features, len(names), frontend, cache))
    features = np.concatenate([features for features, _ in batches])
    order = np.concatenate([targets for _, targets in batches]).argmax(axis=1)
    assert sorted(order) == list(range(len(names)))
    return features[np.argsort(order)]


def assert_versions_alike(original: np.ndarray, rate: int, folder: Path, cache: str) -> None:
    def resampled(to: int) -> np.ndarray:
        import soxr

        return soxr.resample(original, rate, to)

    def version(name: str, samples: np.ndarray, to: int = rate, subtype: str = "PCM_24"):
        return saved(folder, samples, name=name, samplerate=to, subtype=subtype)

    versions = [
        version("original", original, subtype="FLOAT"),
        *(version(kind, original, subtype=kind) for kind in ("PCM_16", "PCM_24", "PCM_32")),
        version("stereo", np.stack([1.2 * original, 0.8 * original], axis=1)),
        *(version(f"{to}", resampled(to), to) for to in (16_000, 22_050, 32_000, 44_100, 96_000)),
        version("telephone", resampled(8_000), 8_000),
        version("PCM_U8", original, subtype="PCM_U8"),
    ]
    expected, *others, telephone, coarse = log_mels(versions, cache, MEL_ALONE)
    assert np.ptp(expected) > 30
    for other in others:
        np.testing.assert_allclose(other, expected, atol=0.2)
    below_3_khz = slice(38)  # bands that 8 kHz can hold
    np.testing.assert_allclose(telephone[:, below_3_khz], expected[:, below_3_khz], atol=0.2)
    assert np.abs(coarse - expected).mean() < 0.5  # 8 bits are noise at -48 dB


def test_every_version_of_a_recording_gives_the_same_features(tmp_path, cache):
    assert_versions_alike(voice(4.2, 48_000), 48_000, tmp_path / "versions", cache)


def test_every_version_of_a_real_recording_gives_the_same_features(real_data, tmp_path, cache):
    path = sorted((real_data / "ravdess_original").rglob("*.wav"))[0]
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    assert_versions_alike(0.8 * mono / np.abs(mono).max(), rate, tmp_path / "versions", cache)


def placed(seconds: float, voiced_from: float, voiced_to: float) -> np.ndarray:
    """Faint noise with a voice in it: float64 ``(samples,)``."""
    count = round(seconds * SAMPLE_RATE)
    waveform = 1e-5 * np.random.default_rng(0).standard_normal(count)
    first, last = round(voiced_from * SAMPLE_RATE), round(voiced_to * SAMPLE_RATE)
    waveform[first:last] += voice((last - first) / SAMPLE_RATE)
    return waveform


WINDOW = N_SAMPLES / SAMPLE_RATE  # seconds
PLACES = {
    "short": (1.3, 0.2, 1.0),
    "odd": (1.3 + 1 / SAMPLE_RATE, 0.2, 1.0),
    "exact": (WINDOW, 1.0, 2.0),
    "one more": (WINDOW + 1 / SAMPLE_RATE, 2.0, 3.0),
    "middle": (8.0, 3.1, 5.2),
    "start": (8.0, 0.0, 2.0),
    "end": (8.0, 7.0, 8.0),
    "full": (8.0, 2.0, 2.0 + WINDOW - 0.05),
    "very long, early": (40.0, 3.0, 4.5),
    "very long, late": (40.0, 31.0, 33.5),
}


def edge_window(recording: Recording) -> np.ndarray:
    waveform = audio.load(recording.path)
    starts = window_starts(len(waveform), audio.voice_span(waveform), N_SAMPLES)
    assert len(starts) == 1
    return cut(waveform, starts[0], N_SAMPLES)


def test_the_window_is_the_one_the_edge_cuts(tmp_path, cache):
    recordings = [saved(tmp_path, placed(*place), name, name) for name, place in PLACES.items()]
    shards = decoding.prepare(recordings, list(PLACES), cache)
    for waveforms, labels in pipeline.waveforms(shards, 3):
        for waveform, label in zip(waveforms.numpy(), labels.numpy(), strict=True):
            np.testing.assert_allclose(
                waveform, edge_window(recordings[label]), atol=1e-4, err_msg=list(PLACES)[label]
            )


def test_of_a_long_recording_only_what_training_needs_is_kept(tmp_path, cache):
    recording = saved(tmp_path, placed(120.0, 50.0, 60.0))
    (shard,) = decoding.prepare([recording], EMOTIONS, cache).files
    kept = Path(shard).stat().st_size / 2 / SAMPLE_RATE
    assert kept == pytest.approx(decoding.KEPT_SECONDS, abs=0.1)


def batches_of(
    shards: decoding.Shards, config: AugmentConfig, classes: int = CLIPS, **settings
) -> tf.data.Dataset:
    cache = str(Path(shards.files[0]).parent.parent)
    frontend = settings.pop("frontend", FRONTEND)
    corpora = [
        pipeline.spectrograms(part, config, frontend, cache)
        for part in (shards, *settings.pop("extra", ()))
    ]
    return pipeline.training_batches(
        corpora,
        settings.pop("batch_size", BATCH),
        settings.pop("features", keras.layers.Identity()),
        settings.pop("class_weights", np.ones(classes)),
        config,
        frontend,
        **{"seed": 0, **settings},
    )


@pytest.fixture
def small_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "MASK_BANK", 50)


def test_training_without_augmentation_hears_what_the_edge_hears(tmp_path, cache, small_bank):
    recordings = [saved(tmp_path, placed(*place), name, name) for name, place in PLACES.items()]
    shards = decoding.prepare(recordings, list(PLACES), cache)
    batches = batches_of(shards, OFF, len(PLACES), batch_size=len(PLACES))
    log_mel, targets, _ = next(iter(batches))
    for ours, target in zip(log_mel.numpy(), targets.numpy(), strict=True):
        recording = recordings[target.argmax()]
        heard = build_log_mel(FRONTEND)(edge_window(recording)[None])[0].numpy()
        heard, ours = np.maximum(heard, -60), np.maximum(ours, -60)
        # At a recording's ends the window may lie one sample off.
        np.testing.assert_allclose(ours, heard, atol=0.5, err_msg=recording.name)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> decoding.Shards:
    """64 recordings in eight shards, each with a label of its own."""
    folder = tmp_path_factory.mktemp("many")
    names = [f"{k:02d}" for k in range(CLIPS)]
    recordings = [
        saved(folder / "clips", voice(0.3, pitch=100 + 3 * k), name, name)
        for k, name in enumerate(names)
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decoding, "SHARD_RECORDINGS", 8)
        return decoding.prepare(recordings, names, str(folder / "cache"))


def orders(batches: tf.data.Dataset, epochs: int, a_epoch: int) -> list[list[int]]:
    heard = [
        targets.numpy().argmax(axis=1)
        for _, targets, _ in itertools.islice(batches, epochs * a_epoch)
    ]
    return np.concatenate(heard).reshape(epochs, -1).tolist()


def test_every_recording_is_heard_once_an_epoch_in_another_order(many, small_bank):
    assert len(many.files) == 8
    epochs = orders(batches_of(many, OFF), 3, CLIPS // BATCH)
    for epoch in epochs:
        assert sorted(epoch) == list(range(CLIPS))
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_what_does_not_fill_a_batch_waits_for_another_epoch(many, small_bank):
    epochs = orders(batches_of(many, OFF, batch_size=24), 8, CLIPS // 24)
    assert all(len(set(epoch)) == 48 for epoch in epochs)
    assert set(itertools.chain(*epochs)) == set(range(CLIPS))


def test_an_epoch_mixes_the_shards(many, small_bank):
    stored = [label for _, labels in pipeline.waveforms(many, 8) for label in labels.numpy()]
    shard_of = {label: place // 8 for place, label in enumerate(stored)}
    (epoch,) = orders(batches_of(many, OFF), 1, CLIPS // BATCH)
    for first in range(0, CLIPS, BATCH):
        most = Counter(shard_of[label] for label in epoch[first : first + BATCH]).most_common(1)
        assert most[0][1] < 8


def taken(batches: tf.data.Dataset, first: int, count: int) -> list[tuple[np.ndarray, ...]]:
    chosen = itertools.islice(batches, first, first + count)
    return [tuple(part.numpy() for part in batch) for batch in chosen]


def test_a_stream_started_later_goes_on_as_it_would_have(many, small_bank):
    a_epoch = CLIPS // BATCH
    whole = taken(batches_of(many, AugmentConfig()), 2 * a_epoch, 2 * a_epoch)
    later = taken(batches_of(many, AugmentConfig(), first_epoch=2), 0, 2 * a_epoch)
    for before, after in zip(whole, later, strict=True):
        for mine, theirs in zip(before, after, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_another_seed_gives_another_order_and_other_changes(many, small_bank):
    config = AugmentConfig(mixup=0.0)
    ((first, labels, _),) = taken(batches_of(many, config), 0, 1)
    ((other, other_labels, _),) = taken(batches_of(many, config, seed=1), 0, 1)
    assert (labels != other_labels).any()
    assert np.abs(first - other).mean() > 0.1


def test_a_recording_is_changed_anew_every_epoch(tmp_path, cache, small_bank):
    shards = decoding.prepare([saved(tmp_path, voice(0.2))], EMOTIONS, cache)
    config = AugmentConfig(mixup=0.0)
    epochs = taken(batches_of(shards, config, len(EMOTIONS), batch_size=1), 0, 3)
    for (first, *_), (second, *_) in itertools.combinations(epochs, 2):
        assert np.abs(first - second).max() > 1


def test_a_recording_is_played_at_every_speed_over_the_epochs(tmp_path, cache, small_bank):
    shards = decoding.prepare([saved(tmp_path, voice(0.2))], EMOTIONS, cache)
    config = AugmentConfig(**{**vars(OFF), "speed": 0.06})
    epochs = taken(batches_of(shards, config, len(EMOTIONS), batch_size=1), 0, 40)
    heard = {log_mel.tobytes() for log_mel, *_ in epochs}
    assert len(heard) == len(augment.speeds(config))


def test_the_shift_moves_the_window_against_the_voice(tmp_path, cache, small_bank):
    recordings = [saved(tmp_path, placed(8.0, 3.5, 4.5), str(k), str(k)) for k in range(2)]
    shards = decoding.prepare(recordings, ["0", "1"], cache)
    shift = 0.4
    config = AugmentConfig(**{**vars(OFF), "shift": shift})
    starts = [
        (log_mel.max(axis=1) > -30).argmax()
        for features, _, _ in taken(batches_of(shards, config, 2, batch_size=2), 0, 12)
        for log_mel in features
    ]
    seconds = (np.array(starts) * 256 + 256) / SAMPLE_RATE - (WINDOW - 1) / 2
    assert np.abs(seconds).max() < shift + 0.03
    assert seconds.min() < -0.2
    assert seconds.max() > 0.2


def test_batches_hold_features_soft_labels_and_weights(many, small_bank):
    features = models.build_features(FrontendConfig())
    weights = np.linspace(0.5, 2, CLIPS)
    batches = batches_of(many, AugmentConfig(), features=features, class_weights=weights)
    assert [spec.shape.rank for spec in batches.element_spec] == [3, 2, 1]
    ((inputs, targets, sample_weights),) = taken(batches, 0, 1)
    assert inputs.shape == (BATCH, 224, n_features(FrontendConfig()))
    assert np.isfinite(inputs).all()
    assert targets.shape == (BATCH, CLIPS)
    np.testing.assert_allclose(sample_weights, targets @ weights, rtol=1e-5)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> decoding.Shards:
    """Twelve recordings of a further corpus, 20 dB softer than those of ``many``."""
    folder = tmp_path_factory.mktemp("quiet")
    recordings = [
        saved(folder / "clips", 0.1 * voice(0.3, pitch=100 + 3 * k), f"{k:02d}", f"{k:02d}")
        for k in range(12)
    ]
    names = [f"{k:02d}" for k in range(CLIPS)]
    return decoding.prepare(recordings, names, str(folder / "cache"))


def test_further_corpora_have_their_share_of_every_batch(many, quiet, small_bank):
    batches = batches_of(many, OFF, extra=[quiet], extra_share=0.25, batch_size=16)
    heard = taken(batches, 0, 2 * (CLIPS // 12))
    labels = np.array([targets.argmax(axis=1) for _, targets, _ in heard])
    assert (labels[:, 12:] < 12).all()
    for epoch in np.split(labels[:, :12], 2):
        assert len(set(epoch.ravel())) == 60, "the first corpus is heard once an epoch"
    assert set(labels[:, 12:].ravel()) == set(range(12))


def test_of_a_further_corpus_every_recording_is_heard_in_time(quiet, many, small_bank):
    batches = batches_of(quiet, OFF, extra=[many], extra_share=0.25, batch_size=8)
    heard = [targets[6:].argmax(axis=1) for _, targets, _ in taken(batches, 0, 300)]
    assert set(np.ravel(heard)) == set(range(CLIPS))


def test_the_level_of_a_further_corpus_is_brought_to_that_of_the_first(many, quiet, small_bank):
    batches = batches_of(many, OFF, extra=[quiet], extra_share=0.5, batch_size=16)
    ((log_mel, *_),) = taken(batches, 0, 1)
    loudest = log_mel.max(axis=(1, 2))
    assert loudest[:8].mean() == pytest.approx(loudest[8:].mean(), abs=1)


def test_a_stream_with_further_corpora_started_later_goes_on_as_well(many, quiet, small_bank):
    options: dict[str, Any] = {"extra": [quiet], "extra_share": 0.5}
    a_epoch = CLIPS // (BATCH // 2)
    whole = taken(batches_of(many, AugmentConfig(), **options), a_epoch, a_epoch)
    later = taken(batches_of(many, AugmentConfig(), first_epoch=1, **options), 0, a_epoch)
    for before, after in zip(whole, later, strict=True):
        for mine, theirs in zip(before, after, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("corpora", "share", "counts"), [(1, 0.5, [32]), (2, 0.5, [16, 16]), (3, 0.5, [16, 8, 8])]
)
def test_further_corpora_share_evenly(corpora, share, counts):
    assert pipeline.batch_counts(corpora, 32, share) == counts


def test_a_batch_without_room_for_every_corpus_is_told():
    with pytest.raises(ValueError, match="a batch of 4 has no room for all of 9 corpora"):
        pipeline.batch_counts(9, 4, 0.5)


def test_spectrograms_are_computed_once(many, tmp_path, capfd):
    first = pipeline.spectrograms(many, OFF, FRONTEND, str(tmp_path))
    assert "spectra" in capfd.readouterr().err
    assert pipeline.spectrograms(many, OFF, FRONTEND, str(tmp_path)).files == first.files
    assert "spectra" not in capfd.readouterr().err
    faster = AugmentConfig(**{**vars(OFF), "speed": 0.1})
    assert pipeline.spectrograms(many, faster, FRONTEND, str(tmp_path)).files != first.files


def test_spectrograms_broken_off_leave_nothing(many, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "settle", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pipeline.spectrograms(many, OFF, FRONTEND, str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_plain_batches_leave_nothing_out(many, cache):
    features = keras.layers.Identity()
    batches = list(pipeline.plain_batches(many, 24, features, CLIPS, FRONTEND, cache))
    assert [features.shape for features, _ in batches] == [(24, 224, 160)] * 2 + [(16, 224, 160)]
    targets = np.concatenate([targets for _, targets in batches])
    np.testing.assert_array_equal(targets.sum(axis=0), np.ones(CLIPS))


def test_fewer_recordings_than_a_batch_are_told(many):
    with pytest.raises(ValueError, match="64 recordings do not fill one batch of 100"):
        batches_of(many, OFF, batch_size=100)


def test_no_stage_of_the_stream_keeps_an_epoch_in_memory(many, small_bank):
    def stages(dataset: tf.data.Dataset):
        yield type(dataset).__name__
        for inner in dataset._inputs():
            yield from stages(inner)

    kinds = list(stages(batches_of(many, OFF)))
    assert "_FlatMapDataset" in kinds
    assert not any("Cache" in kind for kind in kinds)
