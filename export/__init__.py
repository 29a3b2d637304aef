"""From a trained run to the ``.tflite`` files that devices run."""

import ser_tf  # noqa: F401  silences TensorFlow's start-up before anything here imports it
