"""Training side of the speech-emotion classifier: corpora, pipeline, models, evaluation."""

import os

# TensorFlow reports processor features and absent GPUs on stderr while it starts, which tears
# progress bars apart. It reads these when it is imported, so they have to be set before.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
