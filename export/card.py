"""``python -m export.card``: write what was measured into the model card and the README.

Every figure comes from a file below ``export/metrics/`` that a command of this project wrote:
``export.protocols score`` and ``ser_tf.evaluate`` (``*/metrics.json``), ``export.convert``
(``export.json``) and ``benchmarks/cold.py --json`` (``cold.json``). Tables stand between
``<!-- figures: NAME -->`` and ``<!-- end -->``; the words around them are written by hand.
"""

import functools
import json
import operator
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
METRICS = ROOT / "export" / "metrics"
PAGES = (ROOT / "export" / "MODEL_CARD.md", ROOT / "README.md")
SECTION = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

PROTOCOLS = {
    "common": "`common`: random 80/20, the same voices on both sides",
    "common-extra": "the same, nEMO and EmoSpeech learnt from too",
    "actors": "`actors`: voices never heard, {folds}",
    "actors-speech": "`actors-speech`: the same, speech alone",
}
FOLDS = 5
KNOWN = ("common", "actors")  # those of which the longer tables speak
FIGURES = {
    "weighted F1": "weighted_f1",
    "macro F1": "macro_f1",
    "UAR": "uar",
    "ECE": "ece",
}
SEEDS = {"seed 0": "", "seed 1": "seed1/"}  # where the figures of each are
THRESHOLDS = (0.0, 0.3, 0.5, 0.7, 0.9)
ELSEWHERE = {
    "nemo": "nEMO: Polish, acted, six emotions",
    "emospeech": "Indian EmoSpeech: phones in streets and trains, four emotions",
}


def summary() -> str:
    """The README's table: one row a protocol."""
    rows = [
        [words, f"{report['count']:,}", _accuracy(report), _percent(report["weighted_f1"])]
        for words, report in _protocols().items()
    ]
    reported = "fine-tuned wav2vec2-base, 378 MB, best of five earlier projects on `common`"
    rows.insert(1, [f"{reported} (as reported)", rows[0][1], "89 %", "88.6 %"])
    for corpus, words in ELSEWHERE.items():
        report = _metrics(f"elsewhere-{corpus}")
        cells = [f"{report['count']:,}", _accuracy(report), _percent(report["weighted_f1"])]
        rows.append([f"elsewhere, {words}", *cells])
    return _table(["protocol", "recordings", "accuracy", "weighted F1"], rows)


def protocols() -> str:
    """A row a protocol."""
    rows = [
        [words, f"{report['count']:,}", _accuracy(report), *_figures(report)]
        for words, report in _protocols().items()
    ]
    return _table(["protocol", "recordings", "accuracy", *FIGURES], rows)


def seeds() -> str:
    """What was asked of the models, and what both seeds reached."""
    rows = []
    for words, (bar, figure) in BARS.items():
        reached = [figure(seed) for seed in SEEDS.values()]
        shown = [f"{100 * share:.2f}" for share in (*reached, sum(reached) / len(reached))]
        rows.append([words, bar, *shown])
    return _table(["%, or points of accuracy", "asked (aim)", *SEEDS, "mean"], rows)


def _worst_class(seed: str) -> float:
    classes = _metrics(f"{seed}common")["classes"]
    return min(figures["recall"] for figures in classes.values())


def _int8_gaps(seed: str) -> list[tuple[int, float]]:
    """For each file, how many it was tested on, and its accuracy less that of its float32 twin."""
    names = ("common", *_metrics(f"{seed}actors")["folds"]["runs"])
    pairs = [(_metrics(f"{seed}{name}"), _metrics(f"{seed}{name}-float32")) for name in names]
    return [(int8["count"], int8["accuracy"] - twin["accuracy"]) for int8, twin in pairs]


def _int8_gap(seed: str) -> float:
    gaps = _int8_gaps(seed)
    return abs(sum(count * gap for count, gap in gaps)) / sum(count for count, _ in gaps)


def _worst_int8_gap(seed: str) -> float:
    return max(abs(gap) for _, gap in _int8_gaps(seed))


def _figure(protocol: str, *keys: str) -> Callable[[str], float]:
    def of_seed(seed: str) -> float:
        found: Any = functools.reduce(operator.getitem, keys, _metrics(f"{seed}{protocol}"))
        return float(found)

    return of_seed


