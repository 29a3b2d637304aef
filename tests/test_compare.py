"""``python -m ser_tf.compare`` with stubs in place of what trains and exports."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_tf import compare, evaluate, leaderboard, plots
from ser_tf.config import Config, ModelConfig
from ser_tf.corpora import load_corpus
from ser_tf.leaderboard import picture, table
from ser_tf.leaderboard.work import Commands, Job, RowError
from ser_tf.runs import Run
from ser_tf.splits import make_split, write_split
from ser_tf.systems import SYSTEMS
from tests import stub_model

CODES = {"calm": "02", "angry": "05"}
MISHEARD = 3  # the actor whose angry voice sounds happy
WATCHED = {"1": 0.9, "2": 0.7, "3": 0.8}  # accuracy on the test files after each epoch
BEST_EPOCH = 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tones under RAVDESS's names: each actor speaks calmly and angrily."""
    folder = tmp_path_factory.mktemp("corpus") / "ravdess"
    for actor in range(1, 25):
        (folder / f"Actor_{actor:02d}").mkdir(parents=True)
        for emotion, code in CODES.items():
            wrong = (actor, emotion) == (MISHEARD, "angry")
            sound = stub_model.tone("happy" if wrong else emotion, 0.3)
            path = folder / f"Actor_{actor:02d}" / f"03-01-{code}-01-01-01-{actor:02d}.wav"
            soundfile.write(path, sound, stub_model.SAMPLE_RATE)
    return folder


