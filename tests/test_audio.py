"""Files and streams become 16 kHz mono float32, or one clear line."""

import io
import os
import struct
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge import audio

RATE = 48_000


def tone(seconds: float = 1.0, rate: int = RATE, frequency: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def encoded(samples: np.ndarray, rate: int = RATE, **kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", **kind})
    return file.getvalue()


@pytest.fixture
def saved(tmp_path: Path):
    def save(content: bytes, name: str = "clip.wav") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return save


def complaint(source: audio.Source) -> str:
    with pytest.raises(audio.AudioError) as caught:
        audio.load(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 0.01),
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-4),
        ("WAV", "PCM_32", 1e-4),
        ("WAV", "FLOAT", 1e-4),
        ("WAV", "DOUBLE", 1e-4),
        ("WAV", "ULAW", 0.03),
        ("RF64", "PCM_16", 1e-4),
        ("FLAC", "PCM_24", 1e-4),
        ("AIFF", "PCM_16", 1e-4),
        ("AU", "PCM_16", 1e-4),
        ("CAF", "PCM_16", 1e-4),
        ("OGG", "VORBIS", 0.03),
        ("OGG", "OPUS", 0.03),
        ("MP3", "MPEG_LAYER_III", 0.03),
    ],
)
def test_every_format_gives_the_same_sound(saved, kind, subtype, tolerance):
    waveform = audio.load(saved(encoded(tone(), format=kind, subtype=subtype)))
    assert waveform.dtype == np.float32
    assert len(waveform) == pytest.approx(audio.SAMPLE_RATE, rel=0.001)
    middle = slice(4_000, 12_000)  # codecs take a moment to settle
    expected = tone(rate=audio.SAMPLE_RATE)
    assert np.abs(waveform[middle] - expected[middle]).max() < tolerance


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000])
def test_every_sample_rate_becomes_16_khz(saved, rate):
    waveform = audio.load(saved(encoded(tone(1.0, rate), rate, subtype="FLOAT")))
    assert len(waveform) == audio.SAMPLE_RATE
    middle = slice(2_000, 14_000)
    assert np.abs(waveform - tone(rate=audio.SAMPLE_RATE))[middle].max() < 1e-3


def test_a_stereo_file_is_downmixed(saved):
    left, right = tone(frequency=300), tone(frequency=700)
    stereo = audio.load(saved(encoded(np.stack([left, right], axis=1), subtype="FLOAT")))
    mono = audio.load(saved(encoded((left + right) / 2, subtype="FLOAT")))
    np.testing.assert_allclose(stereo, mono, atol=1e-6)


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_samples_beyond_full_scale_are_clipped(saved, rate):
    waveform = audio.load(saved(encoded(6 * tone(1.0, rate), rate, subtype="FLOAT")))
    assert waveform.max() == 1.0
    assert waveform.min() == -1.0


def test_another_sample_rate_can_be_asked_for(saved):
    assert len(audio.load(saved(encoded(tone())), 8_000)) == 8_000


def test_blocks_joined_are_the_whole(saved):
    path = saved(encoded(np.random.default_rng(0).uniform(-1, 1, 200_001), 44_100))
    pieces = list(audio.blocks(path, 0.3))
    assert {len(piece) for piece in pieces[:-1]} == {4_800}
    assert 0 < len(pieces[-1]) <= 4_800
    np.testing.assert_array_equal(np.concatenate(pieces), audio.load(path))


def test_blocks_of_a_long_file_take_little_memory(saved):
    path = saved(encoded(np.zeros(1_800 * 16_000, np.float32), 16_000, subtype="PCM_U8"))
    tracemalloc.start()
    try:
        seconds = sum(map(len, audio.blocks(path, 10.0))) / audio.SAMPLE_RATE
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds == 1_800
    assert peak < 10e6  # the whole is 115 MB


def test_a_stream_is_read_like_a_file(saved):
    path = saved(encoded(tone()))
    np.testing.assert_array_equal(audio.load(io.BytesIO(path.read_bytes())), audio.load(path))


