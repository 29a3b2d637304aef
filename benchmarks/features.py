"""Clips per second through the pipeline, and through librosa as earlier projects used it.

Both sides start from the same files and have the same processor cores. They are measured in rounds,
one system after the other, so that whatever else the machine does hits all of them; medians over
the rounds are told. librosa's workers are warmed up before and keep what they compute, so that
nothing but reading and computing counts against it.

Example:
    python -m benchmarks.features --data /path/to/ravdess
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import librosa
import matplotlib
import numpy as np
import scipy.signal
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from ser_tf import models, pipeline
from ser_tf.config import Config
from ser_tf.corpora import CorpusError, Recording, load_corpus
from ser_tf.emotions import EMOTIONS
from ser_tf.train import class_weights, compiled_body

ROUNDS = 1
FED_BATCHES = 24  # timed after the first epoch
STEPS = 16  # timed of training, from memory and from the pipeline each

OURS, OURS_FIRST = "pipeline, later epochs", "pipeline, first epoch with decoding"
OURS_PLAIN, DECODING = "pipeline, no augmentation", "pipeline, decoding alone"
C1 = "librosa, C1"


def a1(path: Path) -> np.ndarray:
    """The picture of A1: 128 mel bands of 4 s in dB re maximum, viridis, uint8 ``(300, 300, 3)``.

    Coloured by a table and scaled by Pillow; drawing a matplotlib figure would take far longer.
    """
    waveform, rate = librosa.load(path, sr=22_050)
    waveform = librosa.util.fix_length(waveform, size=4 * int(rate))
    mel = librosa.feature.melspectrogram(y=waveform, sr=rate, n_mels=128)
    decibels = librosa.power_to_db(mel, ref=np.max)
    scaled = (decibels - decibels.min()) / max(np.ptp(decibels), 1e-9)
    colours = matplotlib.colormaps["viridis"](scaled[::-1], bytes=True)[..., :3]
    return np.asarray(Image.fromarray(colours).resize((300, 300)))


def c1(path: Path) -> np.ndarray:
    """The features of C1: ``(216, 187)``."""
    waveform, rate = librosa.load(path, sr=22_050)
    return _c1_features(waveform, rate)


def c1_augmented(path: Path) -> np.ndarray:
    """The features of C1's augmented copy (noise, stretch, shift, pitch): ``(216, 187)``."""
    waveform, rate = librosa.load(path, sr=22_050)
    random = np.random.default_rng()
    waveform = waveform + 0.035 * waveform.max() * random.standard_normal(len(waveform))
    waveform = librosa.effects.time_stretch(waveform, rate=random.uniform(0.8, 1.2))
    waveform = np.roll(waveform, int(random.uniform(-2, 2) * rate))
    waveform = librosa.effects.pitch_shift(waveform, sr=rate, n_steps=random.uniform(-1, 1))
    return _c1_features(waveform, rate)


def e2(path: Path) -> np.ndarray:
    """The features of E2 at the file's own rate, ``(200, 60)``, with six clip values below."""
    waveform, rate = librosa.load(path, sr=None)
    frames = [
        librosa.feature.mfcc(y=waveform, sr=rate, n_mfcc=40),
        librosa.feature.chroma_stft(y=waveform, sr=rate),
        librosa.feature.zero_crossing_rate(waveform),
        librosa.feature.spectral_contrast(y=waveform, sr=rate),
    ]
    rms = librosa.feature.rms(y=waveform)
    voiced = librosa.effects.split(waveform, top_db=30)
    values = np.zeros(60)
    values[:6] = (
        librosa.get_duration(y=waveform, sr=rate),
        loudness(waveform, rate),
        rms.mean(),
        np.abs(waveform).max(),
        20 * np.log10(rms.max() / max(np.percentile(rms, 10), 1e-6)),
        1 - np.sum(voiced[:, 1] - voiced[:, 0]) / len(waveform),
    )
    table = librosa.util.fix_length(np.concatenate(frames), size=200).T
    return np.concatenate([table, values[None]])


