"""The command: which emotion does a recording, or the microphone, hold? See ``--help``."""

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
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from edge.classifier import EmotionClassifier, Prediction

MOST_THREADS = 64

# Sound on standard input that begins with none of these is raw.
FILE_STARTS = (
    *(b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b".snd", b"caff", b"ID3"),
    *(b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3"),  # MPEG layer III
    *(b"\x1aE\xdf\xa3", b"#!AMR", b"0&\xb2u"),  # Matroska, AMR, WMA: to be told that they are not
)

EXAMPLES = """\
examples:
  python edge/run.py clip.wav           the emotion, and the probabilities of all eight
  python edge/run.py --json clips/      all recordings below a folder, for a program to read
  python edge/run.py --mic --on-change  what the microphone hears
"""


def main(arguments: list[str] | None = None) -> int:
    """Answer the recordings named in ``arguments`` (by default the command line's).

    Returns:
        Exit status: 0, or 1 if the model or any of the recordings could not be used.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    _check_usage(parser, options)

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

    stream = None
    if options.recordings == ["-"]:
        stream = _StandardInput()
        if not stream.is_file():
            return _listen(options, model, stream)
        if problem := _live_option(options):
            print(
                f"standard input: is a file, and {problem} is for live sound; send raw sound: "
                "arecord -t raw -f S16_LE -r 16000",
                file=sys.stderr,
            )
            return 1
    if options.mic:
        return _listen(options, model, None)
    options.min_confidence = options.min_confidence or 0.0

    complaints = 0
    for name, problem in _recordings(options.recordings, audio.AUDIO_SUFFIXES):
        try:
            if problem:
                raise audio.AudioError(problem)
            source = cast(BinaryIO, stream or _StandardInput()) if name == "-" else name
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
        usage="run.py [options] FILE...   or   run.py [options] --mic",
        description="Tell the emotion in speech: of recordings, or live once a second.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    parser.add_argument(
        "recordings",
        nargs="*",
        metavar="FILE",
        help="audio file, folder, or -: a file or raw sound on stdin",
    )
    parser.add_argument("--mic", action="store_true", help="listen to the microphone")
    parser.add_argument("--device", metavar="NAME", help="which: its number or part of its name")
    parser.add_argument(
        "--on-change", action="store_true", help="live: print a line only when the answer changes"
    )
    parser.add_argument("--mqtt", metavar="HOST", help="live: publish to this MQTT broker too")
    parser.add_argument("--webhook", metavar="URL", help="live: POST each answer as JSON too")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument(
        "--timeline", action="store_true", help="print a line per window while a file is read"
    )
    parser.add_argument(
        "--top",
        type=_whole_number(1, None),
        metavar="N",
        help="print the N likeliest (default: all; on one line 1)",
    )
    parser.add_argument(
        "--min-confidence",
        type=_probability,
        metavar="P",
        help="call answers below P uncertain (default: 0; live 0.5)",
    )
    parser.add_argument(
        "--model", metavar="FILE", help="model (default: ser.tflite here or in ../export)"
    )
    parser.add_argument(
        "--threads",
        type=_whole_number(1, MOST_THREADS),
        default=1,
        metavar="N",
        help="threads for the model (default: 1)",
    )
    return parser


def _check_usage(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with a usage error where the arguments do not go together."""
    if options.mic and options.recordings:
        parser.error("argument --mic: goes without FILE")
    if not options.mic and not options.recordings:
        parser.error("name a FILE, or --mic")
    if options.device is not None and not options.mic:
        parser.error("argument --device: goes with --mic")
    if not options.mic and options.recordings != ["-"] and (option := _live_option(options)):
        parser.error(f"argument {option}: goes with --mic, or with raw sound on standard input")
    if options.timeline and options.mic:
        parser.error("argument --timeline: is for files; live sound is answered every second")


def _live_option(options: argparse.Namespace) -> str | None:
    """The first option given that only live sound has."""
    given = {
        "--on-change": options.on_change,
        "--mqtt": options.mqtt,
        "--webhook": options.webhook,
    }
    return next((option for option, value in given.items() if value), None)


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


class _StandardInput:
    """Standard input, of which the start has been looked at."""

    name = "<stdin>"

    def __init__(self) -> None:
        # Unbuffered, for live sound must not wait until a buffer is full; None under pythonw.
        self._raw = io.FileIO(sys.stdin.fileno(), closefd=False) if sys.stdin else io.BytesIO()
        self._start = b""
        while len(self._start) < 12 and (more := self._raw.read(12 - len(self._start))):
            self._start += more

    def is_file(self) -> bool:
        """Whether it begins as an audio file does, and not as raw sound."""
        start = self._start
        return len(start) < 12 or start.startswith(FILE_STARTS) or start[4:8] == b"ftyp"

    def read(self, size: int, /) -> bytes:
        if start := self._start:
            self._start = b""
            return start
        return self._raw.read(size)


def _listen(
    options: argparse.Namespace, model: "EmotionClassifier", stream: _StandardInput | None
) -> int:
    if __package__:
        from . import live
    else:
        import live  # type: ignore[no-redef]
    return live.run(options, model, stream)


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
