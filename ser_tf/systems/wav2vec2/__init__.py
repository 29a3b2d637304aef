"""A published wav2vec 2.0 network, fine-tuned: row E3 of the earlier systems.

Baevski et al., 2020, https://arxiv.org/abs/2006.11477. The convolutional feature encoder stays as
it was published, so that its output is computed once a recording, as the features of the row; what
learns is all behind it: feature projection, positional convolution, transformer blocks and a head
over their mean. Layers are written in ``keras.ops`` and named as in the published checkpoint.

Weights come from a source (:func:`checkpoint.locate`), the setting ``weights`` of a run:

- ``facebook/wav2vec2-base``, ``owner/name`` or ``owner/name@revision``: of the Hugging Face hub,
  fetched once (380 MB) into ``cache/wav2vec2/``;
- a folder with ``config.json`` and ``model.safetensors``, or a ``.safetensors`` file;
- ``none``: the base architecture with random weights, which learns next to nothing. Tests use a
  folder with a tiny checkpoint, ``tests/data/wav2vec2_tiny``, instead.

Nothing is fetched before ``features()`` or ``body()`` of the recipe is called. Where the source
cannot be used, both raise :class:`architecture.CheckpointError`, a ``ValueError`` of one line.
"""

from functools import cache as once
from typing import TYPE_CHECKING

from edge.audio import SAMPLE_RATE
from ser_tf.systems.neural.recipe import Recipe

if TYPE_CHECKING:
    import keras

    from ser_tf.systems.wav2vec2.checkpoint import Checkpoint

PUBLISHED = "facebook/wav2vec2-base"
WINDOW = 4 * SAMPLE_RATE  # samples: 4 s, as the project cut its recordings


def recipe(weights: str = "", cache: str = "cache") -> Recipe:
    """How the row is built and trained, from a source of weights.

    Args:
        weights: The source, see above; ``""`` is ``facebook/wav2vec2-base``.
        cache: Folder below which fetched checkpoints are kept.
    """

    @once
    def checkpoint() -> "Checkpoint":
        from ser_tf.systems.wav2vec2 import checkpoint

        return checkpoint.locate(weights or PUBLISHED, cache)

    def features() -> "keras.Model":
        from ser_tf.systems.wav2vec2 import network

        model = network.build_features(checkpoint().architecture, WINDOW)
        checkpoint().load_into(model)
        return model

    def body(classes: int) -> "keras.Model":
        from ser_tf.systems.wav2vec2 import network

        architecture = checkpoint().architecture
        model = network.build_body(architecture, architecture.frames(WINDOW), classes)
        checkpoint().load_into(model)
        return model

    return Recipe(
        sample_rate=SAMPLE_RATE,
        window=WINDOW,
        features=features,
        body=body,
        standardise="none",
        epochs=12,
        batch_size=1,
        learning_rate=1e-5,
        best="weighted_f1",
        patience=None,
        plateau=None,
    )