def loudness(waveform: np.ndarray, rate: float) -> float:
    """Integrated loudness in LUFS after ITU-R BS.1770-4.

    The two filters of its K-weighting are re-derived for any rate from their analogue parameters
    (B. De Man, "Evaluation of implementations of the EBU R128 loudness measurement", AES 2018).

    Args:
        waveform: float ``(samples,)``, mono.
        rate: Of the samples, Hz.
    """
    k = np.tan(np.pi * 1681.974450955533 / rate)
    q, high = 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    middle = high**0.4996667741545416
    numerator = [high + middle * k / q + k * k, 2 * (k * k - high), high - middle * k / q + k * k]
    shelved = scipy.signal.lfilter(
        numerator, [1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k], waveform
    )
    k = np.tan(np.pi * 38.13547087602444 / rate)
    q = 0.5003270373238773
    scale = 1 + k / q + k * k
    weighted = scipy.signal.lfilter(
        [1, -2, 1], [1, 2 * (k * k - 1) / scale, (1 - k / q + k * k) / scale], shelved
    )
    block = min(round(0.4 * rate), len(weighted))
    blocks = np.lib.stride_tricks.sliding_window_view(weighted, block)[:: max(1, block // 4)]
    power = np.mean(np.square(blocks), axis=1)
    for gate in (-70.0, None):
        level = -0.691 + 10 * np.log10(np.maximum(power, 1e-12))
        if gate is None:
            gate = -0.691 + 10 * np.log10(max(power.mean(), 1e-12)) - 10
        power = power[level > gate] if np.any(level > gate) else power
    return float(-0.691 + 10 * np.log10(max(power.mean(), 1e-12)))


def measure(recordings: list[Recording], workers: int) -> dict[str, Any]:
    """Time everything, in rounds.

    Args:
        recordings: What all systems read.
        workers: Processes of librosa.

    Returns:
        ``clips_per_second`` by system; ``ratios``, how many times as fast as each system the
        augmented pipeline is; ``training``, how a training loop shares the cores with its feed;
        ``setup_seconds``, once a run.
    """
    config = Config()
    batch_size, floor_db = config.train.batch_size, config.frontend.floor_db
    features = models.build_features(config.frontend)
    body = compiled_body(config, len(EMOTIONS), 10_000)
    step = tf.function(body.train_step, reduce_retracing=True)
    paths = [recording.path for recording in recordings]
    rates: dict[str, list[float]] = defaultdict(list)
    ratios: dict[str, list[float]] = defaultdict(list)
    training: dict[str, list[float]] = defaultdict(list)
    setup: list[float] = []

    with joblib.Parallel(n_jobs=workers) as parallel:

        def librosa_rate(system: Callable[[Path], np.ndarray]) -> float:
            def run(path: Path) -> tuple[int, ...]:
                return system(path).shape

            return _rate(len(paths), lambda: parallel(joblib.delayed(run)(p) for p in paths))

        systems = {"librosa, A1": a1, C1: c1, "librosa, C1 augmented": c1_augmented}
        systems["librosa, E2"] = e2
        for system in systems.values():
            parallel(joblib.delayed(system)(path) for path in paths[: 4 * workers])

        for _ in tqdm(range(ROUNDS), desc="rounds"):
            with tempfile.TemporaryDirectory() as cache:
                begin = time.perf_counter()
                shards = pipeline.prepare(recordings, EMOTIONS, cache)
                decoding = (time.perf_counter() - begin) / len(shards.labels)
                begin = time.perf_counter()
                batches = pipeline.training_batches(
                    shards,
                    batch_size,
                    features,
                    class_weights(shards.labels, len(EMOTIONS), config.train.class_weight),
                    config.augment,
                    floor_db=floor_db,
                    seed=0,
                )
                kept = next(iter(batches))  # traces the graph
                setup.append(time.perf_counter() - begin)

                epoch = len(shards.labels) // batch_size
                feed = iter(batches)
                first = _rate(epoch * batch_size, lambda: _take(feed, epoch))
                later = _rate(FED_BATCHES * batch_size, lambda: _take(feed, FED_BATCHES))
                del feed
                plain = pipeline.plain_batches(
                    shards, batch_size, features, len(EMOTIONS), floor_db
                )
                _take(iter(plain), 1)
                round_rates = {
                    OURS: later,
                    OURS_FIRST: 1 / (1 / first + decoding),
                    OURS_PLAIN: _rate(len(shards.labels), lambda: _take(iter(plain), None)),
                    DECODING: 1 / decoding,
                    **{name: librosa_rate(system) for name, system in systems.items()},
                }
                for name, rate in round_rates.items():
                    rates[name].append(rate)
                    ratios[name].append(later / rate)

                step(kept)
                alone, _ = _train(step, itertools.repeat(kept))
                together, waiting = _train(step, iter(batches))
                training["steps from memory, clips/s"].append(STEPS * batch_size / alone)
                training["steps from pipeline, clips/s"].append(STEPS * batch_size / together)
                training["share of time waiting"].append(waiting / together)
    return {
        "clips": len(recordings),
        "workers": workers,
        "rounds": ROUNDS,
        "clips_per_second": _medians(rates),
        "ratios": _medians(ratios),
        "training": _medians(training),
        "setup_seconds": statistics.median(setup),
    }


def _c1_features(waveform: np.ndarray, rate: float) -> np.ndarray:
    mfcc = librosa.feature.mfcc(y=waveform, sr=rate, n_mfcc=13)
    frames = [
        mfcc,
        librosa.feature.delta(mfcc),
        librosa.feature.delta(mfcc, order=2),
        librosa.feature.chroma_stft(y=waveform, sr=rate),
        librosa.feature.melspectrogram(y=waveform, sr=rate, n_mels=128),
        librosa.feature.zero_crossing_rate(waveform),
        librosa.feature.spectral_contrast(y=waveform, sr=rate),
    ]
    return librosa.util.fix_length(np.concatenate(frames), size=216).T


def _rate(clips: int, work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return clips / (time.perf_counter() - begin)


def _take(batches: Iterator[Any], count: int | None) -> None:
    for _ in itertools.islice(batches, count):
        pass


def _train(step: Callable[[Any], Any], batches: Iterator[Any]) -> tuple[float, float]:
    """Seconds that ``STEPS`` steps take, and those of them spent waiting for batches."""
    step(next(batches))
    waiting = 0.0
    begin = time.perf_counter()
    for _ in range(STEPS):
        asked = time.perf_counter()
        batch = next(batches)
        waiting += time.perf_counter() - asked
        float(step(batch)["loss"])
    return time.perf_counter() - begin, waiting


def _medians(figures: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in figures.items()}


def _table(figures: dict[str, Any]) -> str:
    lines = [f"{figures['clips']} clips, {figures['workers']} cores, {figures['rounds']} rounds"]
    lines += ["", f"{'system':38}{'clips/s':>9}{'ratio':>8}"]
    for name, rate in figures["clips_per_second"].items():
        lines.append(f"{name:38}{rate:9.1f}{figures['ratios'][name]:8.1f}")
    lines.append(f"(set-up of the pipeline, once a run: {figures['setup_seconds']:.1f} s)")
    lines.append("")
    for name, value in figures["training"].items():
        shown = f"{value:9.1%}" if name.startswith("share") else f"{value:9.1f}"
        lines.append(f"{name:38}{shown}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.features",
        description="Time the feature pipeline against librosa, side by side.",
        epilog="example: python -m benchmarks.features --data /path/to/ravdess",
    )
    parser.add_argument("--data", required=True, metavar="PATH", help="a corpus, as for training")
    parser.add_argument("--clips", type=int, default=200, metavar="N", help="default: 200")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="cores (default: 2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    batch_size = Config().train.batch_size
    if options.clips < batch_size:
        parser.error(f"argument --clips: must be at least {batch_size}, one batch")
    if options.workers < 1:
        parser.error("argument --workers: must be at least 1")
    if hasattr(os, "sched_setaffinity"):  # TensorFlow and librosa's processes then keep to these
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.workers])
    try:
        recordings = load_corpus(options.data)
        apart = max(1, len(recordings) // options.clips)
        figures = measure(recordings[::apart][: options.clips], options.workers)
    except (CorpusError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(figures) if options.json else _table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
