"""Train a classical system in a run's folder."""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ser_tf.config import Config
from ser_tf.corpora.recording import Recording
from ser_tf.runs import Run
from ser_tf.splits import Split
from ser_tf.systems.classical.classifier import save
from ser_tf.systems.classical.extraction import extract
from ser_tf.systems.classical.features import FEATURE_SETS

if TYPE_CHECKING:
    from ser_tf.systems import System


def defaults(system: "System") -> Mapping[str, Any]:
    """Nothing: of :class:`ser_tf.config.TrainConfig`, seed and validation count here."""
    return {}


def train(
    system: "System",
    config: Config,
    run: Run,
    split: Split,
    *,
    labels: Sequence[str],
    cache: str,
    strict: bool = False,
    watch: Sequence[Recording] = (),
) -> Path:
    """Train in a run's folder, as :class:`ser_tf.systems.Trainer` says.

    It takes one go, so there are no epochs, no history to watch, and no state but the features in
    the cache. What is held out for validation is measured and not learnt from, as for the networks:
    all systems learn from the same recordings.

    ``training.json`` holds the number of tree nodes as ``parameters`` (None where there are no
    trees), and as ``seconds`` what fitting took, without the features.
    """
    if run.finished:
        return run.finished
    from ser_tf.systems.classical.estimators import FEATURES, count_nodes, fit

    features = FEATURE_SETS[FEATURES[system.name]]
    computed = partial(extract, features=features, cache=cache, strict=strict)
    rows, used = computed(split.train, title="features of training side")
    known, answers = _answers(used, labels)
    speakers = [recording.speaker for recording in used]
    by_speaker = speakers if split.name.startswith("actors") else None
    begin = time.perf_counter()
    with _clock(f"fitting {system.name}"):
        pipeline = fit(system.name, rows, answers, seed=config.train.seed, speakers=by_speaker)
    facts: dict[str, Any] = {
        "parameters": count_nodes(pipeline),
        "epochs": None,
        "best_epoch": None,
        "seconds": round(time.perf_counter() - begin, 2),
        "training_recordings": len(used),
    }
    if split.validation:
        rows, held_out = computed(split.validation, title="features of validation")
        said = pipeline.predict_proba(rows).argmax(axis=1)
        right = [known[n] == r.emotion for n, r in zip(said, held_out, strict=True)]
        facts["validation_recordings"] = len(held_out)
        facts["validation_accuracy"] = float(np.mean(right))
    save(pipeline, labels, known, features.name, run.classical)
    run.metrics.write_text(json.dumps(facts, indent=2) + "\n")
    return run.classical


def _answers(
    recordings: Sequence[Recording], labels: Sequence[str]
) -> tuple[list[str], NDArray[np.int64]]:
    """The labels that occur, in their order, and of each recording the place among them."""
    present = {recording.emotion for recording in recordings}
    known = [label for label in labels if label in present]
    if len(known) < 2:
        raise ValueError(
            f"the training recordings are all {known[0]}; there is nothing to tell apart"
        )
    return known, np.array([known.index(recording.emotion) for recording in recordings])


@contextlib.contextmanager
def _clock(title: str) -> Iterator[None]:
    """Count seconds in a terminal while something runs that does not say how far it is."""
    done = threading.Event()
    shape = "{desc}: {elapsed}"
    with tqdm(desc=title, file=sys.stderr, bar_format=shape, disable=None, delay=2.0) as bar:

        def tick() -> None:
            while not done.wait(1.0):
                bar.update()

        ticking = threading.Thread(target=tick, daemon=True)
        ticking.start()
        try:
            yield
        finally:
            done.set()
            ticking.join()
