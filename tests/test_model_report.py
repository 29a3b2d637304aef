"""``python -m ser_tf.evaluate --report`` and ``--against`` on labelled tones and stub models."""

import base64
import csv
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge import audio
from ser_tf import evaluate, latency, metrics, model_report
from ser_tf.answers import Answers
from ser_tf.calibration import reliability
from ser_tf.corpora import load_corpus
from ser_tf.corpora.recording import Recording
from tests import stub_model

ROOT = Path(__file__).resolve().parent.parent
CLIPS = 6  # of each label
LABELS = ("calm", "angry", "sad")
AS_HAPPY = 2  # of the sad ones sound happy
COUNT = CLIPS * len(LABELS)
WHAT = f"tones, split elsewhere: {COUNT} recordings"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Tones of two speakers named after what the stub hears in them, save two that it mistakes."""
    folder = tmp_path_factory.mktemp("corpus") / "tones"
    folder.mkdir()
    rows = ["path,emotion,speaker,channel,note"]
    for label in LABELS:
        for clip in range(CLIPS):
            heard = "happy" if label == "sad" and clip < AS_HAPPY else label
            name = f"{label}-{clip}.wav"
            sound = stub_model.tone(heard, 0.5 + 0.1 * clip)
            soundfile.write(folder / name, sound, stub_model.SAMPLE_RATE)
            channel = "song" if clip % 3 else "speech"
            rows.append(f"{name},{label},{'ann' if clip % 2 else 'bob'},{channel},{name}")
    (folder / "index.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return stub_model.write_swapped(tmp_path_factory.mktemp("other"))


def command(model, corpus, out, *more):
    """Run the command in this process; its exit status."""
    options = ["--model", model, "--data", corpus, "--split", "elsewhere", "--out", out, *more]
    return evaluate.main([str(option) for option in options])


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, corpus, stub, other):
    """The folder of an evaluation with a report."""
    out = tmp_path_factory.mktemp("out") / "evaluation"
    assert command(stub, corpus, out, "--report", "--against", other) == 0
    return out


class Page(HTMLParser):
    """What a report's page holds."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.captions, self.tables, self.sources = [], [], [], []
        self._text = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        if tag in ("caption", "figcaption", "td", "th"):
            self._text = ""
        self.sources += [value for name, value in attributes if name == "src"]

    def handle_data(self, data):
        if self._text is not None:
            self._text += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self._text)
        elif tag in ("caption", "figcaption"):
            self.captions.append(self._text)


def page(folder):
    return Page(folder / "report" / "index.html")


