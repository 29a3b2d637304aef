"""The notebooks: they run from top to bottom, and what they showed is not committed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

from edge.classifier import EmotionClassifier
from ser_tf.corpora import synthetic

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PACKAGES = ("edge", "export", "ser_tf")

Notebook = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's code in a folder to write into; its Keras model is a tiny one."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        for path in (ROOT / package).iterdir():
            if path.name != "ser.keras":
                (tmp_path / package / path.name).symlink_to(path)
    (tmp_path / "export" / "ser.keras").symlink_to(tiny_run / "model.keras")
    (tmp_path / "notebooks").mkdir()
    return tmp_path


@pytest.fixture
def executed(project: Path) -> Notebook:
    """Runs a notebook with other parameters, and returns what its code cells printed and showed."""

    def run(name: str, **parameters: Any) -> list[str]:
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        (cell,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
        for parameter, value in parameters.items():
            assert f"{parameter} = " in cell.source
            cell.source += f"\n{parameter} = {value!r}"
        resources = {"metadata": {"path": str(project / "notebooks")}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
        return [
            "".join(
                output.get("text") or output["data"]["text/plain"]
                for output in cell.outputs
                if output.get("name") != "stderr"
            )
            for cell in notebook.cells
            if cell.cell_type == "code"
        ]

    return run


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_corpus_is_explored(executed: Notebook, tmp_path: Path) -> None:
    synthetic.generate(tmp_path / "voices", speakers=2, clips=2)
    *_, pictures, medians = executed("01_explore", data=str(tmp_path / "voices"))
    assert "Image" in pictures
    assert "surprised" in medians


@pytest.mark.timeout(600)
def test_a_model_is_trained_exported_and_asked(executed: Notebook, generated_corpus: Path) -> None:
    run = str(generated_corpus.parent / "notebook-run")
    *_, answer = executed("02_train_and_export", data=str(generated_corpus), epochs=1, run=run)
    assert answer.startswith("Prediction(emotion=")
    assert Path(run, "evaluation", "metrics.json").is_file()


def test_two_models_are_compared(executed: Notebook, generated_corpus: Path, project: Path) -> None:
    executed("03_compare", data=str(generated_corpus))
    metrics = json.loads((project / "runs" / "compare" / "metrics.json").read_text())
    assert metrics["against"]["count"] == 128


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_own_clips_make_a_model_with_labels_of_their_own(
    executed: Notebook, generated_corpus: Path, project: Path
) -> None:
    options = {"voices": str(generated_corpus), "epochs": 2, "run": "runs/mine"}
    *_, said = executed("04_your_own_recordings", **options)
    assert [line.split()[0] for line in said.splitlines()] == ["angry", "angry", "bored", "happy"]
    model = project / "runs" / "mine" / "export" / "ser_int8.tflite"
    assert EmotionClassifier(model).labels == ("happy", "angry", "bored")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_that_a_notebook_showed_is_committed(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        assert set(cell["metadata"]) <= {"tags"}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}


def test_there_are_four_notebooks() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04"]
