"""Recordings decoded once: shards of 16-bit PCM at 16 kHz, kept on disk.

A shard is a TFRecord file of 16-bit PCM at 16 kHz with the label and the place of the voice beside
it. The shards of a list of recordings live in a folder named after the content of the files, so a
changed file is never answered by an old shard.
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from edge import audio
from ser_tf.config import SAMPLE_RATE
from ser_tf.corpora import CorpusError
from ser_tf.corpora.recording import Recording

SHARD_RECORDINGS = 128
KEPT_SECONDS = 12  # of a recording, around the middle of its voice; training cuts its window there
SHARD_VERSION = 2  # raised whenever what a shard holds, or how it is decoded, changes

RECORD = {  # what tf.io.parse_example needs to read one
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
    written: list[int] = []
    failed = 0
    writer: tf.io.TFRecordWriter | None = None
    aside = write_aside(folder)
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
        settle(aside, folder)
    except BaseException:
        if writer:
            writer.close()
        tf.io.gfile.rmtree(aside)
        raise


def write_aside(folder: str) -> str:
    """Make a folder of this process's own, for what shall be read as ``folder`` once complete."""
    aside = f"{folder}.{os.getpid()}.part"
    tf.io.gfile.makedirs(aside)
    return aside


def settle(aside: str, folder: str) -> None:
    """Give what :func:`write_aside` made its name, or drop it where another run was faster."""
    if tf.io.gfile.exists(folder):
        tf.io.gfile.rmtree(aside)
    else:
        tf.io.gfile.rename(aside, folder)


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
    return example(
        pcm=bytes_feature(decoded.pcm.tobytes()),
        label=integers_feature([label]),
        voice=integers_feature(decoded.voice),
    )


def example(**features: tf.train.Feature) -> bytes:
    """One record of a TFRecord file."""
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def bytes_feature(value: bytes) -> tf.train.Feature:
    """A feature that holds one string of bytes."""
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def integers_feature(values: Sequence[int]) -> tf.train.Feature:
    """A feature that holds a list of 64-bit integers."""
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
