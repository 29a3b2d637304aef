"""What several models answer together, on held-out recordings: ``ensembles.py RUN RUN …``.

Finished runs that held out the same recordings answer for these, never for those of a test part;
the mean of their logits is what distillation could at best hand to one model. The loss is that at
the temperature which makes it least.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.speeds import scored
from ser_tf import decoding, models
from ser_tf.config import read_config
from ser_tf.corpora import CorpusError, load_corpus
from ser_tf.emotions import EMOTIONS
from ser_tf.runs import Run, RunError
from ser_tf.splits import read_split
from ser_tf.systems import ours


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0].split(": ")[1])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="finished training runs")
    parser.add_argument("--cache", default="cache", metavar="DIR", help="decoded recordings")
    args = parser.parse_args(argv)
    try:
        runs = [Run.existing(folder) for folder in args.runs]
        corpus = load_corpus(read_config(runs[0].config).data)
        splits = [read_split(run.split, corpus) for run in runs]
        for run, split in zip(runs, splits, strict=True):
            if split.validation != splits[0].validation or not split.validation:
                raise RunError(f"{run.folder}: has another validation part than {runs[0].folder}")
        held_out = decoding.prepare(splits[0].validation, EMOTIONS, args.cache)
        logits, truths = zip(
            *(ours.logits_of(models.load(run.model), held_out) for run in runs), strict=True
        )
    except (CorpusError, RunError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    truth = truths[0]
    print(f"{splits[0].name}: {len(truth)} recordings held out from training\n")
    print("| run | accuracy | loss at its best temperature |\n|---|---:|---:|")
    for run, answered in zip(runs, logits, strict=True):
        print(f"| {run.folder} | {scored(answered, truth)} |")
    print(f"| mean of all | {scored(np.mean(logits, axis=0), truth)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
