"""The tables that the page gives to take home, and how it shows what a file is called."""

import csv
import io
import json

import pytest

from edge.classifier import Prediction
from streamlit_app.hearing import literal
from streamlit_app.tables import Row, as_csv, as_json

LABELS = ("calm", "angry")
SAID = Prediction("angry", 0.6, {"calm": 0.4, "angry": 0.6}, 0.0, 2.5)
ROWS = [
    Row("one.wav", SAID),
    Row("silent.wav", Prediction(None, 0.0, {}, 0.0, 1.0)),
    Row("bad.wav", problem="is empty (0 bytes); record it again"),
]


def read(content):
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_the_csv_has_the_columns_of_the_unlabelled_answers():
    from ser_tf.unlabelled import FIRST_COLUMNS, LAST_COLUMN

    table = read(as_csv(ROWS, LABELS))
    assert list(table[0]) == [*FIRST_COLUMNS, *LABELS, LAST_COLUMN]
    assert table[0]["confidence"] == table[0]["angry"] == "0.600000"
    assert [row["emotion"] for row in table] == ["angry", "silence", ""]
    assert table[2]["error"] == ROWS[2].problem


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1.wav", "-20dB.wav", "@SUM(A1)", "\t=1.wav"])
def test_no_name_is_a_formula_to_a_spreadsheet(name):
    (row,) = read(as_csv([Row(name, SAID)], LABELS))
    assert row["file"] == f"'{name}"


def test_the_json_has_names_as_they_are_and_doubts():
    rows = [Row("=1.wav", SAID), *ROWS]
    formula, one, silent, bad = json.loads(as_json(rows, 0.7))
    assert formula["file"] == "=1.wav"
    assert (one["emotion"], one["uncertain"], one["probabilities"]["angry"]) == (None, True, 0.6)
    assert silent["silence"]
    assert bad == {"file": "bad.wav", "error": ROWS[2].problem}
    assert json.loads(as_json([Row("one.wav", SAID)], 0.5))[0]["emotion"] == "angry"


def test_a_name_is_shown_as_it_is():
    assert literal("my *new* [clip](x)_1.wav") == r"my \*new\* \[clip\]\(x\)\_1.wav"
