"""What a trained ``.keras`` file says of itself: labels, settings, and what it has learnt from.

It stands in the file's archive as ``origin.toml``, where Keras passes it over, so that a model that
was copied away from its run can still be exported and trained further.
"""

import dataclasses
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import tomli_w

from ser_tf.config import Config, modernised, read_config, updated
from ser_tf.corpora import ravdess
from ser_tf.corpora.recording import Recording
from ser_tf.emotions import EMOTIONS

MEMBER = "origin.toml"
SETTINGS = ("frontend", "augment", "model")  # tables of a config that describe the model


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        labels: One for each answer, in their order.
        corpora: Names of all corpora it has learnt from, ``ravdess`` for RAVDESS.
        config: Front end, augmentation and layers; all else is as in ``Config()``.
    """

    labels: tuple[str, ...]
    corpora: tuple[str, ...]
    config: Config


def corpora_of(config: Config, recordings: Sequence[Recording]) -> tuple[str, ...]:
    """Names of the corpora that a run learns from.

    Args:
        config: Its settings.
        recordings: Of its corpus ``config.data``.
    """
    first = Path(config.data).name
    if first == "download" or any(ravdess.looks_like_ravdess(r.path) for r in recordings[:1]):
        first = "ravdess"
    return (first, *(Path(data).name for data in config.extra))


def save(model: keras.Model, origin: Origin, path: Path) -> None:
    """Write a model with its origin; the file appears complete or not at all."""
    tables = {name: dataclasses.asdict(getattr(origin.config, name)) for name in SETTINGS}
    text = tomli_w.dumps({"labels": origin.labels, "corpora": origin.corpora, **tables})
    aside = path.with_suffix(".part.keras")
    model.save(aside)
    with zipfile.ZipFile(aside, "a") as archive:
        archive.writestr(zipfile.ZipInfo(MEMBER), text)
    aside.replace(path)


def read(model: Path) -> Origin:
    """The origin that stands in a ``.keras`` file.

    One from before files said so has the eight emotions, and the settings beside it in its run's
    folder.

    Raises:
        ValueError: The file is damaged, or nothing is known of it. One line.
        ConfigError: It has settings that this version does not know.
    """
    try:
        with zipfile.ZipFile(model) as archive:
            text = archive.read(MEMBER).decode() if MEMBER in archive.namelist() else None
        if text is not None:
            values = tomllib.loads(text)
            labels, corpora = (tuple(map(str, values.pop(name))) for name in ("labels", "corpora"))
            config = updated(Config(), modernised(values), f"{model}, {MEMBER}")
            return Origin(labels, corpora, config)
    except OSError as error:
        raise ValueError(f"{model}: {error.strerror}") from None
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError):
        raise ValueError(f"{model}: is not a whole .keras file; copy it, or train, again") from None
    beside = model.with_name("config.toml")
    if not beside.is_file():
        raise ValueError(
            f"{model}: does not say what it was trained with; give it in its run's folder, beside "
            f"{beside.name}"
        )
    config = read_config(beside)
    return Origin(EMOTIONS, corpora_of(config, []), config)
