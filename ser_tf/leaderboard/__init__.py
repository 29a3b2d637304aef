"""The comparison of all systems: what was measured of each, as data, tables and a picture."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ser_tf import plots
from ser_tf.leaderboard import picture, rows, table
from ser_tf.leaderboard.work import write_whole

NAME = "leaderboard"


def board(
    split: str,
    corpus: Mapping[str, Any],
    command: str,
    known: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The comparison, the most accurate system first and those without figures last.

    Args:
        split: ``common`` or ``actors``.
        corpus: What :func:`ser_tf.evaluate.facts` says of it.
        command: What makes the figures.
        known: What :func:`ser_tf.leaderboard.rows.row` returns of each system.
    """
    said = rows.notes(split)

    def place(row: Mapping[str, Any]) -> float:
        measured = row["state"] == "measured"
        return -row["figures"]["accuracy"] if measured else 1 - row["reported"].get("accuracy", 0.0)

    def note(row: Mapping[str, Any]) -> str:
        usual = said.get(rows.ANY, "") if "accuracy" in row.get("differences", {}) else ""
        return said.get(row["name"], usual)

    return {
        "split": split,
        "corpus": dict(corpus),
        "command": command,
        "rows": [{**row, "note": note(row)} for row in sorted(known, key=place)],
    }


def write(made: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write a board as ``leaderboard.json``, ``.md``, and, where anything was measured, pictures.

    Returns:
        The files.
    """
    paths = [folder / f"{NAME}.{suffix}" for suffix in ("json", "md")]
    write_whole(paths[0], json.dumps(made, indent=2) + "\n")
    write_whole(paths[1], table.markdown(made))
    if any(row["state"] == "measured" for row in made["rows"]):
        figure = picture.draw(made)
        for suffix in ("png", "svg"):
            paths.append(folder / f"{NAME}.{suffix}")
            plots.save(figure, paths[-1])
    return paths
