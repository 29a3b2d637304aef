"""What fine-tuning on a few clips gains: accuracy before and after, on other clips of the voices.

The voices are the actors that a run of ``--split actors:K`` was to be tested on, or those of
another corpus, so the model that is started from has heard none of them. Everything runs as a user
would run it: ``ser_tf.train --from``, ``export.convert``, and the int8 file through
``edge.classifier``.

Examples:
    python benchmarks/finetune.py --model runs/actors-0 --data /path/to/ravdess
    python benchmarks/finetune.py --model runs/without-nemo --data nemo --protocol elsewhere
"""

import argparse
import contextlib
import csv
import io
import math
import statistics
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ser_tf import answers, held_out, metrics
from ser_tf.corpora import CorpusError, Recording, load_corpus
from ser_tf.splits import read_split

INT8 = "export/ser_int8.tflite"
PROTOCOLS = {
    "together": "all test actors at once",
    "alone": "one test actor at a time",
    "grouped": "all test actors at once, three labels that are new to the model",
    "elsewhere": "one voice at a time of a corpus of which the model has heard nothing",
}
GROUPS = {
    **dict.fromkeys(("happy", "surprised"), "lively"),
    **dict.fromkeys(("angry", "fearful", "disgust"), "upset"),
    **dict.fromkeys(("neutral", "calm", "sad"), "quiet"),
}


@dataclass(frozen=True)
class Trial:
    """One fine-tuning: clips to learn from, and others of the same voices to be asked about."""

    clips: int  # a label
    seed: int
    learnt: list[Recording]
    asked: list[Recording]


@dataclass(frozen=True)
class Result:
    """Before and after: share of right answers to the clips that are asked about, their
    calibration error, and the share of right answers to those of other voices.
    """

    clips: int
    before: float
    after: float
    error_before: float
    error_after: float
    others_before: float
    others_after: float


def deal(recordings: Sequence[Recording], sizes: Sequence[int], seed: int) -> list[Trial]:
    """Trials of each size that are asked about the same clips: those that the largest leaves.

    Args:
        recordings: Of the voices.
        sizes: Clips of each label to learn from.
        seed: Shuffles the clips of each label; a smaller trial has the first ones of a larger.
    """
    by_label: dict[str, list[Recording]] = defaultdict(list)
    for recording in sorted(recordings, key=lambda recording: recording.name):
        by_label[recording.emotion].append(recording)
    generator = np.random.default_rng(seed)
    shuffled = [
        [clips[k] for k in generator.permutation(len(clips))]
        for _, clips in sorted(by_label.items())
    ]
    asked = [clip for clips in shuffled for clip in clips[max(sizes) :]]
    return [
        Trial(size, seed, [clip for clips in shuffled for clip in clips[:size]], asked)
        for size in sizes
    ]


def fine_tune(run: Path, trial: Trial, folder: Path, cache: str) -> Path:
    """Fine-tune a run's model on a trial's clips and export it.

    Returns:
        The int8 file, below ``folder``.

    Raises:
        CorpusError: It failed; with the last line of what was said.
    """
    from export import convert
    from ser_tf import train

    table = folder / "clips.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "emotion", "speaker"))
        writer.writerows((clip.path.resolve(), clip.emotion, clip.speaker) for clip in trial.learnt)
    options = ["--from", run / "model.keras", "--data", table, "--out", folder / "run"]
    options += ["--cache", cache, "--seed", trial.seed]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        failed = train.main([*map(str, options)])
        failed = failed or convert.main([str(folder / "run")])
    if failed:
        raise CorpusError(said.getvalue().splitlines()[-1])
    return folder / "run" / INT8


@dataclass(frozen=True)
class Heard:
    """What an exported model answers: probabilities of its labels, by a recording's name."""

    labels: tuple[str, ...]
    rows: Mapping[str, np.ndarray]

    def among(self, recordings: Sequence[Recording]) -> tuple[list[str], np.ndarray, list[str]]:
        """True labels, probabilities among those that occur, and what these are."""
        truth = [recording.emotion for recording in recordings]
        present = [label for label in self.labels if label in truth]
        columns = [self.labels.index(label) for label in present]
        rows = np.stack([self.rows[recording.name] for recording in recordings])[:, columns]
        total = rows.sum(axis=1, keepdims=True)
        return truth, rows / np.where(total > 0, total, 1), present

    def accuracy(self, recordings: Sequence[Recording]) -> float:
        """Share of right answers where only labels that occur can be answered."""
        truth, rows, present = self.among(recordings)
        return float(np.mean(np.array(metrics.answers(rows, present)) == truth))

    def calibration_error(self, recordings: Sequence[Recording]) -> float:
        """Expected calibration error of the same answers."""
        error = metrics.calibration_error(*self.among(recordings))
        return math.nan if error is None else error


def hear(model: Path, recordings: Sequence[Recording], *, grouped: bool = False) -> Heard:
    """Ask an exported model; ``grouped`` adds up its emotions."""
    with contextlib.redirect_stderr(io.StringIO()):
        answered = answers.run(model, recordings)
    labels, rows = answered.labels, answered.clean
    if grouped:
        labels = tuple(dict.fromkeys(GROUPS[label] for label in answered.labels))
        member = [[GROUPS[emotion] == group for group in labels] for emotion in answered.labels]
        rows = rows @ np.array(member, float)
    names = (recording.name for recording in answered.recordings)
    return Heard(labels, dict(zip(names, rows, strict=True)))


@dataclass(frozen=True)
class Voices:
    """Whose clips a model is tuned on, and other voices, which show what that costs or gives."""

    tuned: list[Recording]
    others: list[Recording]

    def grouped(self) -> "Voices":
        """The same, with the names of GROUPS for labels."""
        parts = (self.tuned, self.others)
        return Voices(*([replace(r, emotion=GROUPS[r.emotion]) for r in part] for part in parts))


