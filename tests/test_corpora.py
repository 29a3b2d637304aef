"""Where recordings come from, and what keeps a file out."""

import csv
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_tf.corpora import CorpusError, load_corpus
from ser_tf.corpora.labelled import label_of
from ser_tf.corpora.relabel import relabelled
from ser_tf.emotions import EMOTIONS


def record(path: Path, seconds: float = 0.05) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), 0.1 * np.ones(int(seconds * 16_000)), 16_000)
    return path


def write_table(path: Path, *rows: tuple[str, ...], encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as stream:
        csv.writer(stream).writerows(rows)
    return path


def names(corpus: Path) -> list[str]:
    return [recording.name for recording in load_corpus(corpus)]


def test_the_whole_of_ravdess_is_there(real_data: Path, capsys: pytest.CaptureFixture) -> None:
    recordings = load_corpus(real_data / "ravdess", strict=True)
    assert len(recordings) == 2452
    assert Counter(recording.emotion for recording in recordings) == {
        **dict.fromkeys(("calm", "happy", "sad", "angry", "fearful"), 376),
        **{"neutral": 188, "disgust": 192, "surprised": 192},
    }
    assert Counter(recording.traits["channel"] for recording in recordings) == {
        "speech": 1440,
        "song": 1012,
    }
    assert len({recording.speaker for recording in recordings}) == 24
    assert [recording.name for recording in recordings] == sorted(
        recording.path.stem for recording in recordings
    )
    assert capsys.readouterr().err == ""


def test_wav_originals_have_the_names_of_their_flac_copies(real_data: Path) -> None:
    flac = {recording.name: recording for recording in load_corpus(real_data / "ravdess")}
    originals = load_corpus(real_data / "ravdess_original")
    assert len(originals) == 21
    for original in originals:
        copy = flac[original.name]
        assert (original.emotion, original.speaker, original.traits) == (
            copy.emotion,
            copy.speaker,
            copy.traits,
        )


@pytest.mark.parametrize(
    ("corpus", "clips", "speakers"), [("nemo", 4481, 9), ("emospeech", 1915, 70)]
)
def test_other_corpora_are_read_by_their_tables(
    real_data: Path, corpus: str, clips: int, speakers: int
) -> None:
    recordings = load_corpus(real_data / corpus, strict=True)
    assert len(recordings) == clips
    assert len({recording.speaker for recording in recordings}) == speakers
    assert {recording.emotion for recording in recordings} <= set(EMOTIONS)


def test_a_ravdess_name_says_everything(tmp_path: Path) -> None:
    record(tmp_path / "Audio_Song_Actors_01-24" / "Actor_12" / "03-02-06-02-01-02-12.wav")
    (recording,) = load_corpus(tmp_path)
    assert recording.emotion == "fearful"
    assert recording.speaker == "actor-12"
    assert recording.name == "03-02-06-02-01-02-12"
    assert recording.traits == {
        "channel": "song",
        "gender": "female",
        "intensity": "strong",
        "statement": "kids",
        "repetition": "2",
    }


def test_odd_actors_are_male(tmp_path: Path) -> None:
    record(tmp_path / "Actor_07" / "03-01-01-01-01-01-07.wav")
    assert load_corpus(tmp_path)[0].traits["gender"] == "male"


def test_ravdess_may_lie_in_any_mixture_of_folders_and_formats(tmp_path: Path) -> None:
    record(tmp_path / "Audio_Speech_Actors_01-24" / "Actor_01" / "03-01-01-01-01-01-01.wav")
    record(tmp_path / "Actor_02" / "03-01-08-01-01-01-02.flac")
    record(tmp_path / "03-01-03-01-01-01-03.WAV")
    emotions = [recording.emotion for recording in load_corpus(tmp_path)]
    assert emotions == ["neutral", "happy", "surprised"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("03-01-01-01-01-01", "6 fields"),
        ("03-01-01-01-01-01-01-01", "8 fields"),
        ("take one", "1 field "),
        ("03-01-01-01-01-1-01", "not two digits"),
        ("01-01-01-01-01-01-01", "modality 01"),
        ("03-03-01-01-01-01-01", "vocal channel 03"),
        ("03-01-09-01-01-01-01", "emotion 09"),
        ("03-01-00-01-01-01-01", "emotion 00"),
        ("03-01-01-03-01-01-01", "intensity 03"),
        ("03-01-01-01-03-01-01", "statement 03"),
        ("03-01-01-01-01-03-01", "repetition 03"),
        ("03-01-01-01-01-01-25", "actor 25"),
        ("03-01-01-01-01-01-00", "actor 00"),
        ("03-01-01-01-01-01-02", "its name says actor 02, its folder Actor_01"),
    ],
)
def test_a_wrong_ravdess_name_is_one_warning_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, name: str, why: str
) -> None:
    record(tmp_path / "Actor_01" / "03-01-05-01-01-01-01.wav")
    wrong = record(tmp_path / "Actor_01" / f"{name}.wav")
    assert names(tmp_path) == ["03-01-05-01-01-01-01"]
    line, count = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {wrong}: ")
    assert why in line
    assert count == "warning: 1 of 2 files left out"


