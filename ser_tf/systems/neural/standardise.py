"""Standardisation with a mean and a deviation for each cell of a feature picture."""

import keras

from ser_tf.frontend import Standardise


@keras.saving.register_keras_serializable("ser_tf")
class StandardiseCells(Standardise):
    """Features less the training part's mean, over its deviation, each cell by its own.

    Input and output: ``(batch, frames, features)``.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = tuple(input_shape[1:])
        self.mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="mean")
        self.scale = self.add_weight(shape=shape, initializer="ones", trainable=False, name="scale")
