"""What is known of each system: read from the folders of its runs, beside what was reported."""

import csv
import json
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser_tf.answers import Answers, EvaluateError
from ser_tf.config import Config, read_config
from ser_tf.corpora.recording import Recording
from ser_tf.folds import joined, pooled
from ser_tf.leaderboard.work import TEST, Job
from ser_tf.systems import System, defaults_of

NOTES = Path(__file__).with_name("notes.toml")
ANY = "*"  # the note of every row that has none of its own
LATENCY = "latency.json"  # in a run's folder
FIGURES = ("count", "accuracy", "weighted_f1", "macro_f1", "uar", "ece", "classes")
NOTABLE = 0.03  # a difference to what was reported that asks for its reason


def row(
    system: System, jobs: Sequence[Job], recordings: Mapping[str, Recording], why: str
) -> dict[str, Any]:
    """All that is known of a system on a split.

    Args:
        system: Which.
        jobs: Its runs: one, or one a fold.
        recordings: The corpus, by name.
        why: Why there are no figures, should there be none.

    Returns:
        ``name``, ``rows``, ``title``, ``reported``, ``remark``, ``chosen``, ``drop``, and as
        ``state`` either ``missing`` (with ``why``) or ``measured``. The latter has ``figures``
        (those of :data:`FIGURES`, the ``interval`` of the accuracy, and ``folds``), ``parameters``,
        ``epochs``, ``seconds`` of training, ``file``, ``bytes``, ``milliseconds`` for a clip (all
        of one run: means over the folds), ``picking``, ``differences`` to what was reported,
        ``extra`` corpora, ``shortened`` (its epochs, and those of its own settings, where they are
        fewer), and a ``notice`` of the training.

    Raises:
        EvaluateError: A run's folder holds figures that cannot be read.
    """
    known: dict[str, Any] = {
        "name": system.name,
        "rows": system.rows,
        "title": system.title,
        "reported": dict(system.reported),
        "remark": system.remark,
        "chosen": system.chosen,
        "drop": list(system.drop),
    }
    done = [job for job in jobs if job.evaluated]
    if len(done) < len(jobs):
        if done:
            why = f"{len(done)} of its {len(jobs)} folds are finished. {why}".strip()
        return known | {"state": "missing", "why": why or "Not run yet."}
    reports = {job.name: _read(job.folder / TEST / "metrics.json") for job in jobs}
    if len(jobs) == 1:
        report = reports[jobs[0].name]
    else:
        parts = [_answers(job.folder / TEST / "predictions.csv", recordings) for job in jobs]
        report = pooled(joined(parts), reports, f"{system.name}, each fold's")
    figures = {key: report[key] for key in FIGURES}
    interval = report["intervals"].get("accuracy")
    figures |= {"interval": interval, "over": report["intervals"]["over"]}
    if "folds" in report:
        figures["folds"] = report["folds"]
    config = read_config(jobs[0].run.config)
    trained = [_trained(job) for job in jobs]
    latencies = [_read(job.folder / LATENCY) for job in jobs if (job.folder / LATENCY).is_file()]
    return known | {
        "state": "measured",
        "figures": figures,
        "drop": list(config.drop),
        "extra": [Path(data).name for data in config.extra],
        "shortened": _shortened(system, config),
        "notice": trained[0].get("notice", ""),
        "parameters": _mean([facts["parameters"] for facts in trained]),
        "epochs": _mean([facts["epochs"] for facts in trained]),
        "seconds": _mean([facts["seconds"] for facts in trained]),
        "file": jobs[0].model.name if jobs[0].model else None,
        "bytes": _mean([job.model.stat().st_size for job in jobs if job.model]),
        "milliseconds": _mean([latency["milliseconds"] for latency in latencies]),
        "picking": _picking(jobs, trained),
        "differences": {
            name: figures[name] - share
            for name, share in system.reported.items()
            if name in ("accuracy", "weighted_f1", "macro_f1")
        },
    }


def notes(split: str) -> dict[str, str]:
    """What is to be said of systems on a split, by their names: likely reasons of differences."""
    written = tomllib.loads(NOTES.read_text(encoding="utf-8"))
    return {str(name): str(note) for name, note in written.get(split, {}).items()}


def _picking(jobs: Sequence[Job], trained: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """What choosing the epoch on the test files would be worth, where every epoch was watched.

    Returns:
        ``best``: the highest accuracy on the test files after any epoch; ``chosen``: that after the
        epoch that was kept, without having seen them; ``worth``: the difference. Means over folds.
    """
    found = []
    for job, facts in zip(jobs, trained, strict=True):
        watched = {}
        for epoch in _history(job):
            if epoch.get("watched_accuracy"):
                watched[int(epoch["epoch"])] = float(epoch["watched_accuracy"])
        chosen = facts.get("best_epoch")
        if chosen not in watched:
            return None
        found.append((max(watched.values()), watched[chosen]))
    best, kept = (statistics.mean(column) for column in zip(*found, strict=True))
    return {"best": best, "chosen": kept, "worth": best - kept}


def _shortened(system: System, config: Config) -> list[int] | None:
    usual = defaults_of(system).get("epochs", 0)
    return [config.train.epochs, usual] if config.train.epochs < usual else None


def _trained(job: Job) -> dict[str, Any]:
    """``training.json``, with the seconds of a run from before they were written in it."""
    facts = {"parameters": None, "epochs": None, "seconds": None} | _read(job.run.metrics)
    if facts["seconds"] is None:
        speeds = [float(epoch.get("recordings_per_second") or 0) for epoch in _history(job)]
        if speeds and all(speeds):
            learnt = len(json.loads(job.run.split.read_text(encoding="utf-8"))["train"])
            facts["seconds"] = sum(learnt / speed for speed in speeds)
    return facts


def _history(job: Job) -> list[dict[str, str]]:
    if not job.run.history.is_file():
        return []
    with job.run.history.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _answers(path: Path, recordings: Mapping[str, Recording]) -> Answers:
    """What :mod:`ser_tf.evaluate` wrote of a run's answers."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
        named = [recordings[line[0]] for line in lines]
        probabilities = np.array([line[3:] for line in lines], np.float64)
    except (OSError, ValueError, IndexError) as error:
        raise EvaluateError(f"{path}: cannot be read ({error})") from None
    except KeyError as error:
        raise EvaluateError(f"{path}: speaks of {error}, which is not in the corpus") from None
    return Answers(tuple(header[3:]), named, probabilities)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EvaluateError(f"{path}: cannot be read ({error})") from None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known and len(known) == len(values) else None