class Stubs:
    """In place of :class:`ser_tf.leaderboard.work.Commands`: a run in no time, a real evaluation.

    Attributes:
        calls: Run and module of every call.
        options: Of every call.
        broken: Raises for a run and module what shall go wrong.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.options: list[tuple[str, ...]] = []
        self.broken: dict[tuple[str, str], BaseException] = {}
        self.stopped = False

    def __call__(self, job: Job, module: str, *options: object) -> None:
        self.calls.append((job.name, module))
        self.options.append(tuple(map(str, options)))
        if error := self.broken.get((job.name, module)):
            raise error
        if module == "ser_tf.evaluate":
            assert evaluate.main([str(option) for option in options]) == 0
        elif module == "export.convert":
            (job.folder / "export").mkdir()
            stub_model.write(job.folder / "export", "ser_float32.tflite")
        else:
            corpus = options[options.index("--data") + 1] if "--data" in options else None
            train(job.folder, job.system.name, job.split, corpus)

    def stop(self) -> None:
        self.stopped = True


def train(folder: Path, model: str, split: str, corpus: object) -> None:
    """What training leaves; a folder that is there is gone on with."""
    run = Run(folder)
    if corpus:
        folder.mkdir(parents=True)
        Config(model=ModelConfig(name=model)).write(run.config)
        write_split(make_split(load_corpus(str(corpus)), split), run.split)
    with run.history.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["epoch", "watched_accuracy", "seconds"])
        rows.writerows([epoch, share, 2] for epoch, share in WATCHED.items())
    facts = {"parameters": 1234, "epochs": 3, "best_epoch": BEST_EPOCH, "seconds": 6.0}
    run.metrics.write_text(json.dumps(facts))
    run.model.write_bytes(b"trained")


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> Stubs:
    made = Stubs()
    monkeypatch.setattr(compare, "Commands", lambda logs, echo: made)
    return made


@pytest.fixture
def compared(
    stubs: Stubs, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """The command on the corpus, its pictures left blank."""
    monkeypatch.setattr(picture, "draw", lambda made: None)
    monkeypatch.setattr(plots, "save", lambda figure, path: Path(path).write_bytes(b""))

    def call(*options: str) -> int:
        stubs.calls.clear()
        stubs.options.clear()
        return compare.main(["--data", str(corpus), "--out", str(tmp_path), *options])

    return call


def board(folder: Path, split: str = "common") -> dict[str, dict]:
    made = json.loads((folder / split / "leaderboard.json").read_text())
    return {row["name"]: row for row in made["rows"]}


def test_a_row_is_trained_exported_evaluated_and_timed(
    compared: Callable[..., int], stubs: Stubs, tmp_path: Path
) -> None:
    assert compared("--models", "lstm", "dnn") == 0
    steps = ["ser_tf.train", "export.convert", "ser_tf.evaluate"]
    assert stubs.calls == [(name, step) for name in ("lstm", "dnn") for step in steps]
    row = board(tmp_path)["lstm"]
    assert row["state"] == "measured"
    assert row["figures"]["count"] == 10
    assert 0.8 <= row["figures"]["accuracy"] <= 1
    assert row["bytes"] == (tmp_path / "common/lstm/export/ser_float32.tflite").stat().st_size
    assert row["milliseconds"] > 0
    assert (row["parameters"], row["epochs"], row["seconds"]) == (1234, 3, 6.0)
    files = {path.name for path in (tmp_path / "common").glob("leaderboard.*")}
    assert files == {f"leaderboard.{suffix}" for suffix in ("json", "md", "png", "svg")}


def test_every_system_stands_on_the_board_with_what_was_reported(
    compared: Callable[..., int], tmp_path: Path
) -> None:
    assert compared("--models", "lstm") == 0
    rows = board(tmp_path)
    assert next(iter(rows)) == "lstm"
    assert set(rows) == set(SYSTEMS)
    assert rows["wav2vec2"]["reported"]["accuracy"] == 0.89
    text = (tmp_path / "common" / "leaderboard.md").read_text()
    for name, system in SYSTEMS.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {system.title} `")]
        assert f"`{name}`" in line
        assert table.percent(system.reported.get("accuracy")) in line
    assert SYSTEMS["wav2vec2"].needs in text


def test_a_finished_row_is_not_run_again(
    compared: Callable[..., int], stubs: Stubs, tmp_path: Path
) -> None:
    assert compared("--models", "lstm") == 0
    before = board(tmp_path)["lstm"]
    assert compared("--models", "lstm", "dnn") == 0
    assert {name for name, _ in stubs.calls} == {"dnn"}
    assert board(tmp_path)["lstm"] == before


def test_latency_is_measured_anew_where_it_is_asked_for(
    compared: Callable[..., int], tmp_path: Path
) -> None:
    assert compared("--models", "lstm") == 0
    path = tmp_path / "common" / "lstm" / "latency.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"milliseconds": 1e6}))
    assert compared("--models", "lstm") == 0
    assert board(tmp_path)["lstm"]["milliseconds"] == 1e6
    assert compared("--models", "lstm", "--time") == 0
    assert board(tmp_path)["lstm"]["milliseconds"] < 1e6


def test_a_failed_row_is_reported_and_the_rest_go_on(
    compared: Callable[..., int],
    stubs: Stubs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stubs.broken["lstm", "ser_tf.train"] = RowError("the corpus is too small")
    assert compared("--models", "lstm", "dnn") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "lstm: failed: the corpus is too small"
    rows = board(tmp_path)
    assert rows["dnn"]["state"] == "measured"
    assert (rows["lstm"]["state"], rows["lstm"]["why"]) == ("missing", "the corpus is too small")
    stubs.broken.clear()
    assert compared("--models", "lstm", "dnn") == 0
    assert {name for name, _ in stubs.calls} == {"lstm"}
    assert board(tmp_path)["lstm"]["state"] == "measured"


def test_a_stopped_comparison_goes_on_where_it_was(
    compared: Callable[..., int], stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    stubs.broken["dnn", "ser_tf.evaluate"] = KeyboardInterrupt()
    assert compared("--models", "lstm", "dnn") == 130
    assert stubs.stopped
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; the same command goes on"
    stubs.broken.clear()
    assert compared("--models", "lstm", "dnn") == 0
    assert stubs.calls == [("dnn", "ser_tf.evaluate")]


def test_a_run_that_was_begun_is_resumed(
    compared: Callable[..., int], stubs: Stubs, corpus: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "common" / "lstm"
    train(folder, "lstm", "common", corpus)
    (folder / "model.keras").unlink()
    assert compared("--models", "lstm") == 0
    assert {"--resume", "--watch"} <= set(stubs.options[0])
    assert "--model" not in stubs.options[0]


def test_a_run_made_by_hand_counts(
    compared: Callable[..., int], stubs: Stubs, corpus: Path, tmp_path: Path
) -> None:
    train(tmp_path / "common" / "cnn", "cnn", "common", corpus)
    assert compared("--models", "cnn") == 0
    assert [module for _, module in stubs.calls] == ["export.convert", "ser_tf.evaluate"]


@pytest.mark.parametrize(("model", "split"), [("dnn", "common"), ("lstm", "actors:0")])
def test_a_folder_with_another_run_is_left_alone(
    model: str, split: str, compared: Callable[..., int], corpus: Path, tmp_path: Path
) -> None:
    train(tmp_path / "common" / "lstm", model, split, corpus)
    assert compared("--models", "lstm") == 1
    assert f"holds {model} on split {split}" in board(tmp_path)["lstm"]["why"]


def test_the_folds_of_unheard_actors_are_pooled(
    compared: Callable[..., int], stubs: Stubs, tmp_path: Path
) -> None:
    assert compared("--models", "lstm", "--split", "actors") == 0
    trained = [name for name, module in stubs.calls if module == "ser_tf.train"]
    assert trained == [f"lstm-{fold}" for fold in range(5)]
    figures = board(tmp_path, "actors")["lstm"]["figures"]
    assert figures["count"] == 48
    assert figures["accuracy"] == pytest.approx(47 / 48)
    assert len(figures["folds"]["runs"]) == 5
    assert figures["folds"]["sd"]["accuracy"] > 0


def test_folds_that_are_not_all_finished_give_no_figure(
    compared: Callable[..., int], stubs: Stubs, tmp_path: Path
) -> None:
    stubs.broken["lstm-3", "ser_tf.train"] = RowError("no memory")
    assert compared("--models", "lstm", "--split", "actors") == 1
    row = board(tmp_path, "actors")["lstm"]
    assert (row["state"], row["why"]) == ("missing", "4 of its 5 folds are finished. no memory")


def test_the_worth_of_picking_the_epoch_on_the_test_files_is_shown(
    compared: Callable[..., int], tmp_path: Path
) -> None:
    assert compared("--models", "lstm") == 0
    picking = board(tmp_path)["lstm"]["picking"]
    assert picking == pytest.approx({"best": 0.9, "chosen": 0.8, "worth": 0.1})


def test_a_difference_of_more_than_three_points_is_given_its_reason(
    compared: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = tmp_path / "notes.toml"
    notes.write_text('[common]\nlstm = "The tones are pure."\n')
    monkeypatch.setattr(leaderboard.rows, "NOTES", notes)
    assert compared("--models", "lstm") == 0
    row = board(tmp_path)["lstm"]
    assert row["differences"]["accuracy"] == pytest.approx(row["figures"]["accuracy"] - 0.62)
    text = (tmp_path / "common" / "leaderboard.md").read_text()
    assert "points above what was reported: The tones are pure." in text


def test_epochs_are_those_of_one_model_or_of_all(
    compared: Callable[..., int], stubs: Stubs
) -> None:
    assert compared("--models", "lstm", "dnn", "--epochs", "7", "dnn=3") == 0
    given = {
        name: options[options.index("--epochs") + 1]
        for (name, module), options in zip(stubs.calls, stubs.options, strict=True)
        if module == "ser_tf.train"
    }
    assert given == {"lstm": "7", "dnn": "3"}


def test_a_command_that_fails_says_why_in_its_last_line(tmp_path: Path) -> None:
    job = Job(SYSTEMS["lstm"], "common", tmp_path / "lstm", (), "cache")
    with pytest.raises(RowError, match=r"No such file.*\(log: .*lstm\.log\)"):
        Commands(tmp_path / "logs", echo=False)(job, "json.tool", tmp_path / "missing.json")
    assert "$ -m json.tool" in (tmp_path / "logs" / "lstm.log").read_text()


def test_after_a_stop_no_command_begins(tmp_path: Path) -> None:
    commands = Commands(tmp_path / "logs", echo=False)
    commands.stop()
    job = Job(SYSTEMS["lstm"], "common", tmp_path / "lstm", (), "cache")
    with pytest.raises(RowError, match="stopped"):
        commands(job, "this")


def test_names_in_the_picture_cover_neither_one_another_nor_a_mark(tmp_path: Path) -> None:
    rows = [
        {
            "name": name,
            "rows": system.rows,
            "reported": {},
            "state": "measured",
            "file": "model.skops" if system.classical else "ser_float32.tflite",
            "figures": {"count": 491, "accuracy": 0.7 + n % 5 / 100, "interval": [0.6, 0.8]},
            "bytes": 10 ** (5 + n % 7 / 4),
            "milliseconds": 10 ** (1 + n % 3 / 8),
        }
        for n, (name, system) in enumerate(SYSTEMS.items())
    ]
    figure = picture.draw({"split": "common", "corpus": {"name": "ravdess"}, "rows": rows})
    for suffix, begin in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        plots.save(figure, tmp_path / f"drawn.{suffix}")
        assert (tmp_path / f"drawn.{suffix}").read_bytes().startswith(begin)
    for axes in figure.axes:
        names = [text for text in axes.texts if text.get_text()]
        assert {text.get_text() for text in names} == set(SYSTEMS)
        boxes = [text.get_window_extent() for text in names]
        for n, box in enumerate(boxes):
            assert not box.count_overlaps(boxes[:n]), names[n].get_text()
            points = [np.asarray(line.get_xydata()) for line in axes.lines]
            marks = [axes.transData.transform(place[0]) for place in points if len(place) == 1]
            assert len(marks) == len(SYSTEMS)
            assert not any(box.contains(*mark) for mark in marks), names[n].get_text()


@pytest.mark.parametrize(
    ("value", "shown"), [(512, "512 B"), (12_345, "12.3 kB"), (1.07e6, "1.07 MB"), (None, "–")]
)
def test_sizes_are_shown_as_people_say_them(value: float | None, shown: str) -> None:
    assert table.size(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "< 1 s"), (42, "42 s"), (600, "10 min"), (7200, "2.0 h")]
)
def test_durations_are_shown_as_people_say_them(seconds: float, shown: str) -> None:
    assert table.duration(seconds) == shown