def test_unusable_files_are_left_out_each_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    record(tmp_path / "sad" / "good.wav")
    (tmp_path / "sad" / "empty.wav").touch()
    (tmp_path / "sad" / "text.flac").write_text("this is not sound")
    (tmp_path / "sad" / "noise.mp3").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "sad" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    os.mkfifo(tmp_path / "sad" / "pipe.wav")
    soundfile.write(str(tmp_path / "sad" / "short.wav"), np.zeros(0), 16_000)
    record(tmp_path / "sobbing" / "clip.wav")
    record(tmp_path / "loose.wav")
    assert names(tmp_path) == ["sad/good"]
    *lines, count = capsys.readouterr().err.splitlines()
    wanted = {
        "loose.wav": "stands in no label folder",
        "sad/empty.wav": "is empty (0 bytes)",
        "sad/gone.wav": "does not exist",
        "sad/noise.mp3": "is not audio",
        "sad/pipe.wav": "is not a file",
        "sad/short.wav": "holds no sound",
        "sad/text.flac": "is not audio",
        "sobbing/clip.wav": "unknown label 'sobbing' (known: neutral, calm, happy",
    }
    assert len(lines) == len(wanted)
    for line, (name, why) in zip(lines, wanted.items(), strict=True):
        assert line.startswith(f"warning: {tmp_path / name}: {why}")
    assert count == "warning: 8 of 9 files left out"


def test_strict_makes_an_error_of_it_and_still_lists_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    record(tmp_path / "sad" / "good.wav")
    (tmp_path / "sad" / "empty.wav").touch()
    with pytest.raises(CorpusError, match=r"1 of 2 files cannot be used .* --strict"):
        load_corpus(tmp_path, strict=True)
    assert "empty.wav: is empty" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    record(tmp_path / "sad" / "good.wav")
    record(tmp_path / "sad" / "mine.wav").chmod(0)
    assert names(tmp_path) == ["sad/good"]
    assert "mine.wav: cannot be opened (Permission denied)" in capsys.readouterr().err


def test_files_that_are_not_audio_by_their_ending_are_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    record(tmp_path / "happy" / "clip.wav")
    for name in ("README.md", ".DS_Store", "happy/._clip.wav", "happy/notes.txt"):
        (tmp_path / name).write_text("nothing to hear")
    record(tmp_path / "__MACOSX" / "happy" / "clip.wav")
    assert names(tmp_path) == ["happy/clip"]
    assert capsys.readouterr().err == ""


def test_two_copies_of_a_recording_count_once(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    stem = "03-01-03-01-01-01-04"
    record(tmp_path / "Actor_04" / f"{stem}.wav")
    kept = record(tmp_path / "Actor_04" / f"{stem}.flac")
    record(tmp_path / "Audio_Speech_Actors_01-24" / "Actor_04" / f"{stem}.wav")
    (recording,) = load_corpus(tmp_path)
    assert recording.path == kept
    copies, count = capsys.readouterr().err.splitlines()
    assert f"has the same name as {kept}" in copies
    assert "2 files are such copies" in copies
    assert count == "warning: 2 of 3 files left out"


def test_a_readable_copy_stands_in_for_a_broken_one(tmp_path: Path) -> None:
    (tmp_path / "sad").mkdir()
    (tmp_path / "sad" / "clip.flac").touch()
    readable = record(tmp_path / "sad" / "clip.wav")
    assert [recording.path for recording in load_corpus(tmp_path)] == [readable]


def test_a_folder_name_is_the_label_and_the_next_the_speaker(tmp_path: Path) -> None:
    record(tmp_path / "Fear" / "anna" / "one.wav")
    record(tmp_path / "SURPRISE" / "two.ogg")
    record(tmp_path / "angry" / "03-01-01-01-01-01-09.wav")
    found = [(r.name, r.emotion, r.speaker) for r in load_corpus(tmp_path)]
    assert found == [
        ("Fear/anna/one", "fearful", "anna"),
        ("SURPRISE/two", "surprised", ""),
        ("angry/03-01-01-01-01-01-09", "angry", "actor-09"),
    ]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Happiness", "happy"),
        (" sad ", "sad"),
        ("Anger", "angry"),
        ("disgusted", "disgust"),
        ("bored", None),
        ("", None),
    ],
)
def test_plain_aliases_are_understood(text: str, label: str | None) -> None:
    assert label_of(text, EMOTIONS) == label


def test_an_alias_of_a_label_that_is_not_wanted_is_unknown() -> None:
    assert label_of("fear", ("happy", "sad")) is None


