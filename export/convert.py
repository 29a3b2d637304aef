"""``python -m export.convert RUN``: a trained run becomes ``.tflite`` files and a report.

Keras model → SavedModel → float32 → 8 bits, each with labels and audio properties inside as TFLite
metadata. In 8 bits our own model has its whole body, weights and activations; that of an earlier
system has the weights of its body alone, and is left out where it then answers differently. All
are run against Keras through :mod:`edge.classifier` before anything is kept. Beside them stands the
Keras model that they were made from.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from edge import audio
from edge.classifier import EmotionClassifier, cut, window_starts
from export.metadata import embed
from export.quantise import quantise_body, quantise_weights
from ser_tf import models, origin
from ser_tf.config import ConfigError, read_config
from ser_tf.corpora import CorpusError, load_corpus
from ser_tf.corpora.recording import Recording
from ser_tf.emotions import EMOTIONS
from ser_tf.runs import Run, RunError
from ser_tf.splits import read_split
from ser_tf.systems import SYSTEMS, neural, sample_rate_of

SIGNATURE = "serving_default"
REPRESENTATIVE = 256  # training recordings that set the ranges of the 8-bit activations
VERIFICATION = 256  # recordings that variants must agree on; held-out ones if the run has any
LATENCY_RUNS = 50

DESCRIPTION = "Speech emotion from {seconds:.1f} s of sound: a probability for each label."
OTHER_LICENSE_NOTE = "As the recordings that it was trained on allow."
LICENSE_NOTES = {
    "ravdess": (
        "Trained on RAVDESS (Livingstone and Russo, 2018, https://doi.org/10.5281/zenodo.1188976),"
        " CC BY-NC-SA 4.0: credit its authors, no commercial use, share alike."
    ),
    "nemo": "nEMO (Christop, 2024), CC BY-NC-SA 4.0.",
    "emospeech": "Indian EmoSpeech (Banga et al., arXiv:1910.13801), CC BY-NC-SA 4.0.",
}


class ExportError(Exception):
    """An export that must not be used; the message is one line."""


@dataclass(frozen=True)
class Limits:
    """How far a variant may be from Keras on the verification clips before it is refused.

    Attributes:
        difference: Largest mean over clips of the largest difference in probability.
        agreement: Smallest share of clips with the same emotion.
    """

    difference: float
    agreement: float


LIMITS = {
    "float32": Limits(difference=0.001, agreement=0.995),
    "int8": Limits(difference=0.05, agreement=0.95),
    "weights8": Limits(difference=0.05, agreement=0.95),
}


@dataclass(frozen=True)
class Variant:
    """What was measured of one exported file.

    Attributes:
        file: Its name.
        bytes: Its size.
        difference: Mean over verification clips of the largest difference in probability to Keras.
        agreement: Share of verification clips with Keras's emotion.
        accuracy: Share of verification clips answered rightly.
        latency_ms: Median time of one inference on one thread.
    """

    file: str
    bytes: int
    difference: float
    agreement: float
    accuracy: float
    latency_ms: float


def to_tflite(model: keras.Model) -> bytes:
    """Convert a Keras model, waveform to probabilities, to float32 TFLite with built-in ops only.

    The input is one waveform, as many samples as the model takes.

    By way of a SavedModel: the converter of TensorFlow 2.16 crashes on Keras 3 models themselves.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint(
            SIGNATURE,
            lambda waveform: model(waveform, training=False),
            input_signature=[tf.TensorSpec((1, model.input_shape[1]), tf.float32, name="waveform")],
        )
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        with audio.native_stderr_silenced():  # the converter remarks on its own defaults
            return converter.convert()