def table(folder, name):
    with (folder / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_page_shows_every_picture_and_table_that_lies_beside_it(evaluated):
    report = evaluated / "report"
    text = (report / "index.html").read_text(encoding="utf-8")
    names = {path.name for path in report.iterdir()} - {"index.html"}
    assert names == set(re.findall(r'href="([^"#:]+)"', text))
    pictures = {"confusion-rates", "confusion-counts", "reliability", "coverage", "slices"}
    pictures |= {"against"}
    for suffix in (".png", ".svg"):
        assert {name.removesuffix(suffix) for name in names if name.endswith(suffix)} == pictures
    shown = page(evaluated)
    assert shown.tags.count("svg") == len(pictures)
    tables = {path.stem for path in report.glob("*.csv")}
    assert len(shown.tables) == len(tables)


def test_every_caption_states_corpus_protocol_and_count(evaluated):
    captions = page(evaluated).captions
    assert len(captions) > 12
    unstated = [caption for caption in captions if WHAT not in caption]
    (cost,) = unstated
    assert f"{COUNT} recordings of tones, split elsewhere" in cost


def test_the_confusion_counts_are_those_of_the_recordings(evaluated):
    rows = {row["truth"]: row for row in table(evaluated / "report", "confusion")}
    assert sum(int(row["recordings"]) for row in rows.values()) == COUNT
    cells = [row[answer] for row in rows.values() for answer in stub_model.EMOTIONS]
    assert sum(map(int, cells)) == COUNT
    assert (rows["sad"]["sad"], rows["sad"]["happy"]) == (str(CLIPS - AS_HAPPY), str(AS_HAPPY))
    shown = next(rows for rows in page(evaluated).tables if rows[0][0] == "truth")
    assert shown[1:] == [list(row.values()) for row in rows.values()]


@pytest.mark.parametrize(
    ("shown", "cells"),
    [("counts", ["6", "2", "4", "6"]), ("rates", ["100%", "33%", "67%", "100%"])],
)
def test_the_confusion_is_drawn_as_counts_and_as_rates(evaluated, shown, cells):
    drawing = (evaluated / "report" / f"confusion-{shown}.svg").read_text(encoding="utf-8")
    written = re.findall(r">([0-9]+%?)</", drawing)
    assert written[: len(cells)] == cells


def test_the_tables_hold_the_figures_of_the_evaluation(evaluated):
    figures = json.loads((evaluated / "metrics.json").read_text())
    shown = {row["figure"]: row for row in table(evaluated / "report", "figures")}
    assert shown["accuracy"]["%"] == f"{100 * (1 - AS_HAPPY / COUNT):.1f}"
    low, high = figures["intervals"]["accuracy"]
    assert shown["accuracy"]["95 % interval"] == f"{100 * low:.1f}–{100 * high:.1f}"
    classes = {row["emotion"]: row for row in table(evaluated / "report", "classes")}
    assert classes["sad"]["recall, %"].startswith(f"{100 * (1 - AS_HAPPY / CLIPS):.1f} (")
    assert classes["sad"]["precision, %"] == "100.0 (100.0–100.0)"
    assert classes["disgust"]["recall, %"] == ""


def test_mistakes_are_listed_by_confidence(evaluated):
    mistakes = table(evaluated / "report", "mistakes")
    assert {row["recording"] for row in mistakes} == {"sad-0", "sad-1"}
    assert {(row["truth"], row["answer"]) for row in mistakes} == {("sad", "happy")}
    answers = {row["name"]: row for row in table(evaluated, "predictions")}
    sure = [float(answers[row["recording"]]["happy"]) for row in mistakes]
    assert sure == sorted(sure, reverse=True)
    for row, confidence in zip(mistakes, sure, strict=True):
        assert float(row["confidence"]) == pytest.approx(confidence, abs=1e-4)
        shares = {label: float(answers[row["recording"]][label]) for label in stub_model.EMOTIONS}
        del shares["happy"]
        assert row["second choice"] == max(shares, key=shares.__getitem__)


def made_up(probabilities, truth="calm"):
    """Answers to recordings of one emotion with two labels."""
    recordings = [
        Recording(Path("x"), truth, "", f"clip {n:02d}") for n in range(len(probabilities))
    ]
    return Answers(("calm", "sad"), recordings, np.array(probabilities))


def built(answers):
    figures = evaluate.measured(answers) | {
        "model": {"file": "x.tflite", "bytes": 1, "sha256": "0"},
        "corpus": {"name": "made up"},
        "split": "common",
    }
    return model_report.build(figures, answers, latency.Latency(1, 1.0, 1.0, 1.0, "none", "none"))


def test_of_many_mistakes_the_twenty_most_confident_are_listed(tmp_path):
    shares = [(0.49 - 0.01 * n, 0.51 + 0.01 * n) for n in range(25)]
    built(made_up([*shares, (1.0, 0.0), (0.0, 0.0)])).write(tmp_path / "report")
    mistakes = table(tmp_path / "report", "mistakes")
    assert [row["recording"] for row in mistakes] == [f"clip {n:02d}" for n in range(24, 4, -1)]


def test_silence_and_right_answers_are_no_confident_mistakes(tmp_path):
    built(made_up([(0.9, 0.1), (0.9, 0.1), (0.0, 0.0)])).write(tmp_path / "report")
    assert "There are none." in (tmp_path / "report" / "index.html").read_text()
    assert not (tmp_path / "report" / "mistakes.csv").exists()


def test_the_page_holds_no_recording(evaluated):
    shown = page(evaluated)
    assert "audio" not in shown.tags
    assert shown.sources == []


def test_with_embedded_audio_each_mistake_can_be_heard(tmp_path, corpus, stub):
    out = tmp_path / "out"
    assert command(stub, corpus, out, "--report", "--embed-audio") == 0
    shown = page(out)
    assert shown.tags.count("audio") == AS_HAPPY
    for source, row in zip(shown.sources, table(out / "report", "mistakes"), strict=True):
        kind, content = source.split(",")
        assert kind == "data:audio/flac;base64"
        sound, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
        recorded = audio.load(corpus / f"{row['recording']}.wav")
        assert rate == audio.SAMPLE_RATE
        assert sound == pytest.approx(recorded, abs=1e-4)


def test_embedded_audio_without_a_report_is_a_usage_error(corpus, stub, tmp_path):
    with pytest.raises(SystemExit) as stop:
        command(stub, corpus, tmp_path / "out", "--embed-audio")
    assert stop.value.code == 2


def test_recordings_are_sliced_by_what_takes_few_values(evaluated):
    rows = {row["kind"]: row for row in table(evaluated / "report", "slices")}
    assert {kind: int(row["recordings"]) for kind, row in rows.items()} == {
        "channel: song": COUNT * 2 // 3,
        "channel: speech": COUNT // 3,
    }
    assert rows["channel: song"]["accuracy, %"].startswith(f"{100 * (1 - 1 / 12):.1f} (")


def test_conditions_are_sorted_by_what_they_cost(tmp_path):
    answers = made_up([(0.9, 0.1)] * 8)
    lost = {"gain -10 dB": 1, "gain +10 dB": 0, "far": 4, "through a wall": 6}
    for condition, count in lost.items():
        answers.degraded[condition] = np.array([(0.2, 0.8)] * count + [(0.9, 0.1)] * (8 - count))
    built(answers).write(tmp_path / "report")
    rows = table(tmp_path / "report", "conditions")
    assert [row["condition"] for row in rows] == sorted(lost, key=lambda name: -lost[name])
    for row in rows:
        count = lost[row["condition"]]
        assert row["accuracy, %"].partition(" ")[0] == f"{100 * (1 - count / 8):.1f}"
        assert row["accuracy lost, points"].partition(" ")[0] == f"{100 * count / 8:.1f}"
    assert rows[-1]["accuracy lost, points"] == "0.0 (0.0–0.0)"
    assert (tmp_path / "report" / "conditions.svg").is_file()


def test_the_bins_of_the_diagram_make_up_the_calibration_error():
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.full(8, 0.4), 300)
    rows[:5] = 0.0
    truth = rng.choice(stub_model.EMOTIONS, 300).tolist()
    bins = reliability(truth, rows, stub_model.EMOTIONS)
    assert sum(row["count"] for row in bins) == 295
    filled = [row for row in bins if row["count"]]
    gaps = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in filled) / 295
    assert gaps == pytest.approx(metrics.calibration_error(truth, rows, stub_model.EMOTIONS))
    assert all(row["above"] < row["confidence"] <= row["up_to"] for row in filled)


