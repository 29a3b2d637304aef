"""Going on from a trained model with a person's own clips: ``ser_tf.train --from``.

The front end and its statistics stay, and so do the statistics of batch normalisation: a few clips
of one voice say too little of either. All else is trained, gently. The model then answers with the
labels of the clips and no others: what they never show would be unlearnt anyway. How much it
changes depends on how many of the clips it gets wrong as it is.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ser_tf import models, origin
from ser_tf.config import Config, ConfigError, TrainConfig
from ser_tf.corpora import load_corpus
from ser_tf.corpora.labelled import label_of
from ser_tf.corpora.recording import Recording
from ser_tf.origin import Origin
from ser_tf.splits import Split, make_split

HEAD = "logits"  # the layer of a body whose outputs are the labels
TRAIN = TrainConfig(
    epochs=80,
    batch_size=32,
    optimizer="adamw",
    learning_rate=1e-3,
    warmup=0.1,
    weight_decay=0.02,
)
ENOUGH = 16  # clips that the model gets wrong, to learn at the full rate
HEAD_SPEED = 10.0  # of the layer of the labels, where it has one to learn from nothing
LEAST_FOR_TEMPERATURE = 50  # held-out clips; on fewer a temperature would be chance


@dataclass(frozen=True)
class Start:
    """A trained model to go on from.

    Attributes:
        origin: What it says of itself.
        model: Waveform to probabilities.
    """

    origin: Origin
    model: keras.Model

    @property
    def temperature(self) -> float:
        """What it divides its logits by."""
        return float(self.model.get_layer("temperature").temperature)

    @property
    def config(self) -> Config:
        """The settings to fine-tune it with."""
        kept = {name: getattr(self.origin.config, name) for name in origin.SETTINGS}
        return Config(split="all", train=TRAIN, **kept)

    def save(self, path: Path) -> None:
        """Write it as it was loaded, with its origin."""
        origin.save(self.model, self.origin, path)

    def hand_over(self, features: keras.Model, body: keras.Model, labels: Sequence[str]) -> None:
        """Give its weights to a model that answers with other labels.

        The outputs for labels that it knows go along; those for others start from zero.

        Args:
            features: What :func:`ser_tf.models.build_features` made.
            body: What :func:`ser_tf.models.build_body` made.
            labels: What ``body`` answers with.
        """
        features.set_weights(self.model.get_layer("features").get_weights())
        source = self.model.get_layer(body.name)
        for layer, trained in zip(body.layers, source.layers, strict=True):
            weights = trained.get_weights()
            if layer.name == HEAD:
                known = self.origin.labels
                columns = [known.index(label) if label in known else -1 for label in labels]
                weights = [np.insert(w, w.shape[-1], 0, axis=-1)[..., columns] for w in weights]
            layer.set_weights(weights)


def load(path: Path) -> Start:
    """Load a model to go on from.

    Raises:
        ValueError: It is none. One line.
        ConfigError: It has settings that this version does not know.
    """
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give the model.keras in it")
    if path.suffix == ".tflite":
        raise ValueError(
            f"{path}: is an exported model, which cannot be trained; give the .keras file that it "
            "was made from"
        )
    known = origin.read(path)
    try:
        model = models.load(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: cannot be loaded: {str(error).splitlines()[0]}") from None
    config = known.config
    features = models.build_features(config.frontend)
    body = models.build_body(config.model, config.frontend, len(known.labels))
    if _described(model, body.name) != _described(
        models.assemble(config.frontend, features, body), body.name
    ):
        raise ValueError(
            f"{path}: has another front end or other layers than its settings say; take the whole "
            "run's folder, or a model of this version"
        )
    return Start(known, model)


def _described(model: keras.Model, body: str) -> list[Any] | None:
    """What is the same in two models that hear the same and can take each other's weights."""
    try:
        log_mel, *trained = (model.get_layer(name) for name in ("log_mel", "features", body))
    except ValueError:
        return None
    shapes = [tuple(weight.shape) for layer in trained for weight in layer.weights]
    return [model.input_shape, log_mel.floor_db, shapes]


def own_clips(data: str, known: Sequence[str], *, strict: bool = False) -> list[Recording]:
    """List a person's clips with whatever labels they have.

    Labels that the model knows are spelt as it spells them, and other ones that differ in case
    alone are one label.

    Args:
        data: As for :func:`ser_tf.corpora.load_corpus`.
        known: The model's labels.
        strict: Whether a file that cannot be used is an error.

    Raises:
        CorpusError: The corpus cannot be used.
    """
    spelling: dict[str, str] = {}
    clips = []
    for clip in load_corpus(data, strict=strict, labels=None):
        label = label_of(clip.emotion, known)
        label = label or spelling.setdefault(clip.emotion.lower(), clip.emotion)
        clips.append(dataclasses.replace(clip, emotion=label))
    return clips


