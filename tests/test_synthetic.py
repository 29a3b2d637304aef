"""The generated corpus."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_tf import corpora
from ser_tf.corpora import CorpusError, load_corpus, synthetic
from ser_tf.emotions import EMOTIONS


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic") / "corpus"
    synthetic.generate(folder, speakers=3, clips=2)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_every_voice_speaks_every_emotion(corpus: Path) -> None:
    recordings = load_corpus(corpus, strict=True)
    counts = Counter((recording.emotion, recording.speaker) for recording in recordings)
    assert {emotion for emotion, _ in counts} == set(EMOTIONS)
    assert len(counts) == 8 * 3
    assert set(counts.values()) == {2}


def test_clips_are_16_bit_at_16_khz_and_of_usual_length(corpus: Path) -> None:
    for recording in load_corpus(corpus):
        info = soundfile.info(str(recording.path))
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert 1.4 < info.duration < 3.1
        waveform, _ = soundfile.read(str(recording.path))
        assert 0.01 < np.abs(waveform).max() < 1
        assert abs(waveform.mean()) < 0.01


def test_the_same_seed_gives_the_same_files_and_another_gives_others(
    corpus: Path, tmp_path: Path
) -> None:
    synthetic.generate(tmp_path / "again", speakers=3, clips=2)
    assert contents(tmp_path / "again") == contents(corpus)
    synthetic.generate(tmp_path / "other", speakers=3, clips=2, seed=1)
    assert not set(contents(tmp_path / "other").values()) & {
        content for name, content in contents(corpus).items() if name.endswith(".wav")
    }


def test_anger_is_loud_sadness_is_quiet_and_fear_is_high(corpus: Path) -> None:
    loudness: dict[str, list[float]] = {}
    crossings: dict[str, list[float]] = {}
    for recording in load_corpus(corpus):
        waveform, _ = soundfile.read(str(recording.path))
        loudness.setdefault(recording.emotion, []).append(float(np.sqrt(np.mean(waveform**2))))
        spectrum = np.abs(np.fft.rfft(waveform))
        band = (spectrum > 0.3 * spectrum.max()).nonzero()[0][0] * 16_000 / len(waveform)
        crossings.setdefault(recording.emotion, []).append(band)
    by_loudness = sorted(loudness, key=lambda emotion: np.mean(loudness[emotion]))
    assert by_loudness[0] == "sad"
    assert by_loudness[-1] == "angry"
    assert np.mean(crossings["fearful"]) > 1.3 * np.mean(crossings["disgust"])


def test_it_is_made_once_and_says_loudly_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(corpora, "ROOT", tmp_path)
    monkeypatch.setattr(synthetic, "SPEAKERS", 1)
    monkeypatch.setattr(synthetic, "CLIPS", 1)
    first = load_corpus("synthetic")
    made = {recording.path: recording.path.stat().st_mtime_ns for recording in first}
    assert len(made) == 8
    assert all(path.is_relative_to(tmp_path / "cache") for path in made)
    assert load_corpus("synthetic") == first
    assert {path: path.stat().st_mtime_ns for path in made} == made
    said = capsys.readouterr().err
    assert said.count("GENERATED CORPUS: 8 clips") == 2
    assert "NOTHING about people" in said


def test_other_counts_are_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "SPEAKERS", 1)
    monkeypatch.setattr(synthetic, "CLIPS", 1)
    first = synthetic.cached(tmp_path)
    monkeypatch.setattr(synthetic, "CLIPS", 2)
    second = synthetic.cached(tmp_path)
    assert first != second
    assert len(load_corpus(second)) == 16


def test_nothing_half_made_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synthetic.soundfile, "write", fail)
    with pytest.raises(CorpusError, match=r"cannot be written .*No space left"):
        synthetic.generate(tmp_path / "corpus", speakers=1, clips=1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_made_meanwhile_by_another_process_stays(corpus: Path) -> None:
    before = contents(corpus)
    synthetic.generate(corpus, speakers=1, clips=1)
    assert contents(corpus) == before
    assert [path.name for path in corpus.parent.iterdir()] == [corpus.name]
