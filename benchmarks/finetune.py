"""What fine-tuning on a few clips gains: accuracy before and after, on other clips of the voices.

The voices are the actors that a run of ``--split actors:K`` was to be tested on, so the model that
is started from has heard none of them. Everything runs as a user would run it: ``ser_tf.train
--from``, ``export.convert``, and the int8 file through ``edge.classifier``.

Example:
    python benchmarks/finetune.py --model runs/actors-0 --data /path/to/ravdess
"""

import argparse
import contextlib
import csv
import io
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ser_tf import answers, metrics
from ser_tf.corpora import CorpusError, Recording, load_corpus
from ser_tf.splits import read_split

INT8 = "export/ser_int8.tflite"
SIZES = {"together": (1, 5, 20), "alone": (1, 5), "grouped": (1, 5, 20)}
PROTOCOLS = {
    "together": "all test actors at once",
    "alone": "one test actor at a time",
    "grouped": "all test actors at once, three labels that are new to the model",
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
    """Share of right answers to the clips that are asked about, and to those of other voices."""

    clips: int
    before: float
    after: float
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


def answered(model: Path, recordings: Sequence[Recording], *, grouped: bool) -> dict[str, str]:
    """By a recording's name what an exported model answers; ``grouped`` adds up its emotions."""
    with contextlib.redirect_stderr(io.StringIO()):
        heard = answers.run(model, recordings)
    labels, rows = heard.labels, heard.clean
    if grouped:
        labels = tuple(dict.fromkeys(GROUPS[label] for label in heard.labels))
        member = [[GROUPS[emotion] == group for group in labels] for emotion in heard.labels]
        rows = rows @ np.array(member, float)
    names = (recording.name for recording in heard.recordings)
    return dict(zip(names, metrics.answers(rows, labels), strict=True))


def accuracy(answers_by_name: Mapping[str, str], recordings: Sequence[Recording]) -> float:
    """Share of recordings whose answer is their label."""
    return statistics.mean(answers_by_name[r.name] == r.emotion for r in recordings)


def measure(
    run: Path, data: str, protocol: str, draws: int, cache: str
) -> tuple[list[Result], list[Recording], list[Recording]]:
    """Run a protocol.

    Returns:
        The results, the recordings of the voices that were tuned on, and those of the others.
    """
    split = read_split(run / "split.json", load_corpus(data))
    grouped = protocol == "grouped"
    before = answered(run / INT8, [*split.test, *split.validation], grouped=grouped)
    voices, others = (
        [replace(r, emotion=GROUPS[r.emotion]) for r in part] if grouped else part
        for part in (split.test, split.validation)
    )
    speakers = sorted({recording.speaker for recording in voices})
    each = [[speaker] for speaker in speakers] if protocol == "alone" else [speakers]
    trials = [
        trial
        for seed in range(draws)
        for heard in each
        for trial in deal([r for r in voices if r.speaker in heard], SIZES[protocol], seed)
    ]
    results = []
    for trial in tqdm(trials, "fine-tuning", unit="model"):
        with tempfile.TemporaryDirectory() as folder:
            model = fine_tune(run, trial, Path(folder), cache)
            after = answered(model, [*trial.asked, *others], grouped=False)
        figures = (
            accuracy(said, part) for part in (trial.asked, others) for said in (before, after)
        )
        results.append(Result(trial.clips, *figures))
    return results, voices, others


def table(results: Sequence[Result]) -> str:
    """Markdown, with mean and standard deviation over the models of a size."""
    lines = [
        "| clips a label | models | before | after | gain | other voices before | after |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for clips in sorted({result.clips for result in results}):
        row = [result for result in results if result.clips == clips]
        cells = [
            _spread([r.before for r in row]),
            _spread([r.after for r in row]),
            _spread([r.after - r.before for r in row], sign="+"),
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
    add("--model", type=Path, required=True, metavar="RUN", help="an exported run of actors:K")
    add("--data", required=True, help="the corpus that it was split from")
    add("--protocol", choices=list(PROTOCOLS), default="together", help="default: together")
    add("--draws", type=int, default=3, metavar="N", help="of the clips to learn from; default: 3")
    add("--cache", default="cache", metavar="DIR", help="decoded recordings (default: cache)")
    options = parser.parse_args()
    try:
        for name in ("model.keras", "split.json", INT8):
            if not (options.model / name).is_file():
                raise CorpusError(f"{options.model}: has no {name}; give an exported run")
        results, voices, others = measure(
            options.model, options.data, options.protocol, options.draws, options.cache
        )
    except (CorpusError, answers.EvaluateError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{options.protocol}: {PROTOCOLS[options.protocol]}. {len(voices)} recordings by"
        f" {_names(voices)}; {options.draws} draws. Other voices: {len(others)} recordings by"
        f" {_names(others)}. Accuracy of the int8 files in %, ± standard deviation over models.\n"
    )
    print(table(results))
    return 0


def _names(recordings: Sequence[Recording]) -> str:
    return ", ".join(sorted({recording.speaker for recording in recordings}))


if __name__ == "__main__":
    sys.exit(main())
