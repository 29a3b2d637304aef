"""Recordings to cached features: decoded, cut about the voice and put through the graph, once.

A recording's features lie in a file of their own, named after its content, so that every split and
every row of the same features shares them.
"""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from edge import audio
from edge.classifier import cut
from ser_tf.corpora import CorpusError
from ser_tf.corpora.recording import Recording
from ser_tf.systems.neural.recipe import Recipe

VERSION = 2  # raised whenever what features hold, or how they are computed, changes
BATCH = 16  # windows put through the graph at once
ONLY = "features"  # what the only tensor of a recipe is called


@dataclass(frozen=True)
class Material:
    """Features of recordings, in memory.

    Attributes:
        features: Arrays ``(recordings, ...)`` by name; ``features`` where there is one alone.
        labels: int ``(recordings,)``.
    """

    features: dict[str, np.ndarray]
    labels: np.ndarray

    def inputs(self, chosen: np.ndarray | slice) -> Any:
        """What a body takes: float32, of the recordings chosen."""
        parts = {name: values[chosen].astype("float32") for name, values in self.features.items()}
        return parts.get(ONLY, parts)

    def joined(self, other: "Material") -> "Material":
        """Both, one after the other."""
        features = {
            name: np.concatenate([values, other.features[name]])
            for name, values in self.features.items()
        }
        return Material(features, np.concatenate([self.labels, other.labels]))


def window_of(waveform: np.ndarray, recipe: Recipe) -> np.ndarray:
    """The part of a waveform that is learnt from, float32 ``(window,)``.

    It lies where :mod:`edge.classifier` puts it, centred on the voice; of a voice that is longer,
    it is the middle.
    """
    length, window = len(waveform), recipe.window
    if length <= window:
        return cut(waveform, (length - window) // 2, window)
    start, end = audio.voice_span(waveform, recipe.sample_rate)
    return cut(waveform, min(max((start + end - window) // 2, 0), length - window), window)


def material(
    recordings: Sequence[Recording],
    labels: Sequence[str],
    recipe: Recipe,
    features: keras.Model,
    cache: str,
    *,
    title: str,
    strict: bool = False,
    copies: int | None = None,
) -> Material:
    """Features of recordings, from the cache where they are there.

    Args:
        recordings: At least one.
        labels: In the order of the model's answers.
        recipe: Of the row.
        features: What ``recipe.features`` builds.
        cache: Folder for features.
        title: Shown beside the progress bar.
        strict: Make a damaged recording an error.
        copies: Seed: a changed copy of each recording is used in its place.

    Raises:
        CorpusError: Nothing could be decoded, or with ``strict`` anything could not.
    """
    folder = Path(cache) / f"features-{_key(recipe, features)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = _files(recordings, folder, recipe, copies)
        missing = {file: r for file, r in zip(files, recordings, strict=True) if not file.exists()}
        if missing:
            failed = _compute(missing, recipe, features, title, copies)
            if failed and strict:
                raise CorpusError(f"{failed} of {len(recordings)} recordings cannot be decoded")
        kept = [i for i, file in enumerate(files) if file.exists()]
        if not kept:
            raise CorpusError(f"none of {len(recordings)} recordings can be decoded")
        return Material(
            _read([files[i] for i in kept]),
            np.array([labels.index(recordings[i].emotion) for i in kept]),
        )
    except OSError as error:
        raise CorpusError(f"{error.filename or cache}: {error.strerror}") from None


def _key(recipe: Recipe, features: keras.Model) -> str:
    shapes = [tensor.shape for tensor in features.outputs]
    facts = (VERSION, recipe.sample_rate, recipe.window, recipe.cached, features.name, shapes)
    key = hashlib.blake2b(repr(facts).encode(), digest_size=8)
    for weight in features.weights:
        key.update(np.asarray(weight).tobytes())
    return key.hexdigest()


def _files(
    recordings: Sequence[Recording], folder: Path, recipe: Recipe, copies: int | None
) -> list[Path]:
    ending = ".npz" if copies is None else f"-copy{copies}.npz"

    def named(recording: Recording) -> Path:
        with recording.path.open("rb") as file:
            content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        return folder / f"{content.hexdigest()}{ending}"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(named, recordings))


def _compute(
    missing: dict[Path, Recording],
    recipe: Recipe,
    features: keras.Model,
    title: str,
    copies: int | None,
) -> int:
    """Write the features of recordings into files; the number that cannot be decoded."""
    compute = tf.function(
        lambda waveform: features(waveform, training=False),
        input_signature=[tf.TensorSpec((None, recipe.window), tf.float32)],
    )
    failed = 0
    for part in _windows(missing, recipe, title, copies):
        decoded = {file: w for file, w in part.items() if not isinstance(w, audio.AudioError)}
        for trouble in part.values():
            if isinstance(trouble, audio.AudioError):
                tqdm.write(f"warning: {trouble}", file=sys.stderr)
                failed += 1
        if not decoded:
            continue
        found = compute(np.stack(list(decoded.values())))
        named = found if isinstance(found, dict) else {ONLY: found}
        arrays = {name: tensor.numpy().astype(recipe.cached) for name, tensor in named.items()}
        for i, file in enumerate(decoded):
            aside = file.with_suffix(f".{os.getpid()}.part.npz")
            np.savez(aside, **{name: values[i] for name, values in arrays.items()})
            aside.replace(file)
    return failed


def _windows(
    missing: dict[Path, Recording], recipe: Recipe, title: str, copies: int | None
) -> Iterator[dict[Path, np.ndarray | audio.AudioError]]:
    """Windows of recordings, a batch at a time, decoded in parallel."""

    def window(item: tuple[Path, Recording]) -> np.ndarray | audio.AudioError:
        file, recording = item
        try:
            found = window_of(audio.load(recording.path, recipe.sample_rate), recipe)
        except audio.AudioError as error:
            return error
        if copies is None or recipe.copies is None:
            return found
        generator = np.random.default_rng([copies, int(file.name[:15], 16)])
        return recipe.copies(found, recipe.sample_rate, generator)

    items = list(missing.items())
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(total=len(items), desc=title) as bar:
        for first in range(0, len(items), BATCH):
            part = items[first : first + BATCH]
            found = pool.map(window, part)
            yield {file: waveform for (file, _), waveform in zip(part, found, strict=True)}
            bar.update(len(part))


def _read(files: Sequence[Path]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for i, file in enumerate(files):
        try:
            with np.load(file, allow_pickle=False) as values:
                for name in values.files:
                    value = values[name]
                    if name not in arrays:
                        arrays[name] = np.empty((len(files), *value.shape), value.dtype)
                    arrays[name][i] = value
        except (ValueError, EOFError, KeyError) as error:
            raise CorpusError(f"{file}: is damaged ({error}); delete it") from None
    return arrays
