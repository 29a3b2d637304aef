"""Decoded recordings to batches: tf.data, in graph.

What does not change from epoch to epoch, the log-mel spectrogram of a recording at each of a few
playing speeds, is computed from the shards of :mod:`ser_tf.decoding` into shards of its own. What
each epoch changes is computed in the graph; nothing is kept in memory but a shuffle buffer.
"""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ser_tf import augment
from ser_tf.config import N_FRAMES, N_SAMPLES, AugmentConfig, FrontendConfig
from ser_tf.corpora import CorpusError
from ser_tf.decoding import (
    RECORD,
    SHARD_RECORDINGS,
    Shards,
    bytes_feature,
    example,
    integers_feature,
    settle,
    write_aside,
)
from ser_tf.frontend import build_log_mel, n_bands

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SHUFFLE_RECORDINGS = 2048  # 173 MB of spectrograms
SPECTROGRAM_VERSION = 4  # likewise, of spectrograms
HEADROOM_DB = 20.0  # below the floor that spectrograms still hold, for the gain to bring up
UNCHANGED = AugmentConfig(speed=0.0, shift=0.0)  # of what is kept of a recording

SPECTROGRAM = {  # what tf.io.parse_example needs to read one
    "log_mel": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
}


@dataclass(frozen=True)
class Spectrograms:
    """Spectrograms of decoded recordings on disk.

    Attributes:
        files: The TFRecord files: for each shard, one for each speed.
        labels: For every recording, the index of its label.
        level_db: Median over recordings of the root mean square of the window, dB re full scale.
    """

    files: tuple[tuple[str, ...], ...]
    labels: np.ndarray
    level_db: float


