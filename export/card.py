"""``python -m export.card``: write what was measured into the model card and the README.

Every figure comes from a file below ``export/metrics/`` that a command of this project wrote:
``ser_tf.evaluate`` (``*/metrics.json``), ``export.convert`` (``export.json``) and
``benchmarks/cold.py --json`` (``cold.json``). Tables stand between ``<!-- figures: NAME -->`` and
``<!-- end -->``; the words around them are written by hand.
"""

import json
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
METRICS = ROOT / "export" / "metrics"
PAGES = (ROOT / "export" / "MODEL_CARD.md", ROOT / "README.md")
SECTION = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

FOLDS = 5
ELSEWHERE = {
    "nemo": "nEMO: Polish, acted, six emotions",
    "emospeech": "Indian EmoSpeech: phones in streets and trains, four emotions",
}


def summary() -> str:
    """The README's table: one row a protocol."""
    common, folds = _metrics("common"), _folds()
    rows = [
        [
            "`common`: random 80/20, the same voices on both sides",
            f"{common['count']:,}",
            _with_interval(common, "accuracy"),
            _percent(common["weighted_f1"]),
        ],
        [
            "fine-tuned wav2vec2-base, 378 MB, best of five earlier projects there (as reported)",
            f"{common['count']:,}",
            "89 %",
            "88.6 %",
        ],
        [
            f"`actors`: voices never heard, {_fold_names()} (models of the same recipe)",
            f"{sum(fold['count'] for fold in folds.values()):,}",
            _percent(_mean(folds, "accuracy")),
            _percent(_mean(folds, "weighted_f1")),
        ],
    ]
    for name, words in ELSEWHERE.items():
        report = _metrics(f"elsewhere-{name}")
        accuracy, f1 = _with_interval(report, "accuracy"), _percent(report["weighted_f1"])
        rows.append([f"elsewhere, {words}", f"{report['count']:,}", accuracy, f1])
    return _table(["protocol", "recordings", "accuracy", "weighted F1"], rows)


def common() -> str:
    """Seeds and precisions side by side, then classes and slices of the released file."""
    files = {
        "released, int8": "common",
        "its float32": "common-float32",
        "`--seed 1`, int8": "common-seed1",
        "its float32 ": "common-seed1-float32",
    }
    reports = {title: _metrics(folder) for title, folder in files.items()}
    released = reports["released, int8"]
    keys = {
        "accuracy": "accuracy",
        "weighted F1": "weighted_f1",
        "macro F1": "macro_f1",
        "UAR": "uar",
        "ECE, 15 bins": "ece",
    }
    rows = [[name, *(_percent(r[key]) for r in reports.values())] for name, key in keys.items()]
    rows[0][1] = _with_interval(released, "accuracy")
    rows.append(["bytes", *(f"{r['model']['bytes']:,}" for r in reports.values())])
    classes = [
        [emotion, str(row["count"]), *(_percent(row[key]) for key in ("precision", "recall", "f1"))]
        for emotion, row in released["classes"].items()
    ]
    slices = [
        [f"{trait}: {value}", str(row["count"]), _percent(row["accuracy"]), _percent(row["uar"])]
        for trait, values in released["slices"].items()
        for value, row in values.items()
    ]
    return "\n".join(
        [
            _table(["", *reports], rows),
            _table(["emotion", "recordings", "precision", "recall", "F1"], classes),
            _table(["slice", "recordings", "accuracy", "UAR"], slices),
        ]
    )


def actors() -> str:
    """A row a fold, and their mean with the standard deviation of the accuracy."""
    folds = _folds()
    keys = ("weighted_f1", "uar", "ece")
    channels = {
        channel: {k: fold["slices"]["channel"][channel] for k, fold in folds.items()}
        for channel in ("speech", "song")
    }
    rows = [
        [
            str(number),
            f"{fold['count']:,}",
            _with_interval(fold, "accuracy"),
            *(_percent(channel[number]["accuracy"]) for channel in channels.values()),
            *(_percent(fold[key]) for key in keys),
        ]
        for number, fold in folds.items()
    ]
    deviation = 100 * statistics.stdev(fold["accuracy"] for fold in folds.values())
    rows.append(
        [
            f"mean of {_fold_names()}",
            f"{sum(fold['count'] for fold in folds.values()):,}",
            f"{_percent(_mean(folds, 'accuracy'))} (sd {deviation:.1f})",
            *(_percent(_mean(channel, "accuracy")) for channel in channels.values()),
            *(_percent(_mean(folds, key)) for key in keys),
        ]
    )
    header = ["fold", "recordings", "accuracy", "speech", "song", "weighted F1", "UAR", "ECE"]
    return _table(header, rows)


def elsewhere() -> str:
    """A row a corpus that the released file has learnt nothing from."""
    rows = []
    for name, words in ELSEWHERE.items():
        report = _metrics(f"elsewhere-{name}")
        figures = (_percent(report[key]) for key in ("weighted_f1", "uar", "ece"))
        rows.append([words, f"{report['count']:,}", _with_interval(report, "accuracy"), *figures])
    return _table(["corpus", "recordings", "accuracy", "weighted F1", "UAR", "ECE"], rows)


def speed() -> str:
    """Warm and cold times, memory and size."""
    cold = json.loads((METRICS / "cold.json").read_text(encoding="utf-8"))
    export = json.loads((METRICS / "export.json").read_text(encoding="utf-8"))
    warm = {variant["file"]: variant["latency_ms"] for variant in export["variants"]}
    seconds, memory = cold["wall time, s"], cold["peak RSS, MB"]
    rows = [
        ["one window, warm, int8", f"{warm['ser_int8.tflite']:.1f} ms"],
        ["one window, warm, float32", f"{warm['ser_float32.tflite']:.1f} ms"],
        [
            f"cold process, one clip: median, 95 %, most of {cold['processes']}",
            f"{seconds['median']:.2f}, {seconds['p95']:.2f}, {seconds['max']:.2f} s",
        ],
        ["its peak memory, most", f"{memory['max']:.0f} MB"],
    ]
    return _table(["", "two cores of a Xeon, one thread, tflite-runtime 2.14"], rows)


SECTIONS: dict[str, Callable[[], str]] = {
    function.__name__: function for function in (summary, common, actors, elsewhere, speed)
}


def filled(page: str) -> str:
    """A page with all of its figures as the files below ``export/metrics/`` give them."""
    return SECTION.sub(lambda match: match[1] + SECTIONS[match[2]]() + match[3], page)


def main() -> int:
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def _metrics(folder: str) -> dict[str, Any]:
    return json.loads((METRICS / folder / "metrics.json").read_text(encoding="utf-8"))


def _folds() -> dict[int, dict[str, Any]]:
    measured = [k for k in range(FOLDS) if (METRICS / f"actors-{k}").is_dir()]
    return {k: _metrics(f"actors-{k}") for k in measured}


def _fold_names() -> str:
    folds = list(_folds())
    if len(folds) == FOLDS:
        return "all five folds"
    return f"folds {', '.join(map(str, folds))} of five"


def _mean(reports: dict[int, dict[str, Any]], key: str) -> float:
    return statistics.mean(report[key] for report in reports.values())


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _with_interval(report: dict[str, Any], key: str) -> str:
    low, high = report["intervals"][key]
    return f"{_percent(report[key])} ({100 * low:.1f}–{100 * high:.1f})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruler = ["---", *["---:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ruler, *rows))


if __name__ == "__main__":
    sys.exit(main())
