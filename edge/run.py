"""The command: which emotion does this recording hold? See ``python edge/run.py --help``."""

import argparse
import io
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from edge.classifier import Prediction

MOST_THREADS = 64

EXAMPLES = """\
examples:
  python edge/run.py clip.wav           the emotion, and the probabilities of all eight
  python edge/run.py --json clips/      all recordings below a folder, for a program to read
"""


def main(arguments: list[str] | None = None) -> int:
    """Answer the recordings named in ``arguments`` (by default the command line's).

    Returns:
        Exit status: 0, or 1 if the model or any of the recordings could not be used.
    """
    parser = _parser()
    options = parser.parse_args(arguments)

    # Only now, so that --help and mistakes are answered without loading NumPy.
    if __package__:
        from . import audio, classifier
    else:  # copied alone, and run as a script
        import audio  # type: ignore[no-redef]
        import classifier  # type: ignore[no-redef]

    try:
        model = classifier.EmotionClassifier(options.model, options.threads)
    except classifier.ModelError as error:
        print(error, file=sys.stderr)
        return 1
    if options.top is not None and options.top > len(model.labels):
        parser.error(f"argument --top: the model knows {len(model.labels)} emotions")

    complaints = 0
    for name, problem in _recordings(options.recordings, audio.AUDIO_SUFFIXES):
        try:
            if problem:
                raise audio.AudioError(problem)
            source = _standard_input() if name == "-" else name
            if options.timeline:
                for prediction in model.timeline(source):
                    print(_line(name, prediction, options), flush=True)
            else:
                with _progress(name) as heard:
                    prediction = model.predict_file(source, heard)
                layout = _line if options.json else _block
                print(layout(name, prediction, options), flush=True)
        except audio.AudioError as error:
            print(error, file=sys.stderr)
            complaints += 1
    return 1 if complaints else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Tell the emotion in recordings of speech.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "recordings",
        nargs="+",
        metavar="FILE",
        help="audio file, folder (searched with all below it), or - for a file on standard input",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument(
        "--timeline", action="store_true", help="print a line per window, while the file is read"
    )
    parser.add_argument(
        "--top",
        type=_whole_number(1, None),
        metavar="N",
        help="print the N likeliest (default: all; in a timeline 1)",
    )
    parser.add_argument(
        "--min-confidence",
        type=_probability,
        default=0.0,
        metavar="P",
        help="call answers below P uncertain, from 0 to 1 (default: 0)",
    )
    parser.add_argument(
        "--model", metavar="FILE", help="model (default: ser.tflite beside run.py, or in ../export)"
    )
    parser.add_argument(
        "--threads",
        type=_whole_number(1, MOST_THREADS),
        default=1,
        metavar="N",
        help="threads for the model (default: 1)",
    )
    return parser


def _whole_number(least: int, most: int | None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            limits = f"from {least} to {most}" if most else f"of at least {least}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {limits}")
        return int(text)

    return parse


def _probability(text: str) -> float:
    try:
        probability = float(text)
    except ValueError:
        probability = math.nan
    if not 0 <= probability <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1, such as 0.5")
    return probability


def _recordings(names: list[str], suffixes: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    """Every recording named, or below a folder named, and what is known to be wrong with it."""
    for name in names:
        if not Path(name).is_dir():
            yield name, None
            continue
        problems: list[OSError] = []
        count = 0
        for folder, subfolders, files in os.walk(name, onerror=problems.append):
            subfolders.sort()
            for file in sorted(files):
                if file.lower().endswith(suffixes) and not file.startswith("."):
                    count += 1
                    yield str(Path(folder, file)), None
        for problem in problems:
            yield name, f"{problem.filename}: cannot be searched ({problem.strerror})"
        if not count and not problems:
            yield name, f"{name}: holds no recordings; searched for {' '.join(suffixes)}"


def _standard_input() -> BinaryIO:
    return sys.stdin.buffer if sys.stdin else io.BytesIO()  # empty where the process has none


@contextmanager
def _progress(name: str) -> Iterator[Callable[[float], None] | None]:
    """A line on a terminal that tells how far into a long recording the model is."""
    if not sys.stderr.isatty():
        yield None
        return
    shown = ""

    def heard(seconds: float) -> None:
        nonlocal shown
        shown = f"{name}: {_clock(seconds)} heard"
        print(f"\r{shown}", end="", file=sys.stderr, flush=True)

    try:
        yield heard
    finally:
        if shown:
            print("\r" + " " * len(shown), end="\r", file=sys.stderr, flush=True)


def _block(name: str, prediction: "Prediction", options: argparse.Namespace) -> str:
    """The answer first, then one emotion a line."""
    if prediction.silent:
        return f"{name}: silence"
    answer = f"{prediction.emotion} {prediction.confidence:.1%}"
    lines = [f"{name}: {_doubted(answer, prediction, options)}"]
    width = max(map(len, prediction.probabilities))
    for emotion, probability in _ranked(prediction, options.top):
        lines.append(f"  {emotion:{width}}  {probability:6.1%}")
    return "\n".join(lines)


def _line(name: str, prediction: "Prediction", options: argparse.Namespace) -> str:
    """The answer for a program, or for one window, on one line."""
    if options.json:
        uncertain = prediction.uncertain(options.min_confidence)
        answer = {
            "file": name,
            "emotion": None if uncertain else prediction.emotion,
            "confidence": round(prediction.confidence, 6),
            "silence": prediction.silent,
            "uncertain": uncertain,
            "start": round(prediction.start, 3),
            "end": round(prediction.end, 3),
            "probabilities": {
                emotion: round(probability, 6)
                for emotion, probability in _ranked(prediction, options.top)
            },
        }
        return json.dumps(answer)
    ranked = _ranked(prediction, options.top or 1)
    answers = ", ".join(f"{emotion} {probability:.1%}" for emotion, probability in ranked)
    span = f"{_clock(prediction.start)}-{_clock(prediction.end)}"
    return f"{name}  {span}  {_doubted(answers, prediction, options) or 'silence'}"


def _doubted(answer: str, prediction: "Prediction", options: argparse.Namespace) -> str:
    """The answer, or what it leans to where it is uncertain."""
    if prediction.uncertain(options.min_confidence):
        return f"uncertain (most likely {answer})"
    return answer


def _ranked(prediction: "Prediction", top: int | None) -> list[tuple[str, float]]:
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    return ranked[:top]


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds: ``1:02:03.4``."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes // 60)}:{int(minutes % 60):02d}:{rest:04.1f}"


if __name__ == "__main__":
    # End as quietly as any other filter when the reader goes away or the user has seen enough.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be in no known encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
