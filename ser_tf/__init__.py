"""Training side of the speech-emotion classifier: corpora, pipeline, models, evaluation."""

import os

# TensorFlow reports processor features and absent GPUs on stderr while it starts, which tears
# progress bars apart. It reads these once, on import, so they have to stand before any import of it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