def test_any_label_is_taken_when_none_are_given(tmp_path: Path) -> None:
    record(tmp_path / "Bored" / "clip.wav")
    assert load_corpus(tmp_path, labels=None)[0].emotion == "Bored"
    with pytest.raises(CorpusError, match="Bored"):
        load_corpus(tmp_path)


def test_a_table_gives_label_speaker_and_traits(tmp_path: Path) -> None:
    record(tmp_path / "clips" / "a.wav")
    record(tmp_path / "clips" / "b.wav")
    table = write_table(
        tmp_path / "list.csv",
        ("Emotion", "path", "speaker", "room"),
        ("Sad", "clips/a.wav", "eve", "hall"),
        ("happy", "clips/b.wav", "", ""),
        encoding="utf-8-sig",
    )
    first, second = load_corpus(table)
    assert (first.name, first.emotion, first.speaker) == ("clips/a", "sad", "eve")
    assert first.path == tmp_path / "clips" / "a.wav"
    assert first.traits == {"room": "hall"}
    assert (second.emotion, second.speaker, second.traits) == ("happy", "", {})


def test_a_table_may_do_without_speakers_and_point_outside(tmp_path: Path) -> None:
    clip = record(tmp_path / "elsewhere" / "a.wav")
    write_table(tmp_path / "corpus" / "index.csv", ("path", "emotion"), (str(clip), "calm"))
    (recording,) = load_corpus(tmp_path / "corpus")
    assert (recording.path, recording.speaker) == (clip, "")


def test_a_bad_row_is_a_warning_with_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    record(tmp_path / "a.wav")
    table = write_table(
        tmp_path / "index.csv",
        ("path", "emotion", "speaker"),
        ("a.wav", "sad", "x"),
        ("missing.wav", "sad", "x"),
        ("a.wav", "grumpy", "x"),
        ("", "sad", "x"),
        ("a.wav",),
        (".", "sad", "x"),
    )
    assert names(table) == ["a"]
    *lines, count = capsys.readouterr().err.splitlines()
    for line, row, why in zip(
        lines,
        (3, 4, 5, 6, 7),
        ("does not exist", "unknown label 'grumpy'", "names no file", "has no label", "not a file"),
        strict=True,
    ):
        assert line.startswith(f"warning: {table}, row {row}")
        assert why in line
    assert count == "warning: 5 of 6 files left out"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no column path and no column emotion"),
        (b"file,emotion\na.wav,sad\n", "no column path"),
        (b"path;emotion;speaker\na.wav;sad;x\n", "no column path"),
        (b"path,emotion\n\xff\xfe\xfa,sad\n", "not UTF-8"),
        (b"path,emotion,speaker\n", "holds no recordings"),
    ],
)
def test_a_table_that_is_none_is_an_error(tmp_path: Path, content: bytes, why: str) -> None:
    table = tmp_path / "index.csv"
    table.write_bytes(content)
    with pytest.raises(CorpusError, match=why) as caught:
        load_corpus(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_or_empty_corpus_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "clip.wav").touch()
    for corpus, why in (
        ("nowhere", "no such folder"),
        ("empty", "holds no recordings"),
        ("clip.wav", "neither a folder nor a .csv table"),
    ):
        with pytest.raises(CorpusError, match=why) as caught:
            load_corpus(tmp_path / corpus)
        message = str(caught.value)
        assert message.startswith(str(tmp_path / corpus))
        for hint in ("Actor_NN", "label/clip.wav", "index.csv", "--data download"):
            assert hint in message
        assert "\n" not in message


def test_a_folder_of_other_folders_names_what_was_found(tmp_path: Path) -> None:
    record(tmp_path / "train" / "sad" / "clip.wav")
    with pytest.raises(CorpusError, match=r"no folder in it is named after a label.*train"):
        load_corpus(tmp_path)


def test_emotions_of_a_corpus_are_learnt_under_another_name(tmp_path: Path) -> None:
    for label in ("calm", "happy", "neutral"):
        record(tmp_path / label / "a.wav")
    renamed = relabelled(load_corpus(tmp_path), ["calm=neutral", "neutral=sad"], EMOTIONS)
    assert {recording.name: recording.emotion for recording in renamed} == {
        "calm/a": "neutral",
        "happy/a": "happy",
        "neutral/a": "sad",
    }


@pytest.mark.parametrize("pair", ["calm", "calm=", "calm=bored", "bored=calm"])
def test_a_name_that_is_no_emotion_cannot_be_given(pair: str) -> None:
    with pytest.raises(ValueError, match=f"relabel: {pair!r} is not THEIRS=OURS with two of neut"):
        relabelled([], [pair], EMOTIONS)


def test_a_corpus_of_broken_files_alone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "sad").mkdir()
    (tmp_path / "sad" / "empty.wav").touch()
    with pytest.raises(CorpusError, match="none of its 1 recordings can be used"):
        load_corpus(tmp_path)
