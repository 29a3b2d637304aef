"""The released file in MediaPipe Tasks, with the real package in an environment of its own."""

import json
import subprocess
import venv
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from edge import audio
from edge.classifier import EmotionClassifier
from ser_tf.corpora import synthetic

pytestmark = pytest.mark.slow  # fetches MediaPipe, 200 MB with what it needs

MEDIAPIPE = "mediapipe==1.2.2"
# The 8-bit kernels of tflite-runtime 2.14 round otherwise than those of LiteRT and MediaPipe.
NEAR = (
    ("ser.tflite", "ai_edge_litert", 1e-3),
    ("ser.tflite", "tflite_runtime", 0.01),
    ("ser_float32.tflite", "ai_edge_litert", 1e-3),
    ("ser_float32.tflite", "tflite_runtime", 1e-3),
)

# Prints [[label, score], ...] for each waveform float32[window] that is stored in a file.
CLASSIFY = """
import json, sys
import numpy as np
from mediapipe.tasks import python
from mediapipe.tasks.python import audio
from mediapipe.tasks.python.components import containers

base = python.BaseOptions(model_asset_path=sys.argv[1])
with audio.AudioClassifier.create_from_options(audio.AudioClassifierOptions(base)) as classifier:
    for waveform in np.load(sys.argv[2]):
        clip = containers.AudioData.create_from_array(waveform, sample_rate=16_000)
        (answer,) = classifier.classify(clip)
        (head,) = answer.classifications
        print(json.dumps([[c.category_name, c.score] for c in head.categories]))
"""


@pytest.fixture(scope="module")
def mediapipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has MediaPipe."""
    folder = tmp_path_factory.mktemp("mediapipe") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    installed = subprocess.run([*pip, MEDIAPIPE], capture_output=True, text=True, timeout=900)
    if installed.returncode:
        pytest.skip(f"pip cannot install {MEDIAPIPE}: {installed.stderr.strip().splitlines()[-1]}")
    return python


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """float32[8, window]: a generated voice in each of the eight emotions."""
    folder = tmp_path_factory.mktemp("corpus") / "voice"
    synthetic.generate(folder, speakers=1, clips=1)
    window = EmotionClassifier().window
    clips = [audio.load(path) for path in sorted(folder.rglob("*.wav"))]
    return np.stack([np.resize(clip, window) for clip in clips])


@pytest.mark.parametrize(("name", "runtime", "near"), NEAR)
def test_mediapipe_gives_the_same_labels_and_scores(
    name: str, runtime: str, near: float, mediapipe: Path, windows: np.ndarray, tmp_path: Path
) -> None:
    model = ROOT / "export" / name
    np.save(tmp_path / "windows.npy", windows)
    command = [str(mediapipe), "-c", CLASSIFY, str(model), str(tmp_path / "windows.npy")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    answers = [dict(json.loads(line)) for line in ran.stdout.splitlines()]
    assert len(answers) == len(windows)

    classifier = EmotionClassifier(model, runtime=runtime)
    for window, scores in zip(windows, answers, strict=True):
        expected = dict(
            zip(classifier.labels, classifier.probabilities(window).tolist(), strict=True)
        )
        assert scores == pytest.approx(expected, abs=near)
        assert max(scores, key=scores.__getitem__) == max(expected, key=expected.__getitem__)