def test_a_pipe_is_read_like_a_file(saved):
    path = saved(encoded(tone()))
    reader, writer = os.pipe()
    feeder = threading.Thread(target=lambda: os.fdopen(writer, "wb").write(path.read_bytes()))
    feeder.start()
    with os.fdopen(reader, "rb") as stream:
        waveform = audio.load(stream)
    feeder.join()
    np.testing.assert_array_equal(waveform, audio.load(path))


def test_a_stream_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr(audio, "STREAM_LIMIT", 3 * 2**20)
    with open("/dev/zero", "rb") as endless:  # noqa: PTH123
        assert complaint(endless).startswith("/dev/zero: is longer than the 3 MiB")


def test_content_counts_and_not_the_ending(saved):
    assert len(audio.load(saved(encoded(tone(), format="FLAC"), "clip.wav"))) == 16_000
    assert len(audio.load(saved(encoded(tone()), "clip.raw"))) == 16_000


def test_an_odd_chunk_behind_the_sound_does_no_harm(saved):
    wav = encoded(tone())
    wav = (
        wav[:4]
        + struct.pack("<I", len(wav) + 3)
        + wav[8:]
        + b"_PMX"
        + struct.pack("<I", 3)
        + b"xyz"
    )
    assert len(audio.load(saved(wav))) == 16_000


@pytest.mark.parametrize(
    ("riff", "data"),
    [
        (0xFFFF_FFFF, 0xFFFF_FFFF),  # ffmpeg into a pipe
        (0x8000_0023, 0x7FFF_FFFF),  # arecord into a pipe
        (0x7FFF_FFFF, 0x7FFF_F000),  # sox into a pipe
        (0, 0),
        (36, 0),  # a recorder that was killed
    ],
)
def test_wav_streams_of_unknown_length_are_read(saved, riff, data):
    wav = bytearray(encoded(tone()))
    start = wav.index(b"data")
    wav[4:8], wav[start + 4 : start + 8] = struct.pack("<I", riff), struct.pack("<I", data)
    assert len(audio.load(saved(bytes(wav)))) == 16_000


def test_flac_streams_of_unknown_length_are_read(saved):
    flac = bytearray(encoded(np.tile(tone(), 7), format="FLAC"))
    flac[21] &= 0xF0  # the last 36 bits of these are the number of samples
    flac[22:26] = bytes(4)
    assert len(audio.load(saved(bytes(flac)))) == 7 * 16_000
    assert "is cut short or damaged" in complaint(saved(bytes(flac[:-100])))


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("RF64", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(saved, kind, subtype, part):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 3 * RATE)
    whole = encoded(noise, format=kind, subtype=subtype)
    path = saved(whole[: int(part * len(whole))])
    assert complaint(path).startswith(f"{path}: is cut short")


def test_a_truncated_wav_file_is_told_with_both_figures(saved):
    path = saved(encoded(tone())[:40_044])
    assert "promises 96000 bytes of sound, 40000 are there" in complaint(path)


def test_a_header_that_counts_itself_as_sound_is_forgiven(saved):
    wav = bytearray(encoded(tone()))
    wav[40:44] = struct.pack("<I", 2 * RATE + 44)
    assert len(audio.load(saved(bytes(wav)))) == 16_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("everywhere", [True, False])
def test_values_that_are_not_numbers_are_refused(saved, value, everywhere):
    samples = tone()
    samples[slice(None) if everywhere else 30_000] = value
    path = saved(encoded(samples, subtype="FLOAT"))
    assert complaint(path).startswith(f"{path}: holds values that are not numbers")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"Dear diary, " * 99, "is not audio"),
        (bytes(5_000), "is not audio"),
        (b"RIFF\x00\x00\x00\x00WAVE", "is damaged"),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00", "is damaged"),
        (b"fLaC", "is damaged"),
        (encoded(np.zeros(0)), "holds no sound"),
        (encoded(tone())[:24] + struct.pack("<I", 1) + encoded(tone())[28:], "has an impossible"),
    ],
)
def test_content_that_is_no_recording_is_refused(saved, content, what, capfd):
    path = saved(content)
    assert complaint(path).startswith(f"{path}: {what}")
    assert complaint(io.BytesIO(content)).startswith(f"the stream: {what}")
    assert capfd.readouterr() == ("", "")  # nor do the libraries add their own words


