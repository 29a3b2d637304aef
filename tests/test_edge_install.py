"""The folder ``edge/`` and a model, copied alone into an empty environment, are an install."""

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


@pytest.mark.parametrize("version", ["3.11", "3.12 or later"])
def test_copied_into_an_empty_environment_it_answers(version, tmp_path):
    interpreter = sys.executable if version == "3.11" else newer_python()
    if interpreter is None:
        pytest.skip("no Python 3.12 or 3.13 is installed here")
    shutil.copytree(EDGE, tmp_path / "edge", ignore=shutil.ignore_patterns("*.tflite", "__*__"))
    model = stub_model.write(tmp_path / "edge")
    waveform = stub_model.tone("happy", 2.0, 44_100) + stub_model.tone("sad", 2.0, 44_100) / 4
    soundfile.write(tmp_path / "clip.wav", waveform, 44_100)

    created = run(interpreter, "-m", "venv", "empty", folder=tmp_path)
    assert created.returncode == 0, created.stderr
    python = tmp_path / "empty" / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--quiet")
    reached = run(*pip, "download", "--no-deps", "-d", "probe", "soxr", folder=tmp_path)
    if reached.returncode:
        pytest.skip(f"pip reaches no package index: {reached.stderr.strip().splitlines()[-1]}")
    installed = run(*pip, "install", "-r", "edge/requirements.txt", folder=tmp_path)
    assert installed.returncode == 0, installed.stderr

    for package in ("tensorflow", "keras", "librosa", "ser_tf"):
        assert run(python, "-c", f"import {package}", folder=tmp_path).returncode == 1
    runtime = "tflite_runtime" if version == "3.11" else "ai_edge_litert"
    assert run(python, "-c", f"import {runtime}", folder=tmp_path).returncode == 0

    result = run(python, "edge/run.py", "--json", "clip.wav", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    expected = EmotionClassifier(model).predict_file(tmp_path / "clip.wav")
    assert answer["emotion"] == expected.emotion == "happy"
    assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
