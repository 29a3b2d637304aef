"""What ``learn.py`` needs, in one folder: ``pack.py --data RAVDESS --out PACKED TOML …``.

Windows of all recordings as Opus, the tables of the front end, who is learnt from and who is asked
in every split, and the settings of each TOML file. The folder is small, and what uses it needs
neither TensorFlow nor this project: it can be copied to a machine with a GPU and JAX.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.fft
import scipy.signal
import soundfile
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from edge import audio
from edge.classifier import cut
from ser_tf import augment, frontend, pitch
from ser_tf.config import (
    FRAME_LENGTH,
    N_HARMONIC_BINS,
    N_MELS,
    N_SAMPLES,
    SAMPLE_RATE,
    Config,
    ConfigError,
    read_config,
)
from ser_tf.corpora import CorpusError, Recording, load_corpus
from ser_tf.emotions import EMOTIONS
from ser_tf.splits import make_split

TOGETHER = 62  # windows in one file
COMPRESSION = 0.865  # libsndfile's level for Opus: 36 kbit/s
SPLITS = ("common", "actors:0", "actors:1", "actors:2", "actors:3", "actors:4")


def window(recording: Recording, length: int) -> np.ndarray:
    """``length`` samples about the middle of the model's window, as training cuts them."""
    waveform = audio.load(recording.path)
    spare = len(waveform) - N_SAMPLES
    start = sum(audio.voice_span(waveform)) // 2 - N_SAMPLES // 2
    start = min(max(start, 0), spare) if spare >= 0 else spare // 2
    return cut(waveform, start - (length - N_SAMPLES) // 2, length)


def tables() -> dict[str, np.ndarray]:
    """Constants of the front end and of the changes made in training."""
    layer = frontend.LogMelSpectrogram(harmonic_bins=N_HARMONIC_BINS)
    mel = np.zeros((FRAME_LENGTH // 2 + 1, N_MELS), "float32")
    first = 0
    for low, part in layer._mel:
        mel[low : low + len(part), first : first + part.shape[1]] = part
        first += part.shape[1]
    taps = [
        scipy.signal.savgol_coeffs(frontend.DELTA_WIDTH, polyorder=order, deriv=order, use="dot")
        for order in (1, 2)
    ]
    return {
        "window": layer._window,
        "longer_window": layer._longer_window,
        "low_pass": layer._low_pass,
        "mel": mel,
        "dct": scipy.fft.dct(np.eye(N_MELS), axis=0, norm="ortho").T.astype("float32"),
        "taps": np.stack(taps).astype("float32"),
        "comb": pitch.PitchSalience()._comb,
        "places": pitch.PitchTrack()._places,
        "texture": augment._TEXTURE,
        "centres": augment.CENTRES,
        "mel_widths": np.gradient(augment.MEL_CENTRES).astype("float32"),
    }


def parts(recordings: Sequence[Recording], validation: float) -> dict[str, np.ndarray]:
    """Numbers of the recordings that are learnt from, and asked, in every split."""
    number = {recording.path: n for n, recording in enumerate(recordings)}
    found = {}
    for name in SPLITS:
        split = make_split(recordings, name, validation=validation, seed=0)
        for part, of in (("train", split.train), ("asked", split.validation)):
            found[f"{name}/{part}"] = np.array([number[each.path] for each in of], np.int32)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].split(": ")[0])
    parser.add_argument("settings", nargs="+", type=Path, metavar="TOML", help="what to compare")
    parser.add_argument("--data", required=True, help="RAVDESS")
    parser.add_argument("--out", required=True, type=Path, metavar="PACKED", help="a new folder")
    parser.add_argument("--validation", type=float, default=0.25, help="held out (default: 0.25)")
    args = parser.parse_args(argv)
    try:
        settings = {path.stem: read_config(path) for path in args.settings}
        changes = Config().augment
        if any(
            (of.augment.speed, of.augment.shift) != (changes.speed, changes.shift)
            for of in settings.values()
        ):
            raise ConfigError("speed and shift must be the defaults: windows are cut for them")
        recordings = load_corpus(args.data, strict=True)
        split = parts(recordings, args.validation)
        (args.out / "windows").mkdir(parents=True)
        length = augment.source_samples(changes)
        for first in tqdm(range(0, len(recordings), TOGETHER), "packing"):
            some = [window(each, length) for each in recordings[first : first + TOGETHER]]
            soundfile.write(
                args.out / "windows" / f"{first:05d}.opus",
                np.concatenate(some),
                SAMPLE_RATE,
                format="OGG",
                subtype="OPUS",
                compression_level=COMPRESSION,
            )
    except (ConfigError, CorpusError, audio.AudioError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    np.savez(
        args.out / "tables.npz",
        **tables(),
        **split,
        labels=np.array([EMOTIONS.index(each.emotion) for each in recordings]),
        speech=np.array([each.traits["channel"] == "speech" for each in recordings]),
        together=TOGETHER,
    )
    told = {name: of.to_dict() for name, of in settings.items()}
    (args.out / "settings.json").write_text(json.dumps(told, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
