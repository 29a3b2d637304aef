"""Recordings become shards once."""

import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from voice_clips import saved, three, voice

from edge import audio
from ser_tf import decoding, pipeline
from ser_tf.corpora import CorpusError, Recording
from ser_tf.emotions import EMOTIONS


def damaged(recording: Recording) -> Recording:
    content = recording.path.read_bytes()
    recording.path.write_bytes(content[: len(content) // 2])
    return recording


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


@pytest.fixture
def clips(tmp_path: Path) -> list[Recording]:
    return three(tmp_path / "clips")


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files decoded so far."""
    names: list[str] = []
    load = audio.load

    def spy(path: Path) -> np.ndarray:
        names.append(path.name)
        return load(path)

    monkeypatch.setattr(audio, "load", spy)
    return names


def test_shards_are_reused(clips, cache, decodings, capfd):
    first = decoding.prepare(clips, EMOTIONS, cache)
    assert sorted(decodings) == ["clip0.wav", "clip1.wav", "clip2.wav"]
    clips[0].path.touch()
    capfd.readouterr()
    again = decoding.prepare(list(reversed(clips)), EMOTIONS, cache)
    assert len(decodings) == 3
    assert again.files == first.files
    np.testing.assert_array_equal(again.labels, first.labels)
    assert sorted(first.labels) == [0, 1, 2]
    assert capfd.readouterr().err == ""


def test_shards_are_rebuilt_when_the_content_of_a_file_changes(clips, cache, decodings):
    before = decoding.prepare(clips, EMOTIONS, cache)
    facts = clips[1].path.stat()
    saved(clips[1].path.parent, voice(0.2, pitch=170), name="clip1")  # as many bytes
    os.utime(clips[1].path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert clips[1].path.stat().st_size == facts.st_size
    assert not set(decoding.prepare(clips, EMOTIONS, cache).files) & set(before.files)
    assert len(decodings) == 6


def test_shards_are_rebuilt_when_a_label_changes(clips, cache):
    decoding.prepare(clips, EMOTIONS, cache)
    relabelled = [*clips[:2], Recording(clips[2].path, "surprised", "", "clip2")]
    labels = decoding.prepare(relabelled, EMOTIONS, cache).labels
    assert sorted(labels) == [0, 1, EMOTIONS.index("surprised")]
    other_order = decoding.prepare(clips, EMOTIONS[::-1], cache).labels
    assert sorted(other_order) == [5, 6, 7]


def test_a_recording_may_be_there_twice(clips, cache):
    copy = Recording(clips[0].path, clips[0].emotion, "", "copy")
    assert sorted(decoding.prepare([*clips, copy], EMOTIONS, cache).labels) == [0, 0, 1, 2]


def test_a_damaged_file_costs_one_warning_line_and_is_left_out(clips, cache, capfd):
    damaged(clips[1])
    shards = decoding.prepare(clips, EMOTIONS, cache)
    assert sorted(shards.labels) == [0, 2]
    error = capfd.readouterr().err
    assert error.count("clip1.wav") == 1
    assert f"warning: {clips[1].path}: is cut short" in error
    assert "warning: 1 of 3" in error


def test_a_left_out_file_is_not_forgotten_when_shards_are_reused(clips, cache, capfd):
    damaged(clips[1])
    decoding.prepare(clips, EMOTIONS, cache)
    capfd.readouterr()
    decoding.prepare(clips, EMOTIONS, cache)
    error = capfd.readouterr().err
    assert error.startswith("warning: 1 of 3 recordings")
    assert error.count("\n") == 1
    with pytest.raises(CorpusError, match="1 of 3 recordings"):
        decoding.prepare(clips, EMOTIONS, cache, strict=True)


def test_a_damaged_file_is_an_error_with_strict_and_leaves_nothing(clips, cache, capfd):
    damaged(clips[1])
    with pytest.raises(CorpusError, match="1 of 3"):
        decoding.prepare(clips, EMOTIONS, cache, strict=True)
    assert "clip1.wav: is cut short" in capfd.readouterr().err
    assert list(Path(cache).iterdir()) == []


def test_a_corpus_of_damaged_files_is_an_error_and_leaves_nothing(clips, cache):
    with pytest.raises(CorpusError, match="none of 3"):
        decoding.prepare([damaged(clip) for clip in clips], EMOTIONS, cache)
    assert list(Path(cache).iterdir()) == []


@pytest.mark.parametrize("trouble", [KeyboardInterrupt, OSError])
def test_a_broken_off_decoding_leaves_nothing(clips, cache, monkeypatch, trouble):
    def fail(*_):
        raise trouble

    with monkeypatch.context() as patched:
        patched.setattr(decoding, "_record", fail)
        with pytest.raises(trouble):
            decoding.prepare(clips, EMOTIONS, cache)
    assert list(Path(cache).iterdir()) == []


def test_what_a_killed_decoding_leaves_is_never_read(clips, cache, monkeypatch):
    with monkeypatch.context() as patched:  # all is written but the name it is read under
        patched.setattr(tf.io.gfile, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patched.setattr(tf.io.gfile, "rmtree", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            decoding.prepare(clips, EMOTIONS, cache)
    (left_over,) = Path(cache).iterdir()
    for shard in left_over.glob("*.tfrecord"):
        shard.write_bytes(b"half a record")
    shards = decoding.prepare(clips, EMOTIONS, cache)
    assert sum(len(label) for _, label in pipeline.waveforms(shards, 2)) == 3
