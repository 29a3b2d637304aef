"""What averaging over playing speeds gives, on held-out recordings: ``speeds.py RUN``.

The trained layers of a finished run answer for the recordings of its validation part, never those
of its test part, at every speed; the logits of some are averaged. The loss is that at the
temperature which makes it least, as the exported graph carries one.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import scipy.special

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ser_tf import decoding, models, pipeline
from ser_tf.config import FrontendConfig, read_config
from ser_tf.corpora import CorpusError, load_corpus
from ser_tf.emotions import EMOTIONS
from ser_tf.fitting import fit_temperature
from ser_tf.frontend import build_log_mel
from ser_tf.runs import Run, RunError
from ser_tf.splits import read_split

CHOICES = (
    (1.0,),
    (0.97, 1.0, 1.03),
    (0.94, 1.0, 1.06),
    (0.92, 1.0, 1.08),
    (0.94, 0.97, 1.0, 1.03, 1.06),
)


def answered(
    model: keras.Model, frontend: FrontendConfig, speed: float, waveforms: np.ndarray
) -> np.ndarray:
    """Logits at one playing speed: float32 ``(recordings, classes)``."""
    (body,) = (
        layer
        for layer in model.layers
        if isinstance(layer, keras.Model) and layer.name != "features"
    )
    log_mel = build_log_mel(frontend, speeds=(speed,))
    waveform = keras.Input(waveforms.shape[1:])
    played = keras.Model(waveform, body(model.get_layer("features")(log_mel(waveform))))
    return played.predict(waveforms, batch_size=64, verbose=0)


def scored(logits: np.ndarray, truth: np.ndarray) -> str:
    """Two cells of a Markdown table: accuracy, and loss at the temperature that makes it least."""
    scaled = scipy.special.log_softmax(logits / fit_temperature(logits, truth), axis=1)
    loss = -scaled[np.arange(len(truth)), truth].mean()
    return f"{np.mean(logits.argmax(axis=1) == truth):.1%} | {loss:.3f}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].split(": ")[1])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished training run")
    parser.add_argument("--cache", default="cache", metavar="DIR", help="decoded recordings")
    args = parser.parse_args(argv)
    try:
        run = Run.existing(args.run)
        config = read_config(run.config)
        model = models.load(run.model)
        split = read_split(run.split, load_corpus(config.data))
        held_out = decoding.prepare(split.validation, EMOTIONS, args.cache)
    except (CorpusError, RunError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    batches = [(x.numpy(), y.numpy()) for x, y in pipeline.waveforms(held_out, 64)]
    waveforms, truth = (np.concatenate(part) for part in zip(*batches, strict=True))
    logits = {
        speed: answered(model, config.frontend, speed, waveforms)
        for speed in sorted({speed for speeds in CHOICES for speed in speeds})
    }
    print(f"{split.name}: {len(truth)} recordings held out from training\n")
    print("| speeds | accuracy | loss at its best temperature |\n|---|---:|---:|")
    for speeds in CHOICES:
        mean = np.mean([logits[speed] for speed in speeds], axis=0)
        names = ", ".join(f"{speed:g}" for speed in speeds)
        print(f"| {names} | {scored(mean, truth)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
