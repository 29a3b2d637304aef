"""What ``export.convert`` hands out, and when it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.classifier import RUNTIMES, EmotionClassifier
from export import convert
from ser_tf import models
from ser_tf.emotions import EMOTIONS


@pytest.fixture(scope="module")
def exported(tiny_run: Path) -> Path:
    assert convert.main([str(tiny_run)]) == 0
    return tiny_run / "export"


@pytest.fixture(scope="module")
def clip(tiny_run: Path) -> np.ndarray:
    waveform, _ = soundfile.read(next(tiny_run.glob("example.*")), dtype="float32")
    padded = np.zeros(57_600, "float32")
    padded[: len(waveform)] = waveform[:57_600]
    return padded


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("variant", "tolerance"), [("float32", 1e-3), ("int8", 0.1)])
def test_the_exported_file_answers_as_keras_does(
    exported: Path, clip: np.ndarray, variant: str, tolerance: float, runtime: str
) -> None:
    keras_model = models.load(exported.parent / "model.keras")
    classifier = EmotionClassifier(exported / f"ser_{variant}.tflite", runtime=runtime)
    answer = classifier.probabilities(clip)
    np.testing.assert_allclose(answer, keras_model(clip[None])[0], atol=tolerance)
    assert answer.sum() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_labels_rate_and_window_stand_in_the_file(exported: Path, variant: str) -> None:
    classifier = EmotionClassifier(exported / f"ser_{variant}.tflite")
    assert classifier.labels == EMOTIONS
    assert classifier.sample_rate == 16_000
    assert classifier.window == 57_600


def test_the_front_end_stays_float_and_the_body_is_int8(exported: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        str(exported / "ser_int8.tflite"), experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    kinds: dict[str, set[str]] = {}
    for operation in interpreter._get_ops_details():
        if operation["op_name"] != "DELEGATE":
            kind = details[operation["outputs"][0]]["dtype"].__name__
            kinds.setdefault(operation["op_name"], set()).add(kind)
    assert kinds["RFFT2D"] == {"complex64"}
    assert kinds["LOG"] == {"float32"}
    assert kinds["DEPTHWISE_CONV_2D"] == {"float32"}
    assert "int8" in kinds["CONV_2D"]
    assert kinds["SOFTMAX"] == {"float32"}


def test_int8_is_a_fraction_of_float32(exported: Path) -> None:
    report = json.loads((exported / "report.json").read_text())
    sizes = {variant["file"]: variant["bytes"] for variant in report["variants"]}
    for name, size in sizes.items():
        assert size == (exported / name).stat().st_size
    assert sizes["ser_int8.tflite"] < sizes["ser_float32.tflite"]


def test_an_export_that_disagrees_with_keras_is_refused_and_leaves_the_older_one(
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    monkeypatch.setitem(convert.LIMITS, "int8", convert.Limits(difference=0.0, agreement=1.0))
    assert convert.main([str(exported.parent)]) == 1
    assert "disagrees with Keras" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in exported.iterdir()} == before
    assert not list(exported.parent.glob(".export-*"))


def test_an_unfinished_run_is_refused(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_bytes((tiny_run / "config.toml").read_bytes())
    assert convert.main([str(tmp_path)]) == 1
    assert "finish it with --resume" in capsys.readouterr().err


def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert.main([str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_half_a_model_is_one_line(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.toml", "split.json", "model.keras"):
        (tmp_path / name).write_bytes((tiny_run / name).read_bytes())
    content = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "model.keras").write_bytes(content[: len(content) // 2])
    assert convert.main([str(tmp_path)]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "model.keras: cannot be loaded: it is not a whole .keras file" in line
    assert not (tmp_path / "export").exists()


def test_the_licences_of_all_corpora_learnt_from_stand_in_the_file() -> None:
    note = convert._license_note(["ravdess", "nemo", "emospeech", "mine"])
    assert all(name in note for name in ("RAVDESS", "nEMO", "EmoSpeech"))
    assert note.endswith(convert.OTHER_LICENSE_NOTE)
