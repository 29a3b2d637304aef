"""Fixtures shared by the tests."""

from pathlib import Path

import pytest

from ser_tf.config import AugmentConfig
from ser_tf.corpora import load_corpus
from ser_tf.splits import make_split, write_split
from tests import evaluation, stub_model

ROOT = Path(__file__).resolve().parent.parent

# A recording as it is
OFF = AugmentConfig(
    speed=0.0,
    stretch=0.0,
    gain_db=0.0,
    shift=0.0,
    noise_probability=0.0,
    echo_probability=0.0,
    narrow_probability=0.0,
    equaliser_db=0.0,
    time_masks=0,
    frequency_masks=0,
    mixup=0.0,
)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings beside the project, or a skip that says it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real recordings are not at {folder.name} beside the project")
    return folder


@pytest.fixture(scope="session")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that tells tones apart."""
    return stub_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder whose recordings the stub answers rightly, save two."""
    return evaluation.write_tones(tmp_path_factory.mktemp("corpus") / "tones")


@pytest.fixture
def run_folder(tmp_path: Path, tones: Path, stub: Path) -> Path:
    """RUN/export/ser_int8.tflite and RUN/split.json, as training on the tones leaves them."""
    folder = tmp_path / "run"
    (folder / "export").mkdir(parents=True)
    (folder / "export" / "ser_int8.tflite").write_bytes(stub.read_bytes())
    write_split(make_split(load_corpus(tones), "common"), folder / "split.json")
    return folder


TINY = """
[model]
stem = 16
blocks = [16, 16]
[train]
epochs = 4
batch_size = 16
validation = 0.2
"""


@pytest.fixture(scope="session")
def generated_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small generated corpus: eight emotions, four speakers, four clips each."""
    from ser_tf.corpora import synthetic

    folder = tmp_path_factory.mktemp("corpus") / "voices"
    synthetic.generate(folder, speakers=4, clips=4)
    return folder


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of a model that trains in seconds."""
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests keep decoded recordings."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny_run(
    tmp_path_factory: pytest.TempPathFactory,
    generated_corpus: Path,
    tiny_config: Path,
    cache: Path,
) -> Path:
    """The folder of a finished training run on the generated corpus."""
    from ser_tf.train import main

    run = tmp_path_factory.mktemp("runs") / "tiny"
    options = ["--data", str(generated_corpus), "--config", str(tiny_config), "--out", str(run)]
    assert main([*options, "--cache", str(cache)]) == 0
    return run
