"""Keras rows of the comparison: waveform to probabilities in one graph, trained on cached features.

``recipe`` says what a row is made of, ``spectra`` and ``loudness`` hold the layers that compute
features in the graph, ``inputs`` and ``pictures`` what each row hears, ``bodies`` what learns, and
``training`` trains. Nothing here imports TensorFlow before it is needed.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_tf.corpora.recording import Recording
from ser_tf.runs import Run
from ser_tf.splits import Split

if TYPE_CHECKING:
    import keras

    from ser_tf.config import Config
    from ser_tf.systems import System

_D2 = "22,050 Hz, 4.1 s about the voice, 40 MFCC, 12 chroma and 7 contrast a frame."
_E2 = (
    "22,050 Hz, 4.6 s about the voice (200 frames); duration, SNR and silence from frames within "
    "35 dB of the loudest; batch 32, Adam 1e-3, up to 100 epochs."
)
_A1 = (
    "ImageNet's weights where they can be fetched, random ones otherwise (a notice says so), as "
    "when the committed tables were made: with those, and for so short, it learns next to nothing, "
    "and its accuracy says nothing of the method. {epochs} instead of 40, for it takes {minutes} "
    "minutes an epoch on a processor core. In full: python -m ser_tf.train --epochs 40 --model "
)
# By system: what its project does not state and was chosen here.
CHOSEN = {
    "cnn_refined": (
        f"{_D2} A quarter of the frames after each convolution, for with half of them a first run "
        "stood at 69 % on the validation part (and 70 % on the test recordings, which were shown "
        "beside it); batch 32, up to 80 epochs, patience 12, the rate halved after 5 epochs "
        "without progress."
    ),
    "cnn_frames": f"{_D2} Three convolutions of 64, 128, 256, mean over time; up to 80 epochs.",
    "lstm": f"{_D2} LSTM 128 and 64, dense 64, dropout 0.3; up to 80 epochs.",
    "cnn_lstm": f"{_D2} Convolutions of 64 and 128, LSTM 128, dense 64; up to 80 epochs.",
    "cnn_stats": f"{_E2} Convolutions 5 wide, mean over time.",
    "cnn_lstm_stats": f"{_E2} Convolution 5 wide, the LSTM's last state.",
    "cnn_gru_stats": f"{_E2} Convolution 5 wide, the GRU's last state.",
    "cnn_bilstm_attention": (
        "5 s about the voice; mel bands in dB; half the frames after each convolution; dense 128 "
        "over context and last state; all changes of a copy at once, made once."
    ),
    "dnn": (
        "Mel bands in dB; harmonic and percussive parts by moving means instead of medians; dense "
        "256, 128, 64 with batch normalisation, dropout 0.5, 0.4, 0.3; batch 32, Adam 1e-3."
    ),
    "efficientnet_b2": _A1.format(epochs="2 epochs", minutes=10) + "efficientnet_b2",
    "efficientnet_b3": _A1.format(epochs="1 epoch", minutes=19) + "efficientnet_b3",
    "wav2vec2": "The convolutional encoder stays as published; Adam, no warm-up.",
}

LAYERS = ("spectra", "loudness", "pictures", "standardise")  # modules that register Keras layers


def train(
    system: "System",
    config: "Config",
    run: Run,
    split: Split,
    *,
    labels: Sequence[str],
    cache: str,
    strict: bool = False,
    watch: Sequence[Recording] = (),
) -> Path:
    """Train a Keras row; see :class:`ser_tf.systems.Trainer`."""
    from ser_tf.systems.neural import training

    options: dict[str, Any] = {"labels": labels, "cache": cache, "strict": strict, "watch": watch}
    return training.train(system, config, run, split, **options)


def load(path: Path) -> "keras.Model":
    """Load a model that :func:`train` wrote, waveform ``(batch, window)`` to probabilities.

    Raises:
        ValueError: The file is damaged or not such a model.
    """
    from ser_tf import models

    for module in LAYERS:
        importlib.import_module(f"{__name__}.{module}")
    importlib.import_module("ser_tf.systems.wav2vec2.layers")
    return models.load(path)