def test_a_confidence_between_two_bins_belongs_to_the_lower():
    edge = np.linspace(0, 1, 16)[9]
    (filled,) = (b for b in reliability(["a"], [(edge, 1 - edge)], "ab") if b["count"])
    assert filled["up_to"] == filled["confidence"] == edge


def test_calibration_is_shown_without_the_temperature_too(tmp_path, corpus, stub):
    run = tmp_path / "run"
    run.mkdir()
    model = run / "ser.tflite"
    model.write_bytes(stub.read_bytes())
    (run / "training.json").write_text(json.dumps({"temperature": 0.5}))
    assert command(model, corpus, tmp_path / "out", "--report") == 0
    bins = table(tmp_path / "out" / "report", "reliability-bins")
    for kind in ("", "raw "):
        assert sum(int(row[f"{kind}answers"]) for row in bins) == COUNT
    used = [[row[f"{kind}answers"] for row in bins] for kind in ("", "raw ")]
    assert used[0] != used[1]


def test_time_and_size_are_told(evaluated, stub):
    rows = {row["figure"]: row["value"] for row in table(evaluated / "report", "cost")}
    assert rows["size of the file"] == f"{stub.stat().st_size:,} bytes"
    median, p95 = (float(rows[f"one answer, {which}"].removesuffix(" ms")) for which in (
        "median", "95th percentile",
    ))  # fmt: skip
    assert 0 < median <= p95


def test_of_many_recordings_an_even_choice_is_timed(corpus, stub, monkeypatch):
    monkeypatch.setattr(latency, "MOST_CLIPS", 5)
    assert latency.measure(stub, load_corpus(corpus)).clips == 5  # every fourth of 18


def test_a_report_is_replaced_with_its_evaluation(tmp_path, corpus, stub):
    out = tmp_path / "out"
    assert command(stub, corpus, out, "--report") == 0
    assert (out / "report" / "index.html").is_file()
    assert command(stub, corpus, out) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(evaluate.OUTPUTS)


def test_a_model_whose_training_is_not_known_is_told_to_be_so(tmp_path, corpus, stub, evaluated):
    assert "No split.json stands beside stub.tflite" in (
        evaluated / "report" / "index.html"
    ).read_text(encoding="utf-8")
    (tmp_path / "ser.tflite").write_bytes(stub.read_bytes())
    split = {"name": "all", "train": ["someone"], "validation": [], "test": []}
    (tmp_path / "split.json").write_text(json.dumps(split))
    assert command(tmp_path / "ser.tflite", corpus, tmp_path / "out", "--report") == 0
    assert "None of them was learnt from" in (tmp_path / "out" / "report" / "index.html").read_text(
        encoding="utf-8"
    )


def test_the_command_needs_no_tensorflow():
    code = "import sys, ser_tf.evaluate; print({'tensorflow', 'keras', 'librosa'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "set()\n"


def test_help_fits_a_screen(capsys):
    with pytest.raises(SystemExit):
        evaluate.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 34
    assert "--unlabelled FOLDER --out answers.csv" in lines[-1]
