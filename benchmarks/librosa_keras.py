"""The job of ``edge/run.py`` done by librosa and Keras, as earlier projects' predict scripts do it.

C1: 187 features a frame (13 MFCC, Δ, ΔΔ, 12 chroma, 128 mel, zero crossings, 7 contrast) of 216
frames at 22,050 Hz, standardised cell by cell, then Conv1D, two BiLSTM layers and attention. The
weights are random: the time does not depend on them, and the answers mean nothing.

Example:
    python benchmarks/librosa_keras.py --make c1/ && python benchmarks/librosa_keras.py c1/ clip.wav
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import librosa
import numpy as np

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
SAMPLE_RATE = 22_050  # Hz
FRAMES, FEATURES = 216, 187
MODEL, SCALER = "model.keras", "scaler.npz"


def features(path: str) -> np.ndarray:
    """The features of a recording: float32 ``(FRAMES, FEATURES)``."""
    waveform, rate = librosa.load(path, sr=SAMPLE_RATE)
    mfcc = librosa.feature.mfcc(y=waveform, sr=rate, n_mfcc=13)
    rows = (
        mfcc,
        librosa.feature.delta(mfcc),
        librosa.feature.delta(mfcc, order=2),
        librosa.feature.chroma_stft(y=waveform, sr=rate),
        librosa.feature.melspectrogram(y=waveform, sr=rate, n_mels=128),
        librosa.feature.zero_crossing_rate(waveform),
        librosa.feature.spectral_contrast(y=waveform, sr=rate),
    )
    return librosa.util.fix_length(np.concatenate(rows), size=FRAMES).T


def make(folder: Path) -> None:
    """Write the model with random weights, and a scaler, into a folder."""
    inputs = keras.Input((FRAMES, FEATURES))
    x = inputs
    for filters in (64, 128):
        x = keras.layers.Conv1D(filters, 3, padding="same")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.MaxPooling1D(2)(x)
    for _ in range(2):
        x = keras.layers.Bidirectional(keras.layers.LSTM(128, return_sequences=True))(x)
        x = keras.layers.Dropout(0.5)(x)
    last = keras.layers.Cropping1D((FRAMES // 2 - 1, 0))(x)
    context = keras.layers.Attention()([last, x])  # Luong's: scores are dot products with the last
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(part) for part in (context, last)])
    outputs = keras.layers.Dense(len(EMOTIONS), activation="softmax")(joined)
    folder.mkdir(parents=True, exist_ok=True)
    keras.Model(inputs, outputs).save(folder / MODEL)
    cells = np.zeros((FRAMES, FEATURES), np.float32)
    np.savez(folder / SCALER, mean=cells, deviation=cells + 1)


def load(folder: Path) -> Callable[[str], tuple[str, float]]:
    """What answers a recording, by its path, with an emotion and its probability."""
    model = keras.models.load_model(folder / MODEL)
    scaler = np.load(folder / SCALER)
    mean, deviation = scaler["mean"], scaler["deviation"]

    def predict(path: str) -> tuple[str, float]:
        table = (features(path) - mean) / deviation
        probabilities = model.predict(table[np.newaxis], verbose=0)[0]
        best = int(probabilities.argmax())
        return EMOTIONS[best], float(probabilities[best])

    return predict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("recordings", nargs="*", metavar="FILE")
    parser.add_argument("--make", action="store_true", help="write the model first")
    options = parser.parse_args()
    if options.make:
        make(options.model)
    if options.recordings:
        predict = load(options.model)
        for path in options.recordings:
            emotion, confidence = predict(path)
            print(f"{path}: {emotion} {confidence:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
