"""The comparison as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from ser_tf.leaderboard.rows import NOTABLE
from ser_tf.tables import percent

COLUMNS = (
    *("system", "of", "accuracy (95 %)", "weighted F1", "macro F1", "UAR"),
    *("reported", "difference", "best epoch on test", "parameters", "file", "one clip"),
    "training",
)
UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def markdown(board: Mapping[str, Any]) -> str:
    """A board of :func:`ser_tf.leaderboard.board` as tables, the most accurate system first."""
    measured = [row for row in board["rows"] if row["state"] == "measured"]
    missing = [row for row in board["rows"] if row["state"] == "missing"]
    corpus = board["corpus"]
    lines = [
        f"# Every system on {corpus['name']}, split {board['split']}",
        "",
        f"{corpus['recordings']:,} recordings of {corpus['speakers']} speakers. {_protocol(board)}"
        " What the columns mean: docs/leaderboard/README.md. Made with:",
        "",
        "```",
        board["command"],
        "```",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---|---|" + "---:|" * (len(COLUMNS) - 2),
    ]
    lines += [f"| {' | '.join(_cells(row))} |" for row in measured]
    for row in missing:
        cells = [f"{row['title']} `{row['name']}`", row["rows"] or "ours", "–", "–", "–", "–"]
        cells += [percent(row["reported"].get("accuracy")), *["–"] * (len(COLUMNS) - 7)]
        lines.append(f"| {' | '.join(cells)} |")
    if remarks := [line for row in board["rows"] if (line := _remarks(row))]:
        lines += ["", "## Remarks", "", *remarks]
    if measured:
        lines += ["", "## F1 of each emotion", "", *_classes(measured)]
    if chosen := [f"- `{row['name']}`: {row['chosen']}" for row in board["rows"] if row["chosen"]]:
        lines += ["", "## Chosen here, where a project does not say", "", *chosen]
    return "\n".join(lines) + "\n"


def size(count: float | None) -> str:
    """Bytes as people say them."""
    if count is None:
        return "–"
    for unit, factor in UNITS:
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f} B"


def duration(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return "< 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _protocol(board: Mapping[str, Any]) -> str:
    if board["split"] == "actors":
        return (
            "Each system was trained five times, without the speakers of one fold, and asked about "
            "these; the figures are of all answers together, ± is the spread from fold to fold."
        )
    return (
        "The same voices stand on both sides of this split, so the figures are optimistic; each "
        "system saw the test recordings once, when it was finished."
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    figures = row["figures"]
    interval = figures["interval"]
    accuracy = percent(figures["accuracy"])
    if interval:
        accuracy += " ({:.1f}–{:.1f})".format(*(100 * end for end in interval))
    if "folds" in figures:
        accuracy += f" ± {100 * figures['folds']['sd']['accuracy']:.1f}"
    return [
        f"{row['title']} `{row['name']}`",
        row["rows"] or "ours",
        accuracy,
        *(percent(figures[key]) for key in ("weighted_f1", "macro_f1", "uar")),
        percent(row["reported"].get("accuracy")),
        points(row["differences"].get("accuracy")),
        points(row["picking"]["worth"]) if row["picking"] else "–",
        f"{row['parameters']:,.0f}" if row["parameters"] else "–",
        size(row["bytes"]),
        f"{row['milliseconds']:.3g} ms" if row["milliseconds"] else "–",
        duration(row["seconds"]),
    ]


def points(share: float | None) -> str:
    """A difference of shares in points, with its sign."""
    return "–" if share is None else f"{100 * share:+.1f}".replace("-", "−")


def _remarks(row: Mapping[str, Any]) -> str:
    """What is to be said of a row besides its figures, as one item of a list."""
    said = []
    if row["state"] == "missing":
        said.append(row["why"])
    if row["drop"]:
        said.append(f"Without {' and '.join(row['drop'])}.")
    if row.get("extra"):
        said.append(f"Learnt from {' and '.join(row['extra'])}, too.")
    if row.get("shortened"):
        epochs, usual = row["shortened"]
        count = "1 epoch" if epochs == 1 else f"{epochs} epochs at most"
        said.append(f"Trained for {count}, where its settings say {usual}.")
    further = [
        f"{name.replace('_f1', ' F1')} {percent(share)}"
        for name, share in row["reported"].items()
        if name != "accuracy"
    ]
    if further:
        said.append(f"Reported besides: {', '.join(further)}.")
    said += [row["remark"], row.get("notice", "")]
    difference = row.get("differences", {}).get("accuracy", 0.0)
    if abs(difference) > NOTABLE:
        where = "below" if difference < 0 else "above"
        far = f"{abs(100 * difference):.1f} points {where} what was reported"
        said.append(f"{far}: {row.get('note') or 'no reason is known.'}")
        if difference < 0 and row["picking"]:
            worth = 100 * row["picking"]["worth"]
            said.append(f"Picking the best epoch on the test files would have added {worth:.1f}.")
    elif row.get("note"):
        said.append(row["note"])
    said = [sentence for sentence in said if sentence]
    return f"- `{row['name']}`: {' '.join(said)}" if said else ""


def _classes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    emotions = list(dict.fromkeys(label for row in rows for label in row["figures"]["classes"]))
    lines = [
        "| system | " + " | ".join(emotions) + " |",
        "|---|" + "---:|" * len(emotions),
    ]
    for row in rows:
        classes = row["figures"]["classes"]
        cells = (percent(classes[k]["f1"] if k in classes else None) for k in emotions)
        lines.append(f"| `{row['name']}` | {' | '.join(cells)} |")
    return lines
