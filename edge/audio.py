"""Where a file or stream becomes sound: float32, mono, 16,000 Hz, within [-1, 1].

libsndfile decodes (WAV, FLAC, Ogg Vorbis and Opus, MP3, AIFF, AU, CAF; any sample format and number
of channels), soxr resamples. Everything is read block by block, so the length of a recording is
bounded by the disk alone.
"""

import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import FileIO
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import soundfile

Source: TypeAlias = "str | os.PathLike[str] | BinaryIO"

SAMPLE_RATE = 16_000  # Hz
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".aif", ".aiff", ".au", ".caf"),
)

FRAME_SECONDS = 0.025
HOP_SECONDS = 0.010
VOICE_RANGE_DB = 35.0  # frames this far below the loudest one, or less, belong to the voice

# The loudest frame of the quietest of all 2,452 RAVDESS recordings lies at -54.6 dBFS (median
# -27.1), of 1,500 nEMO and 1,915 EmoSpeech clips at -36.9. Taken 20 dB lower, as a distant
# microphone does, that is -74.6: still a voice. The rounding of 16-bit samples lies near -100. A
# threshold at -60 would call every such recording of RAVDESS's quiet actors silence.
SILENCE_DBFS = -80.0

SAMPLE_RATES = (1_000, 768_000)  # Hz; a header outside is damaged
STREAM_LIMIT = 512 * 2**20  # bytes; a stream is put on disk, for it cannot be read twice
READ_SAMPLES = 2**15  # samples of all channels decoded at a time: 128 KiB stay in the cache

# Programs that write a WAV or AU file into a pipe cannot know its length and put a figure near
# 2 or 4 GiB in its place.
LENGTH_UNKNOWN = 0x7FFF_F000  # bytes
FRAMES_UNKNOWN = 2**63 - 1  # what libsndfile says of a FLAC stream without a length
# Some recorders count their own header as sound; that loses nothing and is no truncation.
LENGTH_TOLERANCE = 64  # bytes
# An MP3 encoder's own length counts padding that not every decoder gives back.
MP3_TOLERANCE = 0.02

STDERR_LOCK = threading.Lock()  # held while standard error leads nowhere


class AudioError(Exception):
    """A recording cannot be used. The message is one line that starts with the file's name."""


