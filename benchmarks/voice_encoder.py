"""What an encoder of voices hears of emotion: ``voice_encoder.py RUN WHEEL``.

Resemblyzer's encoder was trained on thousands of speakers to tell them apart (Wan et al., 2018,
https://arxiv.org/abs/1710.10467), and knows of no emotion. A support vector machine learns from
means and deviations of its hidden states over the run's training recordings, all brought to one
level, and answers for its validation part, never for its test part: alone, and together with the
run. The wheel is had by ``pip download --no-deps Resemblyzer==0.1.4``.
"""

import argparse
import hashlib
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import librosa
import numpy as np
import scipy.special
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.speeds import scored
from edge import audio
from edge.classifier import cut, window_starts
from ser_tf import models
from ser_tf.config import N_SAMPLES, SAMPLE_RATE, read_config
from ser_tf.corpora import CorpusError, load_corpus
from ser_tf.corpora.recording import Recording
from ser_tf.emotions import EMOTIONS
from ser_tf.runs import Run, RunError
from ser_tf.splits import read_split

MEMBER = "resemblyzer/pretrained.pt"
SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
# The file is a pickle, which is never loaded. It is known to the last bit, and so is where in it
# each layer's float32 arrays begin: kernel, recurrent kernel and the two biases.
UNITS = 256
LAYERS = (
    (269883, 433723, 5676603, 5680699),
    (1482299, 2530875, 5684795, 5688891),
    (3579451, 4628027, 5692987, 5697083),
)
N_MELS = 40
WINDOW = SAMPLE_RATE * 25 // 1000
HOP = SAMPLE_RATE * 10 // 1000
LEVEL_DB = -30.0
SHARES = (0.3, 0.5, 0.7)  # of the machine's log-probabilities, beside the run's whole
LEAST_PROBABILITY = 1e-4  # keeps a logarithm from outweighing the rest
BATCH = 64


def read_encoder(wheel: Path) -> keras.Model:
    """The encoder's three LSTM layers: ``(batch, frames, 40)`` to ``(batch, frames, 768)``.

    Raises:
        ValueError: The wheel is not the one whose content is known.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(MEMBER)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{wheel}: cannot be read as Resemblyzer's wheel ({error})") from None
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(f"{wheel}: holds other weights than Resemblyzer 0.1.4's")

    def matrix(offset: int, columns: int) -> np.ndarray:
        values = np.frombuffer(content, "<f4", 4 * UNITS * columns, offset)
        return values.reshape(4 * UNITS, columns).T

    spectra = keras.Input((None, N_MELS))
    hidden, states = spectra, []
    for kernel, recurrent, bias, second_bias in LAYERS:
        layer = keras.layers.LSTM(UNITS, return_sequences=True)
        inputs = hidden.shape[-1]
        hidden = layer(hidden)
        biases = matrix(bias, 1)[0] + matrix(second_bias, 1)[0]
        layer.set_weights([matrix(kernel, inputs), matrix(recurrent, UNITS), biases])
        states.append(hidden)
    return keras.Model(spectra, keras.layers.Concatenate()(states))


def spectrum(waveform: np.ndarray) -> np.ndarray:
    """What the encoder hears of a voice, float32 ``(frames, 40)``: mel power at one level."""
    start, end = audio.voice_span(waveform, SAMPLE_RATE)
    voice = waveform[start:end]
    voice = voice * 10 ** (LEVEL_DB / 20) / max(np.sqrt(np.mean(np.square(voice))), 1e-6)
    return librosa.feature.melspectrogram(
        y=voice, sr=SAMPLE_RATE, n_fft=WINDOW, hop_length=HOP, n_mels=N_MELS
    ).T.astype(np.float32)


def windows_of(recordings: Sequence[Recording]) -> np.ndarray:
    """The middle window of each recording, as the model hears it: float32 ``(n, 57600)``."""
    windows = []
    for recording in tqdm(recordings, "decoding", unit="clip"):
        waveform = audio.load(recording.path, SAMPLE_RATE)
        starts = window_starts(len(waveform), audio.voice_span(waveform, SAMPLE_RATE), N_SAMPLES)
        windows.append(cut(waveform, starts[len(starts) // 2], N_SAMPLES))
    return np.stack(windows)


def statistics_of(encoder: keras.Model, windows: np.ndarray) -> np.ndarray:
    """Means and deviations of hidden states over a voice: float32 ``(n, 1536)``."""
    rows = []
    for first in tqdm(range(0, len(windows), BATCH), "encoding", unit="batch"):
        heard = [spectrum(window) for window in windows[first : first + BATCH]]
        longest = max(map(len, heard))
        padded = np.stack([np.pad(part, ((0, longest - len(part)), (0, 0))) for part in heard])
        for part, states in zip(heard, encoder.predict_on_batch(padded), strict=True):
            voiced = states[: len(part)]
            rows.append(np.concatenate([voiced.mean(axis=0), voiced.std(axis=0)]))
    return np.stack(rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].split(": ")[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished training run")
    parser.add_argument("wheel", type=Path, metavar="WHEEL", help="Resemblyzer-0.1.4-….whl")
    args = parser.parse_args(argv)
    try:
        run = Run.existing(args.run)
        encoder = read_encoder(args.wheel)
        model = models.load(run.model)
        split = read_split(run.split, load_corpus(read_config(run.config).data))
        if not split.validation:
            raise RunError(f"{run.folder}: held nothing out; train with a validation part")
        learnt, held_out = windows_of(split.train), windows_of(split.validation)
    except (audio.AudioError, CorpusError, RunError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    answering = keras.Model(model.input, model.get_layer("temperature").input)
    logits = answering.predict(held_out, batch_size=BATCH, verbose=0)
    answers = scipy.special.log_softmax(logits, axis=1)
    machine = make_pipeline(
        StandardScaler(), CalibratedClassifierCV(SVC(C=10.0), ensemble=False)
    ).fit(statistics_of(encoder, learnt), [EMOTIONS.index(part.emotion) for part in split.train])
    others = np.log(machine.predict_proba(statistics_of(encoder, held_out)) + LEAST_PROBABILITY)
    truth = np.array([EMOTIONS.index(recording.emotion) for recording in split.validation])
    speech = np.array([part.traits.get("channel") == "speech" for part in split.validation])
    print(f"{split.name}: {len(truth)} recordings held out from training\n")
    print("| | accuracy | loss at its best temperature | speech: accuracy | loss |")
    print("|---|---:|---:|---:|---:|")
    rows = {"the run": answers, "voice encoder": others}
    rows |= {f"the run and {share:g} of that": answers + share * others for share in SHARES}
    for name, scores in rows.items():
        print(f"| {name} | {scored(scores, truth)} | {scored(scores[speech], truth[speech])} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