def test_a_missing_file_is_told(tmp_path):
    assert complaint(tmp_path / "no.wav").startswith(f"{tmp_path / 'no.wav'}: does not exist")


def test_a_folder_is_no_recording(tmp_path):
    assert complaint(tmp_path).startswith(f"{tmp_path}: is a folder")


def test_an_impossible_name_is_told():
    assert "cannot be read" in complaint("a\0b.wav")
    assert "cannot be read" in complaint("x" * 300)


def test_a_file_without_permission_is_told(saved, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = saved(encoded(tone()))
    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    assert "no permission" in complaint(path)


def test_libraries_do_not_write_on_the_terminal(saved, capfd):
    mp3 = encoded(tone(5.0), format="MP3")
    complaint(saved(mp3[: len(mp3) // 2], "clip.mp3"))
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"


def test_the_voice_is_found_between_pauses():
    waveform = np.zeros(5 * 16_000, np.float32)
    waveform[16_000:32_000] = tone(1.0, 16_000)
    start, end = audio.voice_span(waveform)
    assert start == pytest.approx(16_000, abs=400)
    assert end == pytest.approx(32_000, abs=400)


def test_what_is_35_db_fainter_is_no_voice():
    for decibels, span in ((-34, 32_000), (-36, 16_000)):
        waveform = np.concatenate([tone(1.0, 16_000), 10 ** (decibels / 20) * tone(1.0, 16_000)])
        assert audio.voice_span(waveform.astype(np.float32))[1] == pytest.approx(span, abs=400)


def test_an_offset_is_neither_voice_nor_sound():
    offset = np.full(3 * 16_000, 0.5, np.float32)
    assert audio.is_silent(offset)
    offset[16_000:32_000] += 0.01 * tone(1.0, 16_000).astype(np.float32)
    assert not audio.is_silent(offset)
    assert audio.voice_span(offset) == pytest.approx((16_000, 32_000), abs=400)


@pytest.mark.parametrize("samples", [0, 1, 399])
def test_a_waveform_shorter_than_a_frame_is_all_voice(samples):
    assert audio.voice_span(np.ones(samples, np.float32)) == (0, samples)


def test_silence_is_what_lies_below_the_threshold():
    waveform = tone(1.0, 16_000) / (0.5 / np.sqrt(2))  # RMS 1
    assert audio.is_silent(waveform * 10 ** ((audio.SILENCE_DBFS - 1) / 20))
    assert not audio.is_silent(waveform * 10 ** ((audio.SILENCE_DBFS + 1) / 20))
    assert audio.is_silent(np.zeros(0, np.float32))


def test_every_original_is_read(real_data):
    paths = sorted((real_data / "ravdess_original").rglob("*.wav"))
    assert len(paths) == 21
    stereo = 0
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        stereo += samples.shape[1] == 2
        waveform = audio.load(path)
        assert waveform.shape == (round(len(samples) * audio.SAMPLE_RATE / rate),)
        # Every third sample of 48 kHz, after what lies above 8 kHz is gone.
        spectrum = np.fft.rfft(samples.mean(axis=1))
        frequencies = np.fft.rfftfreq(len(samples), 1 / rate)
        spectrum[frequencies > 7_000] = 0
        ours = np.fft.irfft(np.fft.rfft(waveform)[: np.sum(frequencies <= 7_000)], len(waveform))
        theirs = np.fft.irfft(spectrum, len(samples))[::3][: len(waveform)]
        assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.02 * np.sqrt(np.mean(theirs**2))
    assert stereo == 6


def test_the_quietest_recording_is_a_voice_even_20_db_lower(real_data):
    speech = real_data / "ravdess/Audio_Speech_Actors_01-24"
    waveform = audio.load(speech / "Actor_09/03-01-04-01-02-02-09.flac")  # of all 2,452
    assert not audio.is_silent(0.1 * waveform)