def load(source: Source, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Read a whole recording.

    Args:
        source: A file's path, or a binary stream that holds a complete audio file.
        sample_rate: Of the answer, in Hz.

    Returns:
        float32[n] within [-1, 1], the mean of the channels.

    Raises:
        AudioError: The source is missing, empty, truncated, not audio, or holds no numbers.
    """
    return np.concatenate(list(blocks(source, 60.0, sample_rate)))


def blocks(source: Source, seconds: float, sample_rate: int = SAMPLE_RATE) -> Iterator[np.ndarray]:
    """Read a recording of any length piece by piece.

    Args:
        source: As for :func:`load`.
        seconds: Length of each block but the last, which may be shorter.
        sample_rate: Of the answer, in Hz.

    Yields:
        float32[seconds * sample_rate]; joined, they are what :func:`load` returns.

    Raises:
        AudioError: As for :func:`load`, where the trouble is met; a file that turns out to be
            truncated has by then yielded what comes before.
    """
    size = round(seconds * sample_rate)
    pending: list[np.ndarray] = []
    held = 0
    name = display_name(source)
    total = 0
    for piece in _resampled(source, sample_rate):
        pending.append(piece)
        held += len(piece)
        total += len(piece)
        if held >= size:
            joined = np.concatenate(pending)
            whole = held - held % size
            for start in range(0, whole, size):
                yield joined[start : start + size]
            pending, held = [joined[whole:]], held - whole
    if total == 0:
        raise AudioError(f"{name}: holds no sound (not one sample at {sample_rate} Hz)")
    if held:
        yield np.concatenate(pending)


def frame_power(waveform: np.ndarray, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Mean square of each frame about its own mean, so that an offset (DC) counts as nothing.

    Args:
        waveform: float32[n].
        sample_rate: In Hz.

    Returns:
        float64[frames]: frames of 25 ms, 10 ms apart; empty when the waveform is shorter than one.
    """
    step = sample_rate // 200  # 5 ms: the frame and its hop are whole multiples
    width, hop = round(FRAME_SECONDS * 200), round(HOP_SECONDS * 200)
    count = len(waveform) // step
    if count < width:
        return np.empty(0)
    steps = waveform[: count * step].reshape(count, step)
    sums = steps.sum(axis=1, dtype=np.float64)
    squares = np.einsum("ij,ij->i", steps, steps, dtype=np.float64)

    def mean_over_frames(values: np.ndarray) -> np.ndarray:
        frames = np.lib.stride_tricks.sliding_window_view(values, width)[::hop]
        return frames.sum(axis=1) / (width * step)

    return np.maximum(mean_over_frames(squares) - mean_over_frames(sums) ** 2, 0.0)


def voice_span(waveform: np.ndarray, sample_rate: int = SAMPLE_RATE) -> tuple[int, int]:
    """Where the voice starts and ends: the frames within 35 dB of the loudest one.

    Args:
        waveform: float32[n].
        sample_rate: In Hz.

    Returns:
        First sample of the voice and the one after its last; the whole waveform when it is shorter
        than a frame or has no loudest one.
    """
    power = frame_power(waveform, sample_rate)
    if not power.size or power.max() <= 0.0:
        return 0, len(waveform)
    loud = np.flatnonzero(power >= power.max() * 10.0 ** (-VOICE_RANGE_DB / 10.0))
    step = sample_rate // 200
    start = int(loud[0]) * round(HOP_SECONDS * 200) * step
    end = (int(loud[-1]) * round(HOP_SECONDS * 200) + round(FRAME_SECONDS * 200)) * step
    return start, end


def is_silent(waveform: np.ndarray, sample_rate: int = SAMPLE_RATE) -> bool:
    """Whether even the loudest frame of ``waveform`` (float32[n]) is below ``SILENCE_DBFS``."""
    if not len(waveform):
        return True
    power = frame_power(waveform, sample_rate)
    loudest = power.max() if power.size else waveform.var(dtype=np.float64)
    return bool(loudest < 10.0 ** (SILENCE_DBFS / 10.0))


def display_name(source: Source) -> str:
    """What a message calls ``source``: its path, or for a stream its name."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    if name == "<stdin>":
        return "standard input"
    return name if isinstance(name, str) else "the stream"


@contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Keep off the terminal what C libraries write to file descriptor 2 meanwhile."""
    with STDERR_LOCK:
        try:
            saved = os.dup(2)
        except OSError:  # the process has no standard error to protect
            saved = None
        if saved is None:
            yield
            return
        try:
            with open(os.devnull, "wb") as nothing:  # noqa: PTH123
                os.dup2(nothing.fileno(), 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _resampled(source: Source, sample_rate: int) -> Iterator[np.ndarray]:
    """Mono pieces of ``source`` at ``sample_rate``, of whatever lengths come about."""
    resampler = None
    for rate, piece in _decoded(source):
        if rate == sample_rate:
            yield piece
            continue
        if resampler is None:
            import soxr

            resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32")
        yield resampler.resample_chunk(piece).clip(-1.0, 1.0)
    if resampler is not None:
        rest = resampler.resample_chunk(np.empty(0, np.float32), last=True)
        yield rest.clip(-1.0, 1.0)


def _decoded(source: Source) -> Iterator[tuple[int, np.ndarray]]:
    """Mono pieces of ``source`` at its own sample rate, each with that rate in Hz."""
    name = display_name(source)
    with _open(name, source) as file:
        head = file.read(12)
        mp3 = head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")
        quiet = native_stderr_silenced if mp3 else nullcontext  # libmpg123 remarks on every hiccup
        _check_complete(name, file)
        file.seek(0)
        try:
            with quiet():
                sound = soundfile.SoundFile(file.fileno(), closefd=False)
        except soundfile.SoundFileError as error:
            raise AudioError(f"{name}: {_undecodable(head, mp3, error)}") from None
        with sound:
            rate = sound.samplerate
            if not SAMPLE_RATES[0] <= rate <= SAMPLE_RATES[1]:
                raise AudioError(f"{name}: has an impossible sample rate ({rate} Hz), is damaged")
            buffer = np.empty((max(1, READ_SAMPLES // sound.channels), sound.channels), np.float32)
            mean = np.full(sound.channels, 1 / sound.channels, np.float32)
            total, count = 0, len(buffer)
            while count == len(buffer):
                with quiet():
                    count, trouble = _read_into(sound, buffer)
                total += count
                if trouble or (count < len(buffer) and total < _frames_promised(sound, file)):
                    promised = "" if sound.frames == FRAMES_UNKNOWN else f" of {sound.frames}"
                    raise AudioError(
                        f"{name}: is cut short or damaged: {total}{promised} samples can be "
                        f"read{trouble}; copy or record it again"
                    )
                with np.errstate(all="ignore"):
                    piece = buffer[:count, 0] if len(mean) == 1 else buffer[:count] @ mean
                if not np.isfinite(piece).all():
                    raise AudioError(
                        f"{name}: holds values that are not numbers (NaN or infinite); export it "
                        "again from the program that wrote it"
                    )
                yield rate, piece.clip(-1.0, 1.0)


def _open(name: str, source: Source) -> FileIO:
    """A file on disk that holds ``source`` and is not empty, at its start."""
    try:
        if isinstance(source, str | os.PathLike):
            file = Path(source).open("rb", buffering=0)  # noqa: SIM115  closed by the caller
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                with file as stream:
                    file = _on_disk(name, stream)
        else:
            file = _on_disk(name, source)
    except FileNotFoundError:
        raise AudioError(f"{name}: does not exist; check the name") from None
    except IsADirectoryError:
        raise AudioError(f"{name}: is a folder, not a recording; name a file in it") from None
    except PermissionError:
        raise AudioError(f"{name}: may not be read (no permission); try chmod +r") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name}: cannot be read ({reason}); check the name") from None
    if _size(file) == 0:
        file.close()
        raise AudioError(f"{name}: is empty (0 bytes); record it again")
    return _finished(file)


def _on_disk(name: str, stream: BinaryIO | FileIO) -> FileIO:
    """The rest of ``stream`` as a temporary file, which vanishes when closed."""
    import tempfile

    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  closed by the caller
    while part := stream.read(2**20):
        file.write(part)
        if _size(file) > STREAM_LIMIT:
            file.close()
            raise AudioError(
                f"{name}: is longer than the {STREAM_LIMIT // 2**20} MiB a stream may have; save "
                "it to a file and name that"
            )
    file.seek(0)
    return file


def _size(file: FileIO) -> int:
    return os.fstat(file.fileno()).st_size


def _finished(file: FileIO) -> FileIO:
    """``file``, or where its writer was killed before it could fill in the lengths, a mended copy.

    libsndfile reads a WAV file whose sound has length 0 to its end, but only where the length of
    the whole, too, is that of an empty RIFF file.
    """
    start, length = _promised_sound(file)
    file.seek(0)
    head = file.read(8)
    file.seek(0)
    stated_end = int.from_bytes(head[4:], "little") + 8
    if head[:4] != b"RIFF" or length > 0 or stated_end > start or _size(file) == start:
        return file
    import shutil
    import tempfile

    mended = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  closed by the caller
    with file:
        shutil.copyfileobj(file, mended)
    mended.seek(4)
    mended.write(struct.pack("<I", 8))
    mended.seek(0)
    return mended


def _check_complete(name: str, file: FileIO) -> None:
    """Raise an AudioError where ``file`` is shorter than it says itself.

    libsndfile takes truncated WAV, AIFF, AU and Ogg files as if they had been meant to end there.
    """
    start, length = _promised_sound(file)
    present = max(0, _size(file) - start)
    if length < LENGTH_UNKNOWN and length - present > LENGTH_TOLERANCE:
        raise AudioError(
            f"{name}: is cut short: its header promises {length} bytes of sound, {present} are "
            "there; copy or record it again"
        )
    if _ends_within_ogg_page(file):
        raise AudioError(
            f"{name}: is cut short: its last page is incomplete; copy or record it again"
        )


def _promised_sound(file: FileIO) -> tuple[int, int]:
    """Byte at which the sound of a WAV, AIFF or AU file starts, and its stated length in bytes.

    The length is at least ``LENGTH_UNKNOWN`` where none is stated, as in all other formats.
    """
    file.seek(0)
    head = file.read(12)
    if head[:4] == b".snd" and len(head) == 12:
        return struct.unpack(">II", head[4:])
    order = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}.get(head[:4])
    position, size = 12, _size(file)
    long_length = LENGTH_UNKNOWN
    for _ in range(1_000 if order else 0):  # chunks; a file of nothing else would keep us for hours
        if position + 8 > size:
            break
        file.seek(position)
        chunk, length = struct.unpack(f"{order}4sI", file.read(8))
        if chunk == b"ds64" and position + 24 <= size:  # RF64 (EBU Tech 3306): 64-bit lengths
            long_length = struct.unpack("<8xQ", file.read(16))[0]
        if chunk in (b"data", b"SSND"):
            return position + 8, long_length if length == 0xFFFF_FFFF else length
        position += 8 + length + length % 2
    return 0, LENGTH_UNKNOWN


def _ends_within_ogg_page(file: FileIO) -> bool:
    """Whether ``file`` is Ogg and its last page (RFC 3533, section 6) goes on past its end."""
    file.seek(0)
    if file.read(4) != b"OggS":
        return False
    longest = 27 + 255 + 255 * 255
    file.seek(max(0, _size(file) - longest))
    tail = file.read(longest)
    page = tail[max(0, tail.rfind(b"OggS")) :]
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return not lengths or len(lengths) < page[26] or len(page) < 27 + page[26] + sum(lengths)


def _read_into(sound: soundfile.SoundFile, buffer: np.ndarray) -> tuple[int, str]:
    """Fill ``buffer`` (float32[frames, channels]).

    This calls libsndfile as ``SoundFile.buffer_read_into`` does, but without seeking to the new
    position afterwards, which fails on FLAC streams that do not state their length.

    Returns:
        How many frames there were, and what libsndfile complains about, if anything.
    """
    pointer = soundfile._ffi.from_buffer("float[]", buffer)
    count = soundfile._snd.sf_readf_float(sound._file, pointer, len(buffer))
    code = soundfile._snd.sf_error(sound._file)
    return count, f" ({_words(soundfile.LibsndfileError(code))})" if code else ""


def _frames_promised(sound: soundfile.SoundFile, file: FileIO) -> float:
    """The least number of frames that a complete file of this header gives."""
    if sound.frames == FRAMES_UNKNOWN:
        return 0
    if sound.format != "MP3":
        return sound.frames
    return sound.frames * (1.0 - MP3_TOLERANCE) if _mp3_states_length(file) else 0


def _mp3_states_length(file: FileIO) -> bool:
    """Whether the first frame is a Xing or Info header; else libmpg123 guesses the length."""
    file.seek(0)
    head = file.read(10)
    tag = head[:3] == b"ID3"
    file.seek(10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]) if tag else 0)
    frame = file.read(200)
    return b"Xing" in frame or b"Info" in frame


def _undecodable(head: bytes, mp3: bool, error: soundfile.SoundFileError) -> str:
    """Second half of the message about a file that libsndfile refuses to open."""
    known = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b".snd", b"caff")
    if mp3 or head[:4] in known:
        reason = "" if mp3 else f" ({_words(error)})"
        return f"is damaged, cut short or of a rare kind{reason}; copy or convert it again"
    return "is not audio that can be read; WAV, FLAC, OGG, MP3 and AIFF are, ffmpeg converts others"


def _words(error: soundfile.SoundFileError) -> str:
    """libsndfile's own words, fit for the middle of a sentence."""
    text = getattr(error, "error_string", str(error))
    return text.removeprefix("Error : ").removeprefix("Error: ").rstrip(". ")
