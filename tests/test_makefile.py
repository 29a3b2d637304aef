"""What ``make`` would run for the published figures."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("extra", ["nemo emospeech", "/data/nemo ../emospeech"])
def test_a_model_asked_elsewhere_learns_nothing_from_there(extra: str) -> None:
    command = ["make", "--dry-run", "evaluate-elsewhere", "DATA=ravdess", f"EXTRA={extra}"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    trainings = [line for line in lines.splitlines() if "ser_tf.train" in line]
    learnt = [line.split("--extra ")[1].split(";")[0] for line in trainings]
    nemo, emospeech = extra.split()
    assert learnt == [emospeech, nemo]
