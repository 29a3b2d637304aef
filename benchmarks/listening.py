"""What live listening names in voices never heard: ``listening.py --data RAVDESS``.

The five models of the protocol ``actors`` listen to speech of actors whom they have not learnt
from, over the noise of a quiet room: what ``edge/live.py`` makes of the test parts second by
second. With ``--chosen`` runs that held a validation part out are asked about that: how good an
answer is so many seconds after a voice set in, with the model's window ending now and with it
centred on the voice.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edge import audio, live, voice  # noqa: E402
from edge.classifier import EmotionClassifier, ModelError, cut  # noqa: E402
from ser_tf.corpora import CorpusError, load_corpus  # noqa: E402
from ser_tf.corpora.recording import Recording  # noqa: E402
from ser_tf.splits import read_split  # noqa: E402

RATE = audio.SAMPLE_RATE
NOISE = 1e-3  # -60 dBFS
DELAYS = (1.0, 1.5, 2.0, 3.0, 4.0)  # seconds after the voice set in
SILENCE = 4 * RATE  # before and after the recording, for the windows


def windows(
    model: EmotionClassifier, sound: np.ndarray, span: tuple[int, int], delay: float
) -> dict[str, np.ndarray]:
    """The two windows that a listener could ask about ``delay`` seconds after a voice set in.

    Args:
        model: Tells the length of a window.
        sound: float32[n].
        span: First sample of the voice in it, and the one after its last.
        delay: In seconds.
    """
    now = span[0] + round(delay * RATE)
    start = (span[0] + min(now, span[1]) - model.window) // 2
    return {
        "ending now": sound[now - model.window : now],
        "centred on the voice": cut(sound[:now], start, model.window),
    }


def over_noise(waveform: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A recording with four seconds before and after it, in a room at -60 dBFS."""
    quiet = np.zeros(SILENCE, np.float32)
    sound = np.concatenate([quiet, waveform, quiet])
    return sound + NOISE * generator.standard_normal(len(sound), np.float32)


def heard(
    listener: live.Listener, sound: np.ndarray, begin: int, seconds: int
) -> list[tuple[float, str]]:
    """The emotions that ``listener`` names, and when: in seconds of ``sound``."""
    ends = [begin + (second + 1) * RATE for second in range(seconds)]
    answers = [(end / RATE, listener.hear(sound[end - RATE : end]).state) for end in ends]
    return [(time, state) for time, state in answers if state not in live.STATES]


def sounds(
    part: Sequence[Recording], count: int, generator: np.random.Generator, progress: tqdm
) -> Iterator[tuple[np.ndarray, tuple[int, int], str]]:
    """Sound, where the voice in it begins and ends, and its emotion; of speech alone."""
    speech = [recording for recording in part if recording.traits["channel"] == "speech"]
    for number in generator.permutation(len(speech))[:count]:
        waveform = audio.load(speech[number].path)
        start, end = audio.voice_span(waveform)
        span = start + SILENCE, end + SILENCE
        yield over_noise(waveform, generator), span, speech[number].emotion
        progress.update()


def compare_windows(runs: Path, corpus: Sequence[Recording], clips: int) -> None:
    """Print how good an answer is so many seconds after a voice set in, by window."""
    right: dict[tuple[str, float], list[bool]] = {}
    generator, folders = np.random.default_rng(0), sorted(runs.glob("actors-*/"))
    with tqdm(total=len(folders) * clips, unit="clip", leave=False) as progress:
        for folder in folders:
            model = EmotionClassifier(folder / "export" / "ser_int8.tflite")
            held_out = read_split(folder / "split.json", corpus).validation
            for sound, span, emotion in sounds(held_out, clips, generator, progress):
                middle = (sum(span) - model.window) // 2
                asked = {("whole recording", 0.0): cut(sound, middle, model.window)}
                for delay in DELAYS:
                    for name, window in windows(model, sound, span, delay).items():
                        asked[name, delay] = window
                for key, window in asked.items():
                    answer = model.labels[int(model.probabilities(window).argmax())]
                    right.setdefault(key, []).append(answer == emotion)
    count = len(right["whole recording", 0.0])
    print(f"RAVDESS, speech, validation parts of actors, {count} recordings: accuracy\n")
    print("| window | " + " | ".join(f"{delay:g} s" for delay in DELAYS) + " | whole voice |")
    print("| --- |" + " ---: |" * (len(DELAYS) + 1))
    for name in ("ending now", "centred on the voice"):
        shares = [f"{np.mean(right[name, delay]):.1%}" for delay in DELAYS]
        print(f"| {name} | {' | '.join(shares)} | {np.mean(right['whole recording', 0.0]):.1%} |")


def listen(corpus: Sequence[Recording], clips: int) -> None:
    """Print what ``edge/live.py`` names in voices that the published models have never heard."""
    whole: list[bool] = []
    named: list[list[bool]] = []
    waits: list[float] = []
    generator = np.random.default_rng(0)
    folders = sorted((ROOT / "export" / "protocols").glob("actors-*"))
    with tqdm(total=len(folders) * clips, unit="clip", leave=False) as progress:
        for folder in folders:
            model = EmotionClassifier(folder / "ser_int8.tflite")
            test = read_split(folder / "split.json", corpus).test
            listener = live.Listener(model, voice.VoiceDetector())
            for sound, span, emotion in sounds(test, clips, generator, progress):
                whole.append(model.predict(sound).emotion == emotion)
                begin = SILENCE - int(generator.integers(RATE))  # where in a second is chance
                seconds = (len(sound) - begin) // RATE - 2
                answers = heard(listener, sound, begin, seconds)
                if answers:
                    waits.append(answers[0][0] - span[0] / RATE)
                    named.append([answer == emotion for _, answer in answers])
    lines = [correct for answers in named for correct in answers]
    print(f"RAVDESS, speech, test parts of actors, {len(whole)} recordings\n")
    print("| live, smoothed, least confidence 0.5 | |\n| --- | ---: |")
    print(f"| voices for which an emotion was named | {len(named)} of {len(whole)} |")
    print(f"| seconds from the voice's onset to that line, median | {np.median(waits):.1f} |")
    print(f"| the first emotion named is right | {np.mean([a[0] for a in named]):.1%} |")
    print(f"| the last emotion named is right | {np.mean([a[-1] for a in named]):.1%} |")
    print(f"| lines that name an emotion and are right | {np.mean(lines):.1%} of {len(lines)} |")
    print(f"| the answer about the whole recording is right | {np.mean(whole):.1%} |")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].split(": ")[0])
    add = parser.add_argument
    add("--data", required=True, help="folder of RAVDESS")
    add("--clips", type=int, default=60, help="of each fold (default: 60)")
    add("--chosen", type=Path, metavar="RUNS", help="compare windows by the validation parts there")
    options = parser.parse_args(arguments)
    try:
        corpus = load_corpus(options.data)
        if options.chosen:
            compare_windows(options.chosen, corpus, options.clips)
        else:
            listen(corpus, options.clips)
    except (CorpusError, ModelError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