def voices_of(run: Path, data: str, protocol: str) -> list[Voices]:
    """The voices of a protocol, for each time that the model is tuned.

    Raises:
        EvaluateError: The model has learnt from them.
    """
    corpus = load_corpus(data)
    if protocol == "elsewhere":
        held_out.refuse_training_recordings(run / INT8, corpus)
        return [
            Voices(voice, [r for r in corpus if r.speaker != voice[0].speaker])
            for voice in by_speaker(corpus)
        ]
    split = read_split(run / "split.json", corpus)
    if protocol == "alone":
        return [Voices(voice, split.validation) for voice in by_speaker(split.test)]
    return [Voices(split.test, split.validation)]


def by_speaker(recordings: Sequence[Recording]) -> list[list[Recording]]:
    """The recordings of each speaker."""
    voices: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        voices[recording.speaker].append(recording)
    return [voice for _, voice in sorted(voices.items())]


def with_enough(each: Sequence[Voices], clips: int) -> list[Voices]:
    """Those with more clips of every label than are learnt from; other voices with their labels.

    Raises:
        ValueError: There are none.
    """
    chosen = []
    for voices in each:
        counts = Counter(recording.emotion for recording in voices.tuned)
        if min(counts.values()) > clips:
            others = [recording for recording in voices.others if recording.emotion in counts]
            chosen.append(Voices(voices.tuned, others))
    if not chosen:
        raise ValueError(f"no voice has more than {clips} clips of each label; try fewer --clips")
    return chosen


def measure(
    run: Path,
    each: Sequence[Voices],
    sizes: Sequence[int],
    draws: int,
    cache: str,
    *,
    grouped: bool,
) -> list[Result]:
    """Tune the run's model on ``sizes`` clips of each label of each of the voices."""
    everyone = {r.name: r for voices in each for r in (*voices.tuned, *voices.others)}
    before = hear(run / INT8, list(everyone.values()), grouped=grouped)
    if grouped:
        each = [voices.grouped() for voices in each]
    trials = [
        (trial, voices.others)
        for seed in range(draws)
        for voices in each
        for trial in deal(voices.tuned, sizes, seed)
    ]
    results = []
    for trial, others in tqdm(trials, "fine-tuning", unit="model"):
        with tempfile.TemporaryDirectory() as folder:
            model = fine_tune(run, trial, Path(folder), cache)
            after = hear(model, [*trial.asked, *others])
        both = (before, after)
        results.append(
            Result(
                trial.clips,
                *(heard.accuracy(trial.asked) for heard in both),
                *(heard.calibration_error(trial.asked) for heard in both),
                *(heard.accuracy(others) if others else math.nan for heard in both),
            )
        )
    return results


def table(results: Sequence[Result]) -> str:
    """Markdown, with mean and standard deviation over the models of a size."""
    lines = [
        "| clips a label | models | before | after | gain | ECE before | after |"
        " other voices before | after |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for clips in sorted({result.clips for result in results}):
        row = [result for result in results if result.clips == clips]
        cells = [
            _spread([r.before for r in row]),
            _spread([r.after for r in row]),
            _spread([r.after - r.before for r in row], sign="+"),
            _spread([r.error_before for r in row]),
            _spread([r.error_after for r in row]),
            _spread([r.others_before for r in row]),
            _spread([r.others_after for r in row]),
        ]
        lines.append(f"| {clips} | {len(row)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(shares: Sequence[float], sign: str = "") -> str:
    deviation = f" ± {100 * statistics.stdev(shares):.1f}" if len(set(shares)) > 1 else ""
    return f"{100 * statistics.mean(shares):{sign}.1f}{deviation}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Accuracy before and after fine-tuning, on voices the model has not heard.",
        epilog="example: python benchmarks/finetune.py --model runs/actors-0 --data ravdess",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="RUN", help="an exported run")
    add("--data", required=True, help="the corpus that it was split from, or that of elsewhere")
    add("--protocol", choices=list(PROTOCOLS), default="together", help="default: together")
    add("--voices", nargs="+", metavar="SPEAKER", help="tune on these alone")
    add("--clips", nargs="+", type=int, default=(1, 5, 20), metavar="N", help="of each label")
    add("--draws", type=int, default=3, metavar="N", help="of the clips to learn from; default: 3")
    add("--cache", default="cache", metavar="DIR", help="decoded recordings (default: cache)")
    options = parser.parse_args()
    try:
        for name in ("model.keras", "split.json", INT8):
            if not (options.model / name).is_file():
                raise CorpusError(f"{options.model}: has no {name}; give an exported run")
        each = voices_of(options.model, options.data, options.protocol)
        if options.voices:
            each = [voices for voices in each if _names(voices.tuned) in options.voices]
            if not each:
                raise ValueError(f"--voices: none of these is tuned on alone in {options.data}")
        each = with_enough(each, max(options.clips))
        grouped = options.protocol == "grouped"
        results = measure(
            options.model, each, options.clips, options.draws, options.cache, grouped=grouped
        )
    except (CorpusError, answers.EvaluateError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    tuned = [recording for voices in each for recording in voices.tuned]
    print(
        f"{options.protocol}: {PROTOCOLS[options.protocol]}. {len(tuned)} recordings by"
        f" {_names(tuned)}; {options.draws} draws. Accuracy and calibration error of the int8"
        " files among the labels that the clips have, in %, ± standard deviation over models.\n"
    )
    print(table(results))
    return 0


def _names(recordings: Sequence[Recording]) -> str:
    return ", ".join(sorted({recording.speaker for recording in recordings}))


if __name__ == "__main__":
    sys.exit(main())