BARS = {
    "`common`: accuracy": ("at least 91.5 (95)", _figure("common", "accuracy")),
    "`common`: weighted F1": ("at least 91.5 (95)", _figure("common", "weighted_f1")),
    "`common`: accuracy of the worst class": ("above 75 (85)", _worst_class),
    "`actors`: accuracy": ("at least 71 (80)", _figure("actors", "accuracy")),
    "`actors-speech`: accuracy": ("at least 70 (78)", _figure("actors-speech", "accuracy")),
    "`actors`: mean loss over `robust`": (
        "at most 8 (4)",
        _figure("actors", "robust", "mean_loss"),
    ),
    "`actors`: worse loss of ±10 dB": ("at most 2 (1)", _figure("actors", "robust", "gain_loss")),
    "`common`: ECE": ("at most 5 (3)", _figure("common", "ece")),
    "`actors`: ECE": ("at most 5 (3)", _figure("actors", "ece")),
    "int8 less float32, all six files": ("within 0.5 (0.2)", _int8_gap),
    "int8 less float32, worst of the six": ("", _worst_int8_gap),
}


def folds() -> str:
    """A row a fold, and their mean with the standard deviation."""
    pooled = _metrics("actors")["folds"]
    rows = []
    for name in pooled["runs"]:
        report, twin = _metrics(name), _metrics(f"{name}-float32")
        shown = (twin["accuracy"], report["uar"], report["ece"], report["ece_unscaled"])
        rows.append([name, *_fold(report), *map(_percent, shown)])
    if len(rows) > 1:
        mean, deviation = pooled["mean"], pooled["sd"]["accuracy"]
        accuracy = f"{_percent(mean['accuracy'])} (sd {100 * deviation:.1f})"
        means = (_percent(mean[key]) for key in ("uar", "ece", "ece_unscaled"))
        rows.append(["mean", "", accuracy, "", "", "", *means])
    header = ["fold", "recordings", "accuracy", "speech", "song", "float32", "UAR", "ECE", "before"]
    return _table(header, rows)


def _fold(report: dict[str, Any]) -> list[str]:
    channels = (report["slices"]["channel"][name]["accuracy"] for name in ("speech", "song"))
    return [f"{report['count']:,}", _accuracy(report), *map(_percent, channels)]


def further() -> str:
    """The unheard actors, with the further corpora and without."""
    rows = []
    for words, folder in (
        ("RAVDESS, nEMO, EmoSpeech", ""),
        ("RAVDESS alone", "ravdess-alone/"),
    ):
        for protocol in ("actors", "actors-speech"):
            report = _metrics(f"{folder}{protocol}")
            losses = [_points(report["robust"][key]) for key in ("mean_loss", "gain_loss")]
            cells = [_accuracy(report), _percent(report["uar"]), *losses]
            rows.append([f"`{protocol}`", words, *cells])
    header = ["protocol", "learnt from", "accuracy", "UAR", "loses over `robust`", "under ±10 dB"]
    return _table(header, rows)


def classes() -> str:
    """Every emotion's recordings, precision, recall and F1."""
    reports = {name: _metrics(name)["classes"] for name in KNOWN}
    keys = ("precision", "recall", "f1")
    rows = [
        [
            emotion,
            *(
                cell
                for report in reports.values()
                for cell in (
                    f"{report[emotion]['count']:,}",
                    *(_percent(report[emotion][key]) for key in keys),
                )
            ),
        ]
        for emotion in reports["common"]
    ]
    header = [f"`{name}`: {cell}" for name in KNOWN for cell in ("n", "precision", "recall", "F1")]
    return _table(["emotion", *header], rows)


def slices() -> str:
    """Accuracy and UAR by channel, gender and intensity."""
    reports = {name: _metrics(name)["slices"] for name in KNOWN}
    rows = [
        [
            f"{trait}: {value}",
            *(
                cell
                for report in reports.values()
                for cell in (
                    f"{report[trait][value]['count']:,}",
                    _percent(report[trait][value]["accuracy"]),
                    _percent(report[trait][value]["uar"]),
                )
            ),
        ]
        for trait, values in reports["common"].items()
        for value in values
    ]
    header = [f"`{name}`: {cell}" for name in KNOWN for cell in ("n", "accuracy", "UAR")]
    return _table(["slice", *header], rows)


