"""The folder ``edge/`` and a model, copied alone into an empty environment, are an install.

So is what ``edge/install.sh`` makes of them, as a service.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import stub_model

from edge.classifier import EmotionClassifier

EDGE = Path(__file__).resolve().parent.parent / "edge"


def newer_python() -> str | None:
    """An interpreter of Python 3.12 or 3.13, from the search path or pyenv."""
    names = ("python3.13", "python3.12")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [
        *filter(None, map(shutil.which, names)),
        *(str(path) for name in names for path in sorted(pyenv.glob(f"*/bin/{name}"))),
    ]
    for candidate in candidates:  # pyenv puts names on the path that only complain when called
        if not subprocess.run([candidate, "-c", "import venv"], capture_output=True).returncode:
            return candidate
    return None


def run(*command: object, folder: Path) -> subprocess.CompletedProcess:
    # Nothing of the environment the tests run in may be seen.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )


def copied(folder: Path) -> Path:
    """``edge/`` below ``folder``, with a model, and a clip beside it; the model's path."""
    shutil.copytree(EDGE, folder / "edge", ignore=shutil.ignore_patterns("*.tflite", "__*__"))
    waveform = stub_model.tone("happy", 2.0, 44_100) + stub_model.tone("sad", 2.0, 44_100) / 4
    soundfile.write(folder / "clip.wav", waveform, 44_100)
    return stub_model.write(folder / "edge", "ser.tflite")


def answer_as_here(python: Path, program: Path, model: Path, folder: Path) -> None:
    """Assert that ``program``, run by ``python``, answers the clip as this process does."""
    result = run(python, program, "--json", "clip.wav", folder=folder)
    assert (result.returncode, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    expected = EmotionClassifier(model).predict_file(folder / "clip.wav")
    assert answer["emotion"] == expected.emotion == "happy"
    assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)


def test_copied_into_an_empty_environment_it_answers(tmp_path):
    model = copied(tmp_path)
    created = run(sys.executable, "-m", "venv", "empty", folder=tmp_path)
    assert created.returncode == 0, created.stderr
    python = tmp_path / "empty" / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
    skip_without_index(python, tmp_path)
    installed = run(*pip, "install", "-r", "edge/requirements.txt", folder=tmp_path)
    assert installed.returncode == 0, installed.stderr

    for package in ("tensorflow", "keras", "librosa", "ser_tf"):
        assert run(python, "-c", f"import {package}", folder=tmp_path).returncode == 1
    assert run(python, "-c", "import tflite_runtime", folder=tmp_path).returncode == 0
    answer_as_here(python, tmp_path / "edge" / "run.py", model, tmp_path)


def skip_without_index(python: Path | str, folder: Path) -> None:
    probe = ("download", "--no-deps", "-d", "probe", "soxr")
    reached = run(python, "-m", "pip", "--disable-pip-version-check", *probe, folder=folder)
    if reached.returncode:
        pytest.skip(f"pip reaches no package index: {reached.stderr.strip().splitlines()[-1]}")


def test_the_installer_makes_a_service_of_it_and_takes_it_away_again(tmp_path):
    model = copied(tmp_path)
    skip_without_index(sys.executable, tmp_path)
    root = tmp_path / "device"
    python = newer_python() or sys.executable  # the other runtime, where there is one
    install = ("sh", "edge/install.sh", "--root", root, "--python", python)
    result = run(*install, "--", "--on-change", "--mqtt", "house", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    target, settings = root / "opt" / "ser", root / "etc" / "default" / "ser"
    answer_as_here(target / "venv" / "bin" / "python", target / "run.py", model, tmp_path)
    assert "SER_OPTIONS=--on-change --mqtt house\n" in settings.read_text()
    assert settings.stat().st_mode & 0o077 == 0  # it may hold a password
    assert (root / "etc" / "systemd" / "system" / "ser.service").is_file()
    assert not (root / "opt" / "ser.next").exists()

    removed = run("sh", target / "install.sh", "--root", root, "--uninstall", folder=tmp_path)
    assert removed.returncode == 0, removed.stderr
    assert [path for path in root.rglob("*") if not path.is_dir()] == []


def test_a_failed_update_leaves_the_installed_one_alone(tmp_path):
    copied(tmp_path)
    python = tmp_path / "python"  # whose environments have a pip that installs nothing
    python.write_text(
        '#!/bin/sh\n[ "$1 $2" = "-m venv" ] || exit 0\nmkdir -p "$3/bin"\n'
        'printf "#!/bin/sh\\nexit 1\\n" >"$3/bin/python"\nchmod +x "$3/bin/python"\n'
    )
    python.chmod(0o755)
    program = tmp_path / "device" / "opt" / "ser" / "run.py"
    program.parent.mkdir(parents=True)
    program.write_text("the old one")
    install = ("sh", "edge/install.sh", "--python", python)
    result = run(*install, "--root", tmp_path / "device", folder=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("install.sh: pip cannot install")
    assert program.read_text() == "the old one"
    assert [path.name for path in program.parent.parent.iterdir()] == ["ser"]


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (["--frobnicate"], "--frobnicate: no such option", 2),
        (["--root"], "--root needs a value", 2),
        (["--root", "device", "--python", "no-python"], "no-python: is missing", 1),
    ],
)
def test_what_the_installer_cannot_do_is_one_line(arguments, words, status, tmp_path):
    copied(tmp_path)
    result = run("sh", "edge/install.sh", *arguments, folder=tmp_path)
    assert result.returncode == status
    assert result.stderr.startswith(f"install.sh: {words}")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "device").exists()


def test_the_service_is_valid_and_confined(tmp_path):
    systemd_analyze = shutil.which("systemd-analyze")
    if systemd_analyze is None:
        pytest.skip("systemd-analyze is not installed (Debian package systemd)")
    unit = tmp_path / "ser.service"
    text = (EDGE / "ser.service").read_text()
    unit.write_text(text.replace("/opt/ser/venv/bin/python", sys.executable))
    verified = run(systemd_analyze, "verify", unit, folder=tmp_path)
    assert (verified.returncode, verified.stderr) == (0, "")
    exposure = ("security", "--offline=true", "--threshold=20", "--no-pager")  # 2.0 of 10
    confined = run(systemd_analyze, *exposure, unit, folder=tmp_path)
    assert confined.returncode == 0, confined.stdout


def test_the_installer_passes_shellcheck(tmp_path):
    beside = str(Path(sys.executable).parent)
    shellcheck = shutil.which("shellcheck", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    result = run(shellcheck, EDGE / "install.sh", folder=tmp_path)
    assert result.returncode == 0, result.stdout
