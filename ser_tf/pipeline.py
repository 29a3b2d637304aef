"""Recordings to batches: decoded once into PCM shards, then tf.data in graph.

A shard is a TFRecord file of 16-bit PCM at 16 kHz with the label and the place of the voice beside
it. The shards of a list of recordings live in a folder named after the content of the files, so a
changed file is never answered by an old shard. What each epoch changes is computed in the graph;
nothing is kept in memory but a shuffle buffer.
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from edge import audio
from ser_tf import augment
from ser_tf.config import N_SAMPLES, SAMPLE_RATE, AugmentConfig
from ser_tf.corpora import CorpusError
from ser_tf.corpora.recording import Recording
from ser_tf.frontend import LogMelSpectrogram

SHARD_RECORDINGS = 128
SHUFFLE_RECORDINGS = 1024  # about 130 MB of PCM for clips of 4 s, at most 400 MB
KEPT_SECONDS = 12  # of a recording, around the middle of its voice; training cuts its window there
SHARD_VERSION = 2  # raised whenever what a shard holds, or how it is decoded, changes

_RECORD = {
    "pcm": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
    "voice": tf.io.FixedLenFeature([2], tf.int64),
}


@dataclass(frozen=True)
class Shards:
    """Decoded recordings on disk.

    Attributes:
        files: The TFRecord files.
        labels: For every recording decoded, the index of its label.
    """

    files: tuple[str, ...]
    labels: np.ndarray


def prepare(
    recordings: Sequence[Recording],
    labels: Sequence[str],
    cache: str,
    *,
    title: str = "decoding",
    strict: bool = False,
) -> Shards:
    """Decode recordings into shards, unless the very same ones have been decoded before.

    Decoding is :func:`edge.audio.load`, in parallel: what a model learns from is what the edge
    will hear. Recordings are dealt over the shards in an order that depends on their content
    alone, so that each shard is a mixture.

    Args:
        recordings: What to decode.
        labels: The labels in the order of the model's answers.
        cache: Folder for the shards; a remote one (``s3://…``) is reached by tensorflow-io.
        title: Shown beside the progress bar.
        strict: Make a recording that cannot be decoded an error instead of a warning.

    Raises:
        CorpusError: Nothing could be decoded, or with ``strict`` anything could not.
    """
    if "://" in cache:
        import tensorflow_io  # noqa: F401  registers the remote file systems

    try:
        return _prepared(recordings, labels, cache, title, strict)
    except tf.errors.OpError as error:  # what TensorFlow's files raise, local or remote
        reason = " ".join(error.message.split())
        raise CorpusError(f"{cache}: cannot hold decoded recordings ({reason})") from None


def _prepared(
    recordings: Sequence[Recording], labels: Sequence[str], cache: str, title: str, strict: bool
) -> Shards:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = list(pool.map(_content, (recording.path for recording in recordings)))
    order = sorted(range(len(recordings)), key=lambda i: (digests[i], recordings[i].name))
    key = hashlib.blake2b(digest_size=12)
    key.update(f"{SHARD_VERSION} {SAMPLE_RATE} {SHARD_RECORDINGS} {','.join(labels)}".encode())
    for i in order:
        key.update(f"\n{digests[i]} {recordings[i].emotion}".encode())
    folder = tf.io.gfile.join(cache, f"pcm-{key.hexdigest()}")
    done = tf.io.gfile.join(folder, "labels.txt")
    reused = tf.io.gfile.exists(done)
    if not reused:
        _write_shards([recordings[i] for i in order], labels, folder, title, strict)
    with tf.io.gfile.GFile(done) as file:
        found = np.array(file.read().split(), dtype=np.int64)
    if reused and len(found) < len(recordings):
        missing = f"{len(recordings) - len(found)} of {len(recordings)} recordings"
        hint = f"could not be decoded earlier; delete {folder} to see which and why"
        if strict:
            raise CorpusError(f"{missing} {hint}")
        print(f"warning: {missing} {hint}", file=sys.stderr)
    return Shards(tuple(sorted(tf.io.gfile.glob(f"{folder}/*.tfrecord"))), found)


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}") from None


def _write_shards(
    recordings: list[Recording], labels: Sequence[str], folder: str, title: str, strict: bool
) -> None:
    aside = f"{folder}.{os.getpid()}.part"
    tf.io.gfile.makedirs(aside)
    written: list[int] = []
    failed = 0
    writer: tf.io.TFRecordWriter | None = None
    try:
        for recording, decoded in _decoded(recordings, title):
            if isinstance(decoded, audio.AudioError):
                tqdm.write(f"warning: {decoded}", file=sys.stderr)
                failed += 1
                continue
            if len(written) % SHARD_RECORDINGS == 0:
                if writer:
                    writer.close()
                number = len(written) // SHARD_RECORDINGS
                writer = tf.io.TFRecordWriter(f"{aside}/{number:05d}.tfrecord")
            label = labels.index(recording.emotion)
            assert writer is not None
            writer.write(_record(decoded, label))
            written.append(label)
        if writer:
            writer.close()
            writer = None
        if failed and strict:
            raise CorpusError(f"{failed} of {len(recordings)} recordings cannot be decoded (above)")
        if failed:
            print(f"warning: {failed} of {len(recordings)} left out", file=sys.stderr)
        if not written:
            raise CorpusError(f"none of {len(recordings)} recordings can be decoded")
        with tf.io.gfile.GFile(f"{aside}/labels.txt", "w") as file:
            file.write("\n".join(map(str, written)))
        if tf.io.gfile.exists(folder):  # another run was faster
            tf.io.gfile.rmtree(aside)
        else:
            tf.io.gfile.rename(aside, folder)
    except BaseException:
        if writer:
            writer.close()
        tf.io.gfile.rmtree(aside)
        raise


@dataclass(frozen=True)
class Decoded:
    """int16 ``(samples,)`` at 16 kHz, and the first and last sample of the voice therein."""

    pcm: np.ndarray
    voice: tuple[int, int]


def _decode(recording: Recording) -> Decoded | audio.AudioError:
    try:
        waveform = audio.load(recording.path)
    except audio.AudioError as error:
        return error
    start, end = audio.voice_span(waveform)
    kept = KEPT_SECONDS * SAMPLE_RATE
    first = max(0, min((start + end - kept) // 2, len(waveform) - kept))
    waveform = waveform[first : first + kept]
    pcm = np.round(np.clip(waveform, -1, 1) * 32767).astype("<i2")
    return Decoded(pcm, (max(0, start - first), min(len(pcm), end - first)))


def _decoded(
    recordings: list[Recording], title: str
) -> Iterator[tuple[Recording, Decoded | audio.AudioError]]:
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool, tqdm(total=len(recordings), desc=title) as bar:
        # A few at a time: memory stays bounded however long the list is.
        for first in range(0, len(recordings), 16 * workers):
            part = recordings[first : first + 16 * workers]
            for recording, decoded in zip(part, pool.map(_decode, part), strict=True):
                yield recording, decoded
                bar.update()


def _record(decoded: Decoded, label: int) -> bytes:
    features = {
        "pcm": tf.train.Feature(bytes_list=tf.train.BytesList(value=[decoded.pcm.tobytes()])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "voice": tf.train.Feature(int64_list=tf.train.Int64List(value=decoded.voice)),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _cut(record: tf.Tensor, length: int, jitter: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode one record and cut ``length`` samples around the voice, ``jitter`` samples off.

    The place is where :mod:`edge.classifier` puts its window: centred on the voice, inside the
    recording where it is long enough, padded with silence on both sides where it is not.
    """
    parsed = tf.io.parse_single_example(record, _RECORD)
    pcm = tf.io.decode_raw(parsed["pcm"], tf.int16)
    samples = tf.size(pcm)
    middle = tf.cast(tf.reduce_sum(parsed["voice"]) // 2, tf.int32)
    start = middle - length // 2 + jitter
    spare = samples - length
    start = tf.where(spare >= 0, tf.clip_by_value(start, 0, spare), spare // 2 + jitter)
    before = tf.maximum(0, -start)
    piece = pcm[tf.maximum(0, start) : start + length]
    piece = tf.pad(piece, [[before, length - before - tf.size(piece)]])
    return tf.ensure_shape(piece, [length]), tf.cast(parsed["label"], tf.int32)


def _to_float(pcm: tf.Tensor) -> tf.Tensor:
    return tf.cast(pcm, tf.float32) / 32767.0


def waveforms(shards: Shards, batch_size: int) -> tf.data.Dataset:
    """Unchanged windows in a fixed order: float32 ``(batch, 57600)`` and int32 ``(batch,)``."""
    records = tf.data.TFRecordDataset(list(shards.files))
    dataset = records.map(lambda record: _cut(record, N_SAMPLES, 0), tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size)
    return dataset.map(lambda pcm, label: (_to_float(pcm), label)).prefetch(2)


def plain_batches(
    shards: Shards, batch_size: int, features: keras.Layer, n_classes: int, floor_db: float
) -> tf.data.Dataset:
    """Features and one-hot labels of unchanged windows, to watch a training run by."""
    log_mel = LogMelSpectrogram(floor_db=floor_db)

    def compute(waveform: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return features(log_mel(waveform)), tf.one_hot(label, n_classes)

    return waveforms(shards, batch_size).map(compute, tf.data.AUTOTUNE).prefetch(2)


def training_batches(
    shards: Shards,
    batch_size: int,
    features: keras.Layer,
    class_weights: np.ndarray,
    config: AugmentConfig,
    *,
    floor_db: float,
    seed: int,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """Endless shuffled, augmented batches, epoch after epoch.

    What an epoch holds depends on ``seed`` and the epoch's number alone, so a run resumed at
    ``first_epoch`` goes on exactly as it would have.

    Args:
        shards: What to learn from.
        batch_size: Recordings a batch; what is left over at an epoch's end is dropped.
        features: Log-mel spectrogram ``(batch, 224, 64)`` to the model's input.
        class_weights: float ``(classes,)``, how much each class counts in the loss.
        config: The augmentation.
        floor_db: As in :class:`ser_tf.frontend.LogMelSpectrogram`.
        seed: Decides order and augmentation.
        first_epoch: Number of the epoch to start at.

    Returns:
        Batches of features, soft labels ``(batch, classes)`` and sample weights ``(batch,)``.
    """
    log_mel = LogMelSpectrogram(floor_db=floor_db)
    bank = augment.draw_masks(config, seed)
    length = augment.source_samples(config)
    with audio.native_stderr_silenced():  # XLA announces itself once a process, across the bar
        augment.change_speed(tf.zeros((1, length)), tf.zeros(2, tf.int32), config)
    shift = round(config.shift * SAMPLE_RATE)
    weights = tf.constant(class_weights, tf.float32)
    order_seed = seed << 24  # room for the epochs of one seed before the next
    batches = len(shards.labels) // batch_size
    if not batches:
        raise ValueError(f"{len(shards.labels)} recordings do not fill one batch of {batch_size}")

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        files = tf.data.Dataset.from_tensor_slices(list(shards.files))
        files = files.shuffle(len(shards.files), seed=order_seed + 2 * epoch)
        records = files.interleave(tf.data.TFRecordDataset, cycle_length=4, block_length=8)
        records = records.shuffle(SHUFFLE_RECORDINGS, seed=order_seed + 2 * epoch + 1)
        records = records.batch(batch_size, drop_remainder=True).enumerate(epoch * batches)
        return records

    def cut(number: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        key = tf.stack([tf.constant(seed, tf.int32), tf.cast(number, tf.int32)])
        jitters = tf.random.stateless_uniform((batch_size,), key, -shift, shift + 1, tf.int32)
        pcm, label = tf.map_fn(
            lambda pair: _cut(pair[0], length, pair[1]),
            (records, jitters),
            fn_output_signature=(
                tf.TensorSpec((length,), tf.int16),
                tf.TensorSpec((), tf.int32),
            ),
        )
        return key, _to_float(pcm), label

    def compute(
        key: tf.Tensor, waveform: tf.Tensor, label: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        waveform = augment.change_speed(waveform, key, config)
        waveform = augment.change_channel(waveform, key, config)
        spectrogram = augment.change_tempo(log_mel(waveform), key, config)
        spectrogram = augment.mask(spectrogram, key, bank)
        target = tf.one_hot(label, len(class_weights))
        inputs = features(spectrogram)
        if config.mixup:
            inputs, target = augment.mixup(inputs, target, key, config.mixup)
        return inputs, target, tf.linalg.matvec(target, weights)

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    dataset = epochs.flat_map(one_epoch)
    options = tf.data.Options()
    options.deterministic = True
    return (
        dataset.map(cut, tf.data.AUTOTUNE)
        .map(compute, tf.data.AUTOTUNE)
        .prefetch(4)
        .with_options(options)
    )
