"""Learning from other models: the answers of trained teachers beside the labels.

The teachers hear every recording as the student does, changed and mixed, and the student is to
answer as their mean does (Hinton et al., 2015, https://arxiv.org/abs/1503.02531; that both must see
the same changes: Beyer et al., 2022, https://arxiv.org/abs/2106.05237). Each step asks one teacher,
drawn at random: cross-entropy is linear in the answer that is to be given, so that the expected
gradient is that of their mean, at the price of one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from ser_tf import models, origin
from ser_tf.answers import EvaluateError, of_run
from ser_tf.config import Config
from ser_tf.held_out import read_split
from ser_tf.splits import Split


class Taught(keras.Model):
    """A body that learns from labels and teachers.

    Args:
        body: What :func:`ser_tf.models.build_body` made; its weights are shared, not copied.
        teachers: Likewise, trained; they stay as they are.
        share: Of the teachers' answers in the loss; the labels have the rest.
        seed: Decides which teacher is asked in which step.

    Input and output: As of ``body``.
    """

    def __init__(
        self, body: keras.Model, teachers: Sequence[keras.Model], share: float, seed: int
    ) -> None:
        super().__init__()
        self.body = body
        self.share = share
        self.draw = keras.random.SeedGenerator(seed)
        # As functions: models would become part of this one, and of the state of every epoch.
        self._teachers = [_answers_of(teacher) for teacher in teachers]

    def call(self, features: Any, training: bool = False) -> Any:
        return self.body(features, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        labels = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return labels
        number = keras.random.randint((), 0, len(self._teachers), seed=self.draw)
        answers = ops.stop_gradient(ops.switch(number, self._teachers, x))
        taught = keras.losses.categorical_crossentropy(answers, y_pred, from_logits=True)
        return (1 - self.share) * labels + self.share * ops.mean(taught)


def _answers_of(teacher: keras.Model) -> Callable[[Any], Any]:
    return lambda features: ops.softmax(ops.cast(teacher(features, training=False), "float32"))


def load_teachers(
    paths: Sequence[str], config: Config, labels: Sequence[str]
) -> tuple[list[keras.Model], keras.Sequential]:
    """The trained layers of models, and the features that they share.

    Args:
        paths: Their ``model.keras`` files.
        config: Settings of the student.
        labels: Of the student.

    Raises:
        ValueError: A teacher cannot be read, or its features or labels are not the student's. One
            line.
    """
    bodies: list[keras.Model] = []
    features = models.build_features(config.frontend)
    for path in paths:
        known, model = origin.read(Path(path)), models.load(Path(path))
        if known.labels != tuple(labels) or known.config.frontend != config.frontend:
            raise ValueError(f"{path}: has other labels or another front end than its student")
        found = model.get_layer("features").get_weights()
        if not bodies:
            features.set_weights(found)
        elif not all(
            np.allclose(a, b, rtol=1e-3, atol=1e-3)
            for a, b in zip(found, features.get_weights(), strict=True)
        ):
            raise ValueError(f"{path}: has learnt from other recordings than {paths[0]}")
        body = models.build_body(known.config.model, known.config.frontend, len(labels))
        body.set_weights(model.get_layer(known.config.model.name).get_weights())
        bodies.append(body)
    return bodies, features


def refuse_leaks(path: Path, split: Split) -> None:
    """Refuse a teacher that has learnt from what its student is judged on.

    Its run's ``split.json`` is looked for beside it. A model that stands alone cannot be asked, and
    passes.

    Raises:
        ValueError: With the number of such recordings; or the split cannot be read.
    """
    beside = of_run(path, "split.json")
    if beside is None:
        return
    try:
        record = read_split(beside)
    except EvaluateError as error:
        raise ValueError(str(error)) from None
    learnt = {*record["train"], *record["extra"]}
    chosen_by = learnt | set(record["validation"])
    both = [recording.name for recording in split.validation if recording.name in learnt]
    both += [recording.name for recording in split.test if recording.name in chosen_by]
    if both:
        raise ValueError(
            f"{path}: has learnt from {len(both)} recordings that its student is judged on, such as"
            f" {both[0]}; teachers must come from the same split"
        )