def labels_of(clips: Sequence[Recording], known: Sequence[str]) -> tuple[str, ...]:
    """The labels that clips have: first those that the model knows, in its order.

    Raises:
        ValueError: There is only one, or one that is not a line of text.
    """
    found = {clip.emotion for clip in clips}
    if len(found) < 2:
        raise ValueError(
            f"all {len(clips)} clips are {', '.join(found)!r}; a model takes two labels at least, "
            "each a folder label/clip.wav"
        )
    if broken := [label for label in found if len(label.splitlines()) > 1]:
        raise ValueError(f"label {broken[0]!r} is not one line")
    return (*(label for label in known if label in found), *sorted(found - set(known)))


def summary(clips: Sequence[Recording], labels: Sequence[str], known: Sequence[str]) -> str:
    """One line that counts the clips of each label."""
    counts = Counter(clip.emotion for clip in clips)
    new = {label: ", new" * (label not in known) for label in labels}
    return "clips: " + ", ".join(f"{label} ({counts[label]}{new[label]})" for label in labels)


def make_split_of_few(
    clips: Sequence[Recording], spec: str, *, validation: float, seed: int
) -> Split:
    """:func:`ser_tf.splits.make_split`, without a validation part where there is too little for it.

    Raises:
        ValueError: The clips are too few for the split itself.
    """
    try:
        return make_split(clips, spec, validation=validation, seed=seed)
    except ValueError:
        return make_split(clips, spec, validation=0.0)


def check_settings(config: Config, start: Start) -> None:
    """Refuse settings that the starting model does not have.

    Raises:
        ConfigError: Front end or layers are others.
    """
    kept = start.origin.config
    if (config.frontend, config.model) != (kept.frontend, kept.model):
        raise ConfigError(
            "--from brings its own [frontend] and [model]; leave them out of --config"
        )


def count_mistakes(
    logits: np.ndarray, truth: np.ndarray, labels: Sequence[str], known: Sequence[str]
) -> int:
    """How many clips a model gets wrong that can only give the labels that clips have.

    Args:
        logits: Of the model, float ``(clips, len(known))``.
        truth: For every clip, the index of its label in ``labels``.
        labels: Those that clips have. One that the model does not know is always a mistake.
        known: Those of the model.
    """
    columns = [known.index(label) if label in known else -1 for label in labels]
    among = np.insert(logits, logits.shape[-1], -np.inf, axis=-1)[:, columns]
    right = (among.argmax(axis=1) == truth) & (np.array(columns)[truth] >= 0)
    return int(np.sum(~right))


def for_clips(settings: TrainConfig, clips: int, mistakes: int) -> TrainConfig:
    """The settings in even batches, which leave few clips over, and gentler for few mistakes.

    The rate rises in proportion to the clips that the model gets wrong until there are ``ENOUGH``:
    a voice that it understands has little to teach it, and what one clip says is as much chance as
    voice (docs/finetuning.md).
    """
    size = clips // -(-clips // settings.batch_size)
    rate = settings.learning_rate * min(1.0, max(1, mistakes) / ENOUGH)
    return dataclasses.replace(settings, batch_size=size, learning_rate=rate)


def share_of_way(mistakes: int, clips: int) -> float:
    """How far the weights go from those of the starting model to what was learnt, up to 1.

    Weights between the two often answer better than either (Wortsman et al., 2022,
    https://arxiv.org/abs/2109.01903). A model that gets one clip in four wrong goes half of the
    way, one that is wrong half of the time all of it.
    """
    return min(1.0, 2 * max(1, mistakes) / clips)


class FastHeadAdamW(keras.optimizers.AdamW):
    """AdamW that moves the layer of the labels ``HEAD_SPEED`` times as fast as all else."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        path = self._trainable_variables[self._get_variable_index(variable)].path
        speed = HEAD_SPEED if HEAD in path.split("/") else 1.0
        super().update_step(gradient, variable, speed * learning_rate)


class FrozenStatistics(keras.Model):
    """A body that is trained while its batch normalisation keeps the statistics it has.

    Args:
        body: What :func:`ser_tf.models.build_body` made; its weights are shared, not copied.
        dropout: Share dropped before the answer.

    Input and output: As of ``body``.
    """

    def __init__(self, body: keras.Model, dropout: float) -> None:
        super().__init__()
        self.head = body.get_layer(HEAD)
        self.trunk = keras.Model(body.input, self.head.input)
        self.dropout = keras.layers.Dropout(dropout)

    def call(self, features: Any, training: bool = False) -> Any:
        pooled = self.trunk(features, training=False)
        return self.head(self.dropout(pooled, training=training))