def _cut(record: tf.Tensor, length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode one record and cut ``length`` samples about the middle of the model's window.

    The window lies where :mod:`edge.classifier` puts it: centred on the voice, inside the recording
    where it is long enough. What reaches beyond the recording is silence.
    """
    parsed = tf.io.parse_single_example(record, RECORD)
    pcm = tf.io.decode_raw(parsed["pcm"], tf.int16)
    spare = tf.size(pcm) - N_SAMPLES
    start = tf.cast(tf.reduce_sum(parsed["voice"]) // 2, tf.int32) - N_SAMPLES // 2
    start = tf.where(spare >= 0, tf.clip_by_value(start, 0, spare), spare // 2)
    start -= (length - N_SAMPLES) // 2
    before = tf.maximum(0, -start)
    piece = pcm[tf.maximum(0, start) : tf.maximum(0, start + length)]
    piece = tf.pad(piece, [[before, length - before - tf.size(piece)]])
    return tf.ensure_shape(piece, [length]), tf.cast(parsed["label"], tf.int32)


def _to_float(pcm: tf.Tensor) -> tf.Tensor:
    return tf.cast(pcm, tf.float32) / 32767.0


def waveforms(shards: Shards, batch_size: int) -> tf.data.Dataset:
    """Unchanged windows in a fixed order: float32 ``(batch, 57600)`` and int32 ``(batch,)``."""
    records = tf.data.TFRecordDataset(list(shards.files))
    dataset = records.map(lambda record: _cut(record, N_SAMPLES), CORES)
    dataset = dataset.batch(batch_size).map(lambda pcm, label: (_to_float(pcm), label))
    return _untuned(dataset.prefetch(2))


def plain_batches(
    shards: Shards,
    batch_size: int,
    features: keras.Layer,
    n_classes: int,
    frontend: FrontendConfig,
    cache: str,
) -> tf.data.Dataset:
    """Features and one-hot labels of unchanged windows, to watch a training run by.

    Their spectrograms are computed once and kept in ``cache``, as those of training are.
    """
    kept = spectrograms(shards, UNCHANGED, frontend, cache)
    records = tf.data.TFRecordDataset([file for files in kept.files for file in files])

    def compute(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_mel, label = _parsed(records, (N_FRAMES, n_bands(frontend)))
        return features(tf.maximum(log_mel, frontend.floor_db)), tf.one_hot(label, n_classes)

    return _untuned(records.batch(batch_size).map(compute, CORES).prefetch(2))


def _parsed(records: tf.Tensor, shape: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Spectrograms, float32 ``(batch, *shape)``, and labels of records."""
    parsed = tf.io.parse_example(records, SPECTROGRAM)
    log_mel = tf.cast(tf.io.decode_raw(parsed["log_mel"], tf.float16), tf.float32)
    return tf.reshape(log_mel, (-1, *shape)), parsed["label"]


def _untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """In a fixed order, without the tuner of tf.data: its thread makes every iterator's end wait.

    It sleeps twice as long each time, up to a minute, and is not woken.
    """
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    return dataset.with_options(options)


def spectrograms(
    shards: Shards, config: AugmentConfig, frontend: FrontendConfig, cache: str
) -> Spectrograms:
    """Compute what training reads, unless it is there already.

    Args:
        shards: Decoded recordings.
        config: ``speed`` and ``shift`` decide how much is kept of each.
        frontend: Its floor, below which somewhat is still kept, and which bands there are.
        cache: Folder for the result, as for :func:`prepare`.

    Raises:
        CorpusError: The cache cannot hold them.
    """
    source = shards.files[0].rsplit("/", 1)[0].rsplit("-", 1)[-1]
    speeds, margin = augment.speeds(config), augment.shift_frames(config)
    made_as = (SPECTROGRAM_VERSION, speeds, margin, frontend.floor_db, n_bands(frontend))
    key = hashlib.blake2b(str(made_as).encode())
    folder = tf.io.gfile.join(cache, f"mel-{source}-{key.hexdigest()[:12]}")
    try:
        if not tf.io.gfile.exists(folder):
            _write_spectrograms(shards, config, frontend, folder)
        with tf.io.gfile.GFile(f"{folder}/levels.txt") as file:
            level_db = float(np.median(np.array(file.read().split(), dtype=np.float64)))
    except tf.errors.OpError as error:
        reason = " ".join(error.message.split())
        raise CorpusError(f"{cache}: cannot hold spectrograms ({reason})") from None
    files = tuple(
        tuple(f"{folder}/{_played(path, number)}" for number in range(len(speeds)))
        for path in shards.files
    )
    return Spectrograms(files, shards.labels, level_db)


def _played(shard: str, speed: int) -> str:
    """Name of the file that holds a shard at one of the speeds."""
    return f"{shard.rsplit('/', 1)[-1].removesuffix('.tfrecord')}-{speed}.tfrecord"


def _write_spectrograms(
    shards: Shards, config: AugmentConfig, frontend: FrontendConfig, folder: str
) -> None:
    log_mel = build_log_mel(frontend, headroom_db=HEADROOM_DB)
    length = augment.source_samples(config)
    margin = (length - N_SAMPLES) // 2

    def compute(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pcm, label = _cut(record, length)
        waveform = _to_float(pcm)
        window = waveform[margin : margin + N_SAMPLES]
        level = tf.reduce_mean(tf.square(window))
        return tf.cast(log_mel(augment.play(waveform, config)), tf.float16), label, level

    aside = write_aside(folder)
    levels = []
    try:
        with tqdm(total=len(shards.labels), desc="spectra") as bar:
            for path in shards.files:
                with contextlib.ExitStack() as stack:
                    writers = [
                        stack.enter_context(
                            tf.io.TFRecordWriter(f"{aside}/{_played(path, number)}")
                        )
                        for number in range(len(augment.speeds(config)))
                    ]
                    dataset = tf.data.TFRecordDataset(path).map(compute, CORES)
                    for played, label, level in _untuned(dataset.prefetch(8)):
                        for writer, spectrogram in zip(writers, played.numpy(), strict=True):
                            content = bytes_feature(spectrogram.tobytes())
                            writer.write(example(log_mel=content, label=integers_feature([label])))
                        levels.append(10 * np.log10(max(float(level), 1e-10)))
                        bar.update()
        with tf.io.gfile.GFile(f"{aside}/levels.txt", "w") as file:
            file.write("\n".join(f"{level:.2f}" for level in levels))
        settle(aside, folder)
    except BaseException:
        tf.io.gfile.rmtree(aside)
        raise


def training_batches(
    corpora: Sequence[Spectrograms],
    batch_size: int,
    features: keras.Layer,
    class_weights: np.ndarray,
    config: AugmentConfig,
    frontend: FrontendConfig,
    *,
    seed: int,
    extra_share: float = 0.0,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """Endless shuffled, augmented batches, epoch after epoch.

    An epoch hears every recording of the first corpus once, and beside them as many of the further
    ones as ``extra_share`` says, others in every epoch. All recordings of a shard are heard at one
    of their speeds, at another one in another epoch. The level of a further corpus is brought to
    that of the first by their medians. What an epoch holds depends on ``seed`` and the epoch's
    number alone, so a run resumed at ``first_epoch`` goes on exactly as it would have.

    Args:
        corpora: What to learn from.
        batch_size: Recordings a batch; what is left over at an epoch's end is dropped.
        features: Spectrogram ``(batch, 224, bands)`` to the model's input.
        class_weights: float ``(classes,)``, how much each class counts in the loss.
        config: The augmentation, as the spectrograms were made for.
        frontend: As the spectrograms were made for, likewise.
        seed: Decides order and augmentation.
        extra_share: Share of a batch that the further corpora have together.
        first_epoch: Number of the epoch to start at.

    Returns:
        Batches of features, soft labels ``(batch, classes)`` and sample weights ``(batch,)``.
    """
    bank = augment.draw_masks(config, seed)
    shape = (N_FRAMES + 2 * augment.shift_frames(config), n_bands(frontend))
    weights = tf.constant(class_weights, tf.float32)
    order_seed = seed << 24  # room for the epochs of one seed before the next
    counts = batch_counts(len(corpora), batch_size, extra_share)
    batches = len(corpora[0].labels) // counts[0]
    if not batches:
        raise ValueError(
            f"{len(corpora[0].labels)} recordings do not fill one batch of {counts[0]}"
        )
    gains = [corpora[0].level_db - corpus.level_db for corpus in corpora]
    gain = tf.constant(np.repeat(gains, counts), tf.float32)[:, None, None]

    def shuffled(corpus: Spectrograms, epoch: tf.Tensor, shards: int) -> tf.data.Dataset:
        files = tf.constant(corpus.files)
        key = tf.stack([tf.constant(order_seed, tf.int64), epoch])
        speed = tf.random.stateless_uniform(files.shape[:1], key, 0, files.shape[1], tf.int32)
        chosen = tf.data.Dataset.from_tensor_slices(tf.gather(files, speed, batch_dims=1))
        chosen = chosen.shuffle(len(corpus.files), seed=order_seed + 2 * epoch).take(shards)
        records = chosen.interleave(tf.data.TFRecordDataset, cycle_length=4, block_length=8)
        return records.shuffle(SHUFFLE_RECORDINGS, seed=order_seed + 2 * epoch + 1)

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        streams = [shuffled(corpora[0], epoch, len(corpora[0].files))]
        for corpus, count in zip(corpora[1:], counts[1:], strict=True):
            # Twice the shards that an epoch needs, so that its recordings are a mixture.
            shards = 2 * -(-batches * count // SHARD_RECORDINGS)
            streams.append(shuffled(corpus, epoch, shards).repeat())
        parts = [
            stream.batch(count, drop_remainder=True)
            for stream, count in zip(streams, counts, strict=True)
        ]
        joined = tf.data.Dataset.zip(tuple(parts)).map(lambda *records: tf.concat(records, 0))
        return joined.enumerate(epoch * batches)

    def compute(number: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        key = tf.stack([tf.constant(seed, tf.int32), tf.cast(number, tf.int32)])
        spectrogram, label = _parsed(records, shape)
        spectrogram = augment.change_tempo(spectrogram + gain, key, config)
        spectrogram = augment.change_channel(spectrogram, key, config)
        spectrogram = augment.mask(tf.maximum(spectrogram, frontend.floor_db), key, bank)
        target = tf.one_hot(label, len(class_weights))
        if config.mixup:
            spectrogram, target = augment.mixup(spectrogram, target, key, config.mixup)
        return features(spectrogram), target, tf.linalg.matvec(target, weights)

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    return _untuned(epochs.flat_map(one_epoch).map(compute, CORES).prefetch(4))


def batch_counts(corpora: int, batch_size: int, extra_share: float) -> list[int]:
    """Recordings of each corpus in a batch: the further ones share ``extra_share`` evenly.

    Raises:
        ValueError: The batch is too small for every corpus to have one.
    """
    further = corpora - 1
    each = round(batch_size * extra_share / further) if further else 0
    counts = [batch_size - further * each, *[each] * further]
    if min(counts) < 1:
        raise ValueError(f"a batch of {batch_size} has no room for all of {corpora} corpora")
    return counts
