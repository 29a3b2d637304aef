"""The figures of an evaluation as Markdown tables."""

from collections.abc import Mapping
from typing import Any

from ser_tf import paired

SHOWN_THRESHOLDS = (0.0, 0.3, 0.5, 0.7, 0.9)


def markdown(report: Mapping[str, Any]) -> str:
    """The figures as Markdown tables. Percentages carry one decimal."""
    spread = report["intervals"]
    lines = [
        f"# {report['model']['file']} on {report['corpus']['name']}, split {report['split']}",
        "",
        f"{report['count']} recordings"
        + f", {report['silent']} of them answered as silence (counted as wrong)"
        * bool(report["silent"])
        + f"; {report['left_out']} left out" * bool(report["left_out"])
        + f". Intervals: 95 %, bootstrap over {spread['units']} {spread['over']}.",
        "",
        "| figure | value | 95 % interval |",
        "|---|---:|---:|",
    ]
    shown = {
        "accuracy": "accuracy",
        "weighted_f1": "weighted F1",
        "macro_f1": "macro F1",
        "uar": "UAR",
        "ece": "ECE (15 bins)",
    }
    if "temperature" in report:
        shown["ece_unscaled"] = f"ECE without temperature {report['temperature']:.2f}"
    for key, name in shown.items():
        low_high = spread.get(key)
        interval = "–".join(percent(end) for end in low_high) if low_high else ""
        lines.append(f"| {name} | {percent(report[key])} | {interval} |")
    if "among_present" in report:
        lines += _narrowed(report["among_present"], shown)
    if "folds" in report:
        lines += _folds_table(report["folds"])
    lines += [
        "",
        "| emotion | recordings | precision | recall | F1 | accuracy |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for label, row in report["classes"].items():
        cells = (percent(row[key]) for key in ("precision", "recall", "f1", "accuracy"))
        lines.append(f"| {label} | {row['count']} | {' | '.join(cells)} |")
    if report["slices"]:
        lines += ["", "| slice | recordings | accuracy | UAR |", "|---|---:|---:|---:|"]
    for trait, values in report["slices"].items():
        for value, row in values.items():
            shares = f"{percent(row['accuracy'])} | {percent(row['uar'])}"
            lines.append(f"| {trait}: {value} | {row['count']} | {shares} |")
    lines += ["", "| answered from confidence | recordings | accuracy |", "|---:|---:|---:|"]
    for row in report["coverage"]:
        if row["threshold"] in SHOWN_THRESHOLDS:
            shares = f"{percent(row['coverage'])} | {percent(row['accuracy'])}"
            lines.append(f"| {row['threshold']:g} | {shares} |")
    if "robust" in report:
        lines += _robust_table(report["robust"])
    if "against" in report:
        lines += paired.markdown(report["against"])
    return "\n".join(lines) + "\n"


def _narrowed(figures: Mapping[str, Any], shown: Mapping[str, str]) -> list[str]:
    among = f"answered among the {len(figures['labels'])} emotions that occur"
    return [
        f"| {name}, {among} | {percent(figures[key])} | |"
        for key, name in shown.items()
        if key in figures
    ]


def _folds_table(folds: Mapping[str, Any]) -> list[str]:
    keys = ("accuracy", "weighted_f1", "macro_f1", "uar", "ece")
    lines = [
        "",
        "| fold | recordings | accuracy | weighted F1 | macro F1 | UAR | ECE |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in folds["runs"].items():
        lines.append(
            f"| {name} | {row['count']} | {' | '.join(percent(row.get(key)) for key in keys)} |"
        )
    for name in ("mean", "sd"):
        cells = " | ".join(percent(folds[name].get(key)) for key in keys)
        lines.append(f"| {name} | | {cells} |")
    return lines


def _robust_table(robust: Mapping[str, Any]) -> list[str]:
    """Accuracy under each condition; losses are in points, percentages of all recordings."""
    lines = [
        "",
        "| condition | accuracy | UAR | weighted F1 | accuracy lost, points |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in robust.items():
        if isinstance(row, dict):
            cells = " | ".join(percent(row[key]) for key in ("accuracy", "uar", "weighted_f1"))
            lines.append(f"| {name} | {cells} | {100 * row['loss']:.1f} |")
    return [
        *lines,
        f"| mean of all | | | | {100 * robust['mean_loss']:.1f} |",
        f"| larger of ±10 dB | | | | {100 * robust['gain_loss']:.1f} |",
    ]


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
