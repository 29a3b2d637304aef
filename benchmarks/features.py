"""Clips per second through the pipeline, and through librosa as earlier projects used it.

Both sides start from the same files and have the same processor cores. They are measured in rounds,
one system after the other, so that whatever else the machine does hits all of them; medians over
the rounds are told. librosa's workers are warmed up before and keep what they compute, so that
nothing but reading and computing counts against it.

Example:
    python benchmarks/features.py --data /path/to/ravdess
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
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import librosa
import matplotlib
import numpy as np
import scipy.signal
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ser_tf import decoding, models, pipeline
from ser_tf.config import Config
from ser_tf.corpora import CorpusError, Recording, load_corpus
from ser_tf.emotions import EMOTIONS
from ser_tf.fitting import compiled_body

if TYPE_CHECKING:  # TensorFlow is first imported by ser_tf, which silences it
    import keras

ROUNDS = 3
FED_BATCHES = 24  # timed after the first epoch
STEPS = 24  # timed of training, from memory and from the pipeline each

LATER_EPOCHS = "pipeline, later epochs"
FIRST_EPOCH = "pipeline, first epoch and decoding"


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
    offset_db = -0.691
    heard = power[power > 10 ** ((-70 - offset_db) / 10)]
    if not heard.size:
        return -70.0
    gated = heard[heard > heard.mean() / 10]
    return float(offset_db + 10 * np.log10(gated.mean()))


LIBROSA: dict[str, Callable[[Path], np.ndarray]] = {
    "librosa, A1": a1,
    "librosa, C1": c1,
    "librosa, C1, augmented copy": c1_augmented,
    "librosa, E2": e2,
}


def measure(recordings: list[Recording], workers: int) -> dict[str, Any]:
    """Time everything, in rounds.

    Args:
        recordings: What all systems read.
        workers: Processes of librosa.

    Returns:
        ``clips_per_second`` by system; ``first_epoch_over`` and ``later_epochs_over`` it, how many
        times as fast as each system the augmented pipeline is; ``training``, how a training loop
        gets on with its feed on the same cores; ``setup_seconds`` of the ``pipeline``, once a run.
    """
    config = Config()
    features = models.build_features(config.frontend)
    body = compiled_body(config, len(EMOTIONS), 10_000)
    paths = [recording.path for recording in recordings]
    tables: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with joblib.Parallel(n_jobs=workers) as parallel:
        for system in LIBROSA.values():
            parallel(joblib.delayed(system)(path) for path in paths[: 4 * workers])
        for _ in tqdm(range(ROUNDS), desc="rounds"):
            with tempfile.TemporaryDirectory() as cache:
                rates, batches, setup = _through_pipeline(recordings, features, config, cache)
                for name, system in LIBROSA.items():
                    begin = time.perf_counter()
                    parallel(joblib.delayed(_shape)(system, path) for path in paths)
                    rates[name] = len(paths) / (time.perf_counter() - begin)
                training = _training(body, batches, config.train.batch_size)
            for name, rate in rates.items():
                tables["clips_per_second"][name].append(rate)
                tables["first_epoch_over"][name].append(rates[FIRST_EPOCH] / rate)
                tables["later_epochs_over"][name].append(rates[LATER_EPOCHS] / rate)
            for name, value in training.items():
                tables["training"][name].append(value)
            tables["pipeline"]["setup_seconds"].append(setup)
    medians = {
        title: {name: statistics.median(values) for name, values in table.items()}
        for title, table in tables.items()
    }
    return {"clips": len(paths), "workers": workers, "rounds": ROUNDS, **medians}


def _through_pipeline(
    recordings: list[Recording], features: "keras.Sequential", config: Config, cache: str
) -> tuple[dict[str, float], Iterable[Any], float]:
    """Clips per second from files to batches, the batches, and the seconds to set them up."""
    batch_size, frontend = config.train.batch_size, config.frontend
    begin = time.perf_counter()
    shards = decoding.prepare(recordings, EMOTIONS, cache)
    reading = (time.perf_counter() - begin) / len(shards.labels)
    begin = time.perf_counter()
    spectra = pipeline.spectrograms(shards, config.augment, frontend, cache)
    preparing = (time.perf_counter() - begin) / len(shards.labels)

    begin = time.perf_counter()
    weights = np.ones(len(EMOTIONS))
    batches = pipeline.training_batches(
        [spectra], batch_size, features, weights, config.augment, frontend, seed=0
    )
    setup = time.perf_counter() - begin

    feed = iter(batches)
    first = _seconds_a_clip(itertools.islice(feed, len(shards.labels) // batch_size))
    later = _seconds_a_clip(itertools.islice(feed, FED_BATCHES))
    del feed  # or it would go on filling its buffer
    rates = {
        LATER_EPOCHS: 1 / later,
        FIRST_EPOCH: 1 / (first + reading + preparing),
        "pipeline, decoding alone": 1 / reading,
        "pipeline, spectra alone": 1 / preparing,
    }
    return rates, batches, setup


def _seconds_a_clip(batches: Iterable[Any]) -> float:
    begin = time.perf_counter()
    clips = sum(len(batch[0]) for batch in batches)
    return (time.perf_counter() - begin) / clips


def _shape(system: Callable[[Path], np.ndarray], path: Path) -> tuple[int, ...]:
    return system(path).shape


def _training(body: "keras.Model", batches: Iterable[Any], batch_size: int) -> dict[str, float]:
    """Training from memory and from the pipeline, by name of the figure."""
    alone, _ = _train(body, itertools.repeat(next(iter(batches))))
    together, waiting = _train(body, iter(batches))
    return {
        "steps from memory, clips/s": STEPS * batch_size / alone,
        "steps from pipeline, clips/s": STEPS * batch_size / together,
        "share of time waiting for batches": waiting / together,
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


def _train(body: "keras.Model", batches: Iterator[Any]) -> tuple[float, float]:
    """Seconds that ``STEPS`` steps take, and those of them spent waiting for batches."""
    for _ in range(4):  # beyond what lies ready at the start
        body.train_on_batch(*next(batches))
    waiting = 0.0
    begin = time.perf_counter()
    for _ in range(STEPS):
        asked = time.perf_counter()
        batch = next(batches)
        waiting += time.perf_counter() - asked
        body.train_on_batch(*batch)
    return time.perf_counter() - begin, waiting


def _table(figures: dict[str, Any]) -> str:
    lines = [f"{figures['clips']} clips, {figures['workers']} cores, {figures['rounds']} rounds"]
    lines += ["", f"{'':38}{'clips/s':>9}{'first epoch':>13}{'later epochs':>14}"]
    for name, rate in figures["clips_per_second"].items():
        first, later = figures["first_epoch_over"][name], figures["later_epochs_over"][name]
        lines.append(f"{name:38}{rate:9.1f}{first:12.1f}x{later:13.1f}x")
    setup = figures["pipeline"]["setup_seconds"]
    lines += [f"(set-up of the pipeline, once a run: {setup:.1f} s)", ""]
    for name, value in figures["training"].items():
        shown = f"{value:9.1%}" if name.startswith("share") else f"{value:9.1f}"
        lines.append(f"{name:38}{shown}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks/features.py",
        description="Time the feature pipeline against librosa, side by side.",
        epilog="example: python benchmarks/features.py --data /path/to/ravdess",
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