def robust() -> str:
    """Accuracy under every condition, and what it loses."""
    reports = {name: _metrics(name) for name in KNOWN}
    conditions = [
        name for name, row in reports["common"]["robust"].items() if isinstance(row, dict)
    ]
    clean = [cell for r in reports.values() for cell in (_percent(r["accuracy"]), "")]
    rows = [["clean", *clean]]
    for condition in conditions:
        cells = [report["robust"][condition] for report in reports.values()]
        shown = (x for cell in cells for x in (_percent(cell["accuracy"]), _points(cell["loss"])))
        rows.append([condition, *shown])
    for key, words in (("mean_loss", "mean of all"), ("gain_loss", "worse of ±10 dB")):
        losses = (_points(report["robust"][key]) for report in reports.values())
        rows.append([words, *(cell for loss in losses for cell in ("", loss))])
    header = [f"`{name}`: {cell}" for name in KNOWN for cell in ("accuracy", "loses")]
    return _table(["condition", *header], rows)


def coverage() -> str:
    """How many answers a least confidence leaves, and how many of these are right."""
    reports = {name: _metrics(name)["coverage"] for name in KNOWN}
    rows = []
    for threshold in THRESHOLDS:
        at = [next(row for row in r if row["threshold"] == threshold) for r in reports.values()]
        shown = (_percent(row[key]) for row in at for key in ("coverage", "accuracy"))
        rows.append([f"{threshold:.1f}", *shown])
    header = [f"`{name}`: {cell}" for name in KNOWN for cell in ("answered", "of these right")]
    return _table(["`--min-confidence`", *header], rows)


def elsewhere() -> str:
    """Corpora that a model has learnt nothing from: RAVDESS alone, and with the other one."""
    rows = []
    for corpus, words in ELSEWHERE.items():
        for folder, learnt in (
            (f"ravdess-alone/elsewhere-{corpus}", "RAVDESS (`common`)"),
            (f"elsewhere-{corpus}", "RAVDESS and the other corpus"),
        ):
            report = _metrics(folder)
            cells = [f"{report['count']:,}", _accuracy(report), *_figures(report)]
            rows.append([words, learnt, *cells, _percent(report["among_present"]["uar"])])
    header = ["corpus", "learnt from", "recordings", "accuracy", *FIGURES, "UAR among its emotions"]
    return _table(header, rows)


def speed() -> str:
    """Warm and cold times, memory and size of the released file."""
    cold = json.loads((METRICS / "cold.json").read_text(encoding="utf-8"))
    export = json.loads((METRICS / "export.json").read_text(encoding="utf-8"))
    variants = {variant["file"]: variant for variant in export["variants"]}
    int8, float32 = variants["ser_int8.tflite"], variants["ser_float32.tflite"]
    seconds, memory = cold["wall time, s"], cold["peak RSS, MB"]
    rows = [
        ["size, int8 and float32", f"{int8['bytes']:,} and {float32['bytes']:,} bytes"],
        ["one window, warm, int8, LiteRT", f"{int8['latency_ms']:.1f} ms"],
        ["one window, warm, float32, LiteRT", f"{float32['latency_ms']:.1f} ms"],
        [
            f"cold process, tflite-runtime, one clip: median, 95 %, most of {cold['processes']}",
            f"{seconds['median']:.2f}, {seconds['p95']:.2f}, {seconds['max']:.2f} s",
        ],
        ["its peak memory, most", f"{memory['max']:.0f} MB"],
    ]
    return _table(["", "two cores of an EPYC, one thread"], rows)


SECTIONS: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        summary,
        protocols,
        seeds,
        folds,
        further,
        classes,
        slices,
        robust,
        coverage,
        elsewhere,
        speed,
    )
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


def _protocols() -> dict[str, dict[str, Any]]:
    measured = sorted(_metrics("actors")["folds"]["runs"])
    numbers = ", ".join(name.rpartition("-")[2] for name in measured)
    if len(measured) == FOLDS:
        folds = "all five folds"
    else:
        folds = f"fold{'s' * (len(measured) > 1)} {numbers} of five"
    return {words.format(folds=folds): _metrics(name) for name, words in PROTOCOLS.items()}


def _figures(report: dict[str, Any]) -> list[str]:
    return [_percent(report[key]) for key in FIGURES.values()]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _points(loss: float) -> str:
    return f"{100 * loss:.1f}"


def _accuracy(report: dict[str, Any]) -> str:
    low, high = report["intervals"]["accuracy"]
    return f"{_percent(report['accuracy'])} ({100 * low:.1f}–{100 * high:.1f})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruler = ["---", *["---:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ruler, *rows))


if __name__ == "__main__":
    sys.exit(main())