def convert(run: Run) -> Path:
    """Export a finished run into its ``export/`` folder.

    Args:
        run: Its folder holds the trained model, its settings and its split.

    Returns:
        The folder: ``ser_float32.tflite``, ``ser_int8.tflite`` or ``ser_weights8.tflite``,
        ``ser.keras``, ``report.json``, ``report.md``.

    Raises:
        ExportError: The run is not finished, or a variant disagrees with Keras.
    """
    if run.classical.is_file():
        raise ExportError(f"{run.classical}: runs as it is, with scikit-learn; nothing to export")
    if not run.model.is_file():
        raise ExportError(f"{run.folder}: has no {run.model.name}; finish it with --resume first")
    config = read_config(run.config)
    if config.model.name not in SYSTEMS:
        raise ExportError(f"{run.config}: no model is called {config.model.name!r}")
    system = SYSTEMS[config.model.name]
    try:
        model = models.load(run.model) if system.ours else neural.load(run.model)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ExportError(f"{run.model}: cannot be loaded: {str(error).splitlines()[0]}") from None
    known = origin.read(run.model)
    everything = load_corpus(config.data, labels=tuple(dict.fromkeys((*known.labels, *EMOTIONS))))
    split = read_split(run.split, everything)
    sample_rate, window = sample_rate_of(system), model.input_shape[1]
    representative, answers = _windows(split.train, REPRESENTATIVE, sample_rate, window)
    clips = representative
    part = split.validation or split.train
    if split.validation:
        clips, answers = _windows(part, VERIFICATION, sample_rate, window)
    labels = np.array([known.labels.index(answer) for answer in answers])

    float32 = to_tflite(model)
    expected = np.concatenate(
        [model(clips[i : i + 32], training=False).numpy() for i in range(0, len(clips), 32)]
    )
    folder = run.folder / "export"
    aside = Path(tempfile.mkdtemp(prefix=".export-", dir=run.folder))
    left_out: dict[str, str] = {}

    def checked(name: str, content: bytes) -> Variant:
        path = aside / f"ser_{name}.tflite"
        described = DESCRIPTION.format(seconds=window / sample_rate)
        title = f"ser-tf {config.model.name} {name}"
        note = _license_note(known.corpora)
        path.write_bytes(embed(content, known.labels, sample_rate, 1, title, described, note))
        variant = _measure(path, clips, labels, expected)
        _check(variant, LIMITS[name], len(clips))
        return variant

    try:
        origin.save(model, known, aside / "ser.keras")
        variants = [checked("float32", float32)]
        if system.ours:
            print("calibrating the int8 body", file=sys.stderr)
            int8 = quantise_body(float32, config.model.name, representative, SIGNATURE)
            variants.append(checked("int8", int8))
        else:
            try:
                variants.append(checked("weights8", quantise_weights(float32, _body(model))))
            except Exception as error:  # the quantiser knows few graphs, and says so in many ways
                (aside / "ser_weights8.tflite").unlink(missing_ok=True)
                left_out["ser_weights8.tflite"] = " ".join(str(error).split()) or repr(error)
        report = {
            "run": run.folder.name,
            "parameters": model.count_params(),
            "temperature": _temperature(model),
            "verification_clips": len(clips),
            "verification_part": "validation" if split.validation else "training",
            "keras_accuracy": float(np.mean(expected.argmax(axis=1) == labels)),
            "limits": {name: asdict(limits) for name, limits in LIMITS.items()},
            "variants": [asdict(variant) for variant in variants],
            "left_out": left_out,
        }
        (aside / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (aside / "report.md").write_text(_table(report), encoding="utf-8")
        _replace_folder(aside, folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return folder


def _windows(
    recordings: Sequence[Recording], count: int, sample_rate: int, window: int
) -> tuple[np.ndarray, list[str]]:
    """The middle windows of recordings, chosen evenly, as the edge hears them; and their emotions.

    Returns:
        float32 ``(count or fewer, window)``, and as many emotions.
    """
    order = np.random.default_rng(0).permutation(len(recordings))[:count]
    windows, emotions = [], []
    for recording in tqdm([recordings[i] for i in order], "decoding", unit="clip", delay=2.0):
        try:
            waveform = audio.load(recording.path, sample_rate)
        except audio.AudioError as error:
            tqdm.write(f"warning: {error}; left out", file=sys.stderr)
            continue
        starts = window_starts(len(waveform), audio.voice_span(waveform, sample_rate), window)
        windows.append(cut(waveform, starts[len(starts) // 2], window))
        emotions.append(recording.emotion)
    if not windows:
        raise ExportError("none of the recordings to verify it on can be read")
    return np.stack(windows), emotions


def _body(model: keras.Model) -> str:
    """Name of the trained layers: the last model within the model."""
    return [layer.name for layer in model.layers if isinstance(layer, keras.Model)][-1]


def _temperature(model: keras.Model) -> float | None:
    """What it divides its logits by, where it has a layer for that."""
    try:
        return float(model.get_layer("temperature").temperature)
    except ValueError:
        return None


def _license_note(corpora: Sequence[str]) -> str:
    notes = [LICENSE_NOTES.get(corpus, OTHER_LICENSE_NOTE) for corpus in corpora]
    return " ".join(dict.fromkeys(notes))


def _measure(path: Path, clips: np.ndarray, labels: np.ndarray, expected: np.ndarray) -> Variant:
    classifier = EmotionClassifier(path)
    answers = np.stack([classifier.probabilities(clip) for clip in tqdm(clips, desc=path.stem)])
    seconds = []
    for clip in clips[:LATENCY_RUNS]:
        begin = time.perf_counter()
        classifier.probabilities(clip)
        seconds.append(time.perf_counter() - begin)
    return Variant(
        file=path.name,
        bytes=path.stat().st_size,
        difference=float(np.abs(answers - expected).max(axis=1).mean()),
        agreement=float(np.mean(answers.argmax(axis=1) == expected.argmax(axis=1))),
        accuracy=float(np.mean(answers.argmax(axis=1) == labels)),
        latency_ms=1000 * float(np.median(seconds)),
    )


def _check(variant: Variant, limits: Limits, clips: int) -> None:
    least = min(limits.agreement, (clips - 1) / clips)  # of a few clips, one is a large share
    if variant.difference > limits.difference or variant.agreement < least:
        raise ExportError(
            f"{variant.file}: disagrees with Keras: mean difference {variant.difference:.4f}"
            f" (limit {limits.difference}), same emotion on {variant.agreement:.1%}"
            f" (limit {limits.agreement:.1%})"
        )


def _table(report: dict) -> str:
    lines = [
        f"# Export of {report['run']}",
        "",
        f"{report['parameters']:,} parameters. Agreement and accuracy on"
        f" {report['verification_clips']} windows of the {report['verification_part']} part, run"
        f" through `edge.classifier`; Keras itself: {report['keras_accuracy']:.1%}.",
        "Accuracy here is for comparing variants; `python -m ser_tf.evaluate` measures the model.",
        "",
        "| file | bytes | accuracy | same emotion as Keras | mean difference | latency |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for variant in report["variants"]:
        lines.append(
            f"| {variant['file']} | {variant['bytes']:,} | {variant['accuracy']:.1%} |"
            f" {variant['agreement']:.1%} | {variant['difference']:.4f} |"
            f" {variant['latency_ms']:.1f} ms |"
        )
    for why in report["left_out"].values():
        lines += ["", f"Left out: {why}"]
    return "\n".join(lines) + "\n"


def _replace_folder(aside: Path, folder: Path) -> None:
    aside.chmod(0o755)
    if folder.exists():
        old = folder.with_name(f".{folder.name}-old-{os.getpid()}")
        folder.rename(old)
        aside.rename(folder)
        shutil.rmtree(old)
    else:
        aside.rename(folder)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export.convert",
        description="Export a trained run as TFLite files that are checked against Keras.",
        epilog="example:\n  python -m export.convert runs/mine",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished training run")
    args = parser.parse_args(argv)
    try:
        folder = convert(Run.existing(args.run))
    except (ExportError, RunError, ConfigError, CorpusError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print((folder / "report.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
