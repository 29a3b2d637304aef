"""A process that has loaded a model and answers, with its time, every path on standard input.

``benchmarks/edge.py`` starts one for each side that it measures.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def _loaded(options: argparse.Namespace) -> Callable[[str], object]:
    if options.side == "edge":
        from edge.classifier import EmotionClassifier

        return EmotionClassifier(options.model, options.threads).predict_file
    from benchmarks import librosa_keras

    return librosa_keras.load(Path(options.model))


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the seconds that each answer takes.")
    parser.add_argument("side", choices=("edge", "librosa-keras"))
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    answer = _loaded(parser.parse_args())
    for line in sys.stdin:
        start = time.perf_counter()
        answer(line.rstrip("\n"))
        print(time.perf_counter() - start, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
