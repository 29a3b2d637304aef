"""Section: a model against another on the same recordings."""

from collections.abc import Mapping
from typing import Any

from ser_tf import paired, plots
from ser_tf.answers import Answers
from ser_tf.model_report.material import Material, percent, points
from ser_tf.report import Report

MOST_LISTED = 60  # recordings on which the two differ; all of them are in the CSV


def against(report: Report, material: Material, this: Answers, other: Answers) -> None:
    """Add the paired comparison, and the recordings that the two models answer differently."""
    comparison = material.figures["against"]
    first, second = comparison["names"]
    what = f"{material.what.partition(':')[0]}: {comparison['count']:,} recordings"
    report.section(f"Against {second}")
    spread = f", by bootstrap over {comparison['units']} {comparison['over']}"
    report.text(
        f"The difference in accuracy is {_difference(comparison)} points"
        + spread * (comparison["interval"] is not None)
        + f". {paired.verdict(comparison['mcnemar'])}, by McNemar's exact test (Psychometrika 12, "
        "1947), which takes all recordings as independent; the interval does not, for it keeps "
        "those of one voice together."
    )
    report.figure(
        plots.dots(
            [
                (f"{name} ({row['count']:,})", row["difference"], row["interval"])
                for name, row in {"all": comparison, **comparison["classes"]}.items()
            ],
            title=what,
            label=f"accuracy of {first} minus that of {second}, points",
            reference=0.0,
            reference_name="as good",
            unit="",
        ),
        "against",
        caption=f"Difference in accuracy with 95 % intervals; to the right {first} is better. "
        f"{what}.",
        alt="A dot for each emotion; the values are in the table.",
    )
    report.table(
        ["emotion", "recordings", f"{first}, %", f"{second}, %", "difference, points"],
        [
            [
                name,
                row["count"],
                percent(row["accuracy"]),
                percent(row["other_accuracy"]),
                _difference(row),
            ]
            for name, row in {"all": comparison, **comparison["classes"]}.items()
        ],
        caption=f"Accuracy, and the difference with its 95 % interval. {what}.",
        name="against",
    )
    rows = paired.differences(this, other)
    which = f"recordings that {first} (answer) and {second} (other answer) answer differently"
    report.table(
        paired.DIFFERENCES,
        rows[:MOST_LISTED],
        caption=f"The {len(rows):,} {which}. {what}."
        if len(rows) <= MOST_LISTED
        else f"The first {MOST_LISTED} of {len(rows):,} {which}. {what}.",
        name="differences" if len(rows) <= MOST_LISTED else None,
    )
    if len(rows) > MOST_LISTED:
        report.data(paired.DIFFERENCES, rows, caption="All of them:", name="differences")


def _difference(row: Mapping[str, Any]) -> str:
    """A difference in points, with its interval in brackets where there is one."""
    interval = row["interval"]
    shown = f" ({points(interval[0])} to {points(interval[1])})" if interval else ""
    return points(row["difference"]) + shown
