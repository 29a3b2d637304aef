"""The wav2vec 2.0 row: the same numbers as ``transformers``, published weights, fine-tuning."""

import csv
import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import ROOT
from safetensors.numpy import load_file, save_file
from wav2vec2_reference import SAMPLES, VARIANTS, waveform

from export.convert import to_tflite
from ser_tf.config import Config, ModelConfig, TrainConfig
from ser_tf.corpora import load_corpus
from ser_tf.emotions import EMOTIONS
from ser_tf.runs import Run
from ser_tf.splits import make_split
from ser_tf.systems import SYSTEMS, neural, wav2vec2
from ser_tf.systems.wav2vec2 import checkpoint, layers, network
from ser_tf.systems.wav2vec2.architecture import Architecture, CheckpointError
from ser_tf.systems.wav2vec2.layers import TimeMasks

DATA = ROOT / "tests" / "data"
TINY = DATA / "wav2vec2_tiny"
CLASSES = 8
TOLERANCE = 1e-4
HUB_NAME = "owner/name"


def features_of(found: checkpoint.Checkpoint) -> keras.Model:
    model = network.build_features(found.architecture, SAMPLES)
    found.load_into(model)
    return model


def body_of(found: checkpoint.Checkpoint, classes: int = CLASSES) -> keras.Model:
    model = network.build_body(found.architecture, found.architecture.frames(SAMPLES), classes)
    found.load_into(model)
    return model


def halves(source: Path) -> tuple[keras.Model, keras.Model]:
    """Feature encoder and body with a checkpoint's weights."""
    found = checkpoint.locate(str(source), "unused")
    return features_of(found), body_of(found)


@pytest.fixture(scope="module")
def tiny_halves() -> tuple[keras.Model, keras.Model]:
    return halves(TINY)


def weights(source: Path, tiny_halves: tuple[keras.Model, keras.Model]) -> list[np.ndarray]:
    """What becomes of all weights when those of another tiny checkpoint are loaded."""
    found = checkpoint.locate(str(source), "unused")
    loaded = []
    for model in tiny_halves:
        before = model.get_weights()
        model.set_weights([np.zeros_like(value) for value in before])
        found.load_into(model)
        loaded += model.get_weights()
        model.set_weights(before)
    return loaded


def outputs(model: keras.Model, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """What each layer of a model gives."""
    looking = keras.Model(model.input, {layer.name: layer.output for layer in model.layers})
    return {name: np.asarray(value) for name, value in looking(inputs, training=False).items()}


def assert_same_at_every_layer(folder: Path) -> None:
    features, body = halves(folder)
    found = outputs(features, waveform())
    found |= outputs(body, np.asarray(features(waveform())))
    with np.load(folder / "outputs.npz", allow_pickle=False) as reference:
        names = [name for name in reference.files if name != "versions"]
        assert {"normalised", "feature_projection", "encoder.layers.1", "classifier"} < set(names)
        for name in names:
            expected = reference[name]
            part = found[name][:, : expected.shape[1]]
            np.testing.assert_allclose(part, expected, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layer_gives_what_transformers_gives(variant: str) -> None:
    assert_same_at_every_layer(DATA / f"wav2vec2_{variant}")


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layer_gives_what_the_installed_transformers_gives(
    variant: str, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from wav2vec2_reference import write

    write(tmp_path, variant)
    assert_same_at_every_layer(tmp_path)


def test_four_seconds_are_199_frames() -> None:
    assert Architecture().frames(wav2vec2.WINDOW) == 199


Tensors = dict[str, np.ndarray]


def rewritten(folder: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """A copy of the tiny checkpoint with other tensors."""
    folder.mkdir()
    shutil.copy(TINY / "config.json", folder)
    save_file(change(load_file(TINY / "model.safetensors")), folder / "model.safetensors")
    return folder


def reconfigured(folder: Path, **values: object) -> Path:
    """A copy of the tiny checkpoint with another config.json."""
    folder.mkdir()
    shutil.copy(TINY / "model.safetensors", folder)
    config = json.loads((TINY / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def respelt(tensors: Tensors) -> Tensors:
    names = {
        "conv.weight_g": "conv.parametrizations.weight.original0",
        "conv.weight_v": "conv.parametrizations.weight.original1",
    }

    def spelt(key: str) -> str:
        for old, new in names.items():
            key = key.replace(old, new)
        return key

    return {spelt(key): value for key, value in tensors.items()}


def folded(tensors: Tensors) -> Tensors:
    place = "wav2vec2.encoder.pos_conv_embed.conv."
    scale, direction = tensors.pop(place + "weight_g"), tensors.pop(place + "weight_v")
    length = np.linalg.norm(direction.reshape(-1, direction.shape[2]), axis=0)
    return {**tensors, place + "weight": scale * direction / length}


def half(tensors: Tensors) -> Tensors:
    return {key: value.astype("float16") for key, value in tensors.items()}


@pytest.mark.parametrize("change", [respelt, folded, half])
def test_every_spelling_and_precision_is_read(
    tmp_path: Path,
    tiny_halves: tuple[keras.Model, keras.Model],
    change: Callable[[Tensors], Tensors],
) -> None:
    expected = weights(TINY, tiny_halves)
    found = weights(rewritten(tmp_path / "respelt", change), tiny_halves)
    for value, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, value, atol=2e-3 if change is half else 1e-6)


def inner(tensors: Tensors) -> Tensors:
    return {key: value for key, value in tensors.items() if key.startswith("wav2vec2.")}


def bare(tensors: Tensors) -> Tensors:
    return {key.removeprefix("wav2vec2."): value for key, value in inner(tensors).items()}


def pretraining(tensors: Tensors) -> Tensors:
    return {**inner(tensors), "quantizer.codevectors": np.zeros((1, 4, 2), "float32")}


@pytest.mark.parametrize("change", [bare, pretraining])
def test_a_checkpoint_without_a_head_gives_all_but_the_head(
    tmp_path: Path,
    tiny_halves: tuple[keras.Model, keras.Model],
    change: Callable[[Tensors], Tensors],
) -> None:
    expected = weights(TINY, tiny_halves)
    found = weights(rewritten(tmp_path / "headless", change), tiny_halves)
    same = [np.array_equal(*pair) for pair in zip(expected, found, strict=True)]
    in_head = ["projector" in v.path or "classifier" in v.path for v in tiny_halves[1].weights]
    assert same == [True] * len(tiny_halves[0].weights) + [not head for head in in_head]


def test_a_head_of_another_number_of_classes_is_new() -> None:
    body = body_of(checkpoint.locate(str(TINY), "unused"), classes=3)
    assert body.output_shape == (None, 3)


def test_a_file_beside_its_config_is_what_its_folder_is() -> None:
    file = checkpoint.locate(str(TINY / "model.safetensors"), "unused")
    assert file == checkpoint.locate(str(TINY), "unused")


def without_a_block(folder: Path) -> Path:
    def change(tensors: Tensors) -> Tensors:
        return {key: value for key, value in tensors.items() if "encoder.layers.1." not in key}

    return rewritten(folder, change)


def hubert(folder: Path) -> Path:
    def change(tensors: Tensors) -> Tensors:
        return {key.replace("wav2vec2.", "hubert."): value for key, value in tensors.items()}

    return rewritten(folder, change)


def not_a_number(folder: Path) -> Path:
    def change(tensors: Tensors) -> Tensors:
        tensors["wav2vec2.encoder.layer_norm.bias"][3] = np.nan
        return tensors

    return rewritten(folder, change)


def of_another_type(folder: Path) -> Path:
    def change(tensors: Tensors) -> Tensors:
        return {key: value.astype("int32") for key, value in tensors.items()}

    return rewritten(folder, change)


def truncated(folder: Path) -> Path:
    rewritten(folder, lambda tensors: tensors)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1000])
    return folder


def a_page_instead(folder: Path) -> Path:
    rewritten(folder, lambda tensors: tensors)
    (folder / "model.safetensors").write_bytes(b"<html>come back later</html>")
    return folder


def pickled(folder: Path) -> Path:
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    return folder


def pickled_file(folder: Path) -> Path:
    return pickled(folder) / "pytorch_model.bin"


def pickle_in_disguise(folder: Path) -> Path:
    rewritten(folder, lambda tensors: tensors)
    (folder / "model.safetensors").write_bytes(b"\x80\x02}q\x00.")
    return folder


def without_config(folder: Path) -> Path:
    rewritten(folder, lambda tensors: tensors)
    (folder / "config.json").unlink()
    return folder


def file_without_config(folder: Path) -> Path:
    return without_config(folder) / "model.safetensors"


def config_of_something_else(folder: Path) -> Path:
    rewritten(folder, lambda tensors: tensors)
    (folder / "config.json").write_text('["a", "list"]')
    return folder


def half_a_config(folder: Path) -> Path:
    rewritten(folder, lambda tensors: tensors)
    (folder / "config.json").write_text('{"model_type": "wav2')
    return folder


def nothing(folder: Path) -> Path:
    return folder.with_suffix(".safetensors")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (without_a_block, "lacks 16 of 40 weights, such as encoder.layers.1"),
        (hubert, "holds no wav2vec2 network"),
        (not_a_number, "encoder.layer_norm.bias holds values that are no numbers"),
        (of_another_type, "is of type I32; save it as float32"),
        (truncated, "is not a whole safetensors file"),
        (a_page_instead, "is not a whole safetensors file"),
        (pickled, "is pickled, which can run code.*save_pretrained"),
        (pickled_file, "is pickled, which can run code.*save_pretrained"),
        (pickle_in_disguise, "is pickled"),
        (without_config, "without the config.json that belongs to it"),
        (file_without_config, r"is 8×1×10, not 512×1×10 as wav2vec2-base \(there is no config"),
        (config_of_something_else, "is not the config.json of a checkpoint"),
        (half_a_config, "is not JSON"),
        (nothing, "is no file, no folder and no name"),
        (lambda folder: reconfigured(folder, model_type="hubert"), "model_type is 'hubert'"),
        (lambda folder: reconfigured(folder, add_adapter=True), "add_adapter is True"),
        (lambda folder: reconfigured(folder, hidden_act="relu"), "hidden_act is 'relu'"),
        (lambda folder: reconfigured(folder, hidden_size="16"), "hidden_size is '16'"),
        (lambda folder: reconfigured(folder, hidden_size=17), "no multiple of num_attention_heads"),
        (lambda folder: reconfigured(folder, hidden_size=32), "32"),
        (lambda folder: reconfigured(folder, conv_stride=[5, 2]), "differ in length"),
        (lambda folder: reconfigured(folder, feat_extract_norm="x"), "feat_extract_norm is 'x'"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    tmp_path: Path, make: Callable[[Path], Path], words: str
) -> None:
    source = make(tmp_path / "made")
    with pytest.raises(CheckpointError, match=words) as error:
        halves(source)
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)


def test_frames_are_hidden_in_training_alone() -> None:
    layer = TimeMasks(masks=2, length=10, seed=0)
    frames = np.random.default_rng(0).normal(size=(3, 199, 4)).astype("float32")
    np.testing.assert_array_equal(layer(frames), frames)
    hidden = np.asarray(layer(frames, training=True)) != frames
    rows = hidden.all(axis=2)
    assert (rows == hidden.any(axis=2)).all()
    assert all(10 <= count <= 20 for count in rows.sum(axis=1))
    assert len({tuple(row) for row in rows}) == 3


def whole(source: Path) -> keras.Model:
    features, body = halves(source)
    inputs = keras.Input((SAMPLES,), name="waveform")
    return keras.Model(inputs, keras.layers.Softmax()(body(features(inputs))))


def test_it_is_saved_and_exported_with_builtin_operations(tmp_path: Path) -> None:
    from tflite_runtime.interpreter import Interpreter

    model = whole(TINY)
    expected = np.asarray(model(waveform(), training=False))
    model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(model(waveform(), training=False), expected)

    interpreter = Interpreter(model_content=to_tflite(model))
    interpreter.allocate_tensors()
    for clip, answer in zip(waveform(), expected, strict=True):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], clip[None])
        interpreter.invoke()
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_allclose(found[0], answer, atol=1e-6)


def test_a_saved_model_is_loaded_where_no_layer_was_imported_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = whole(TINY)
    model.save(tmp_path / "model.keras")
    known = keras.saving.get_custom_objects()
    for name, layer in list(known.items()):
        if layer.__module__ == layers.__name__:
            monkeypatch.delitem(known, name)
    monkeypatch.delitem(sys.modules, layers.__name__)
    monkeypatch.setattr(wav2vec2, "layers", layers)
    loaded = neural.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded(waveform(), training=False), model(waveform(), training=False)
    )


def write_random(folder: Path, architecture: Architecture) -> Path:
    """A checkpoint with random weights."""
    keras.utils.set_random_seed(0)
    features = network.build_features(architecture, SAMPLES)
    body = network.build_body(architecture, architecture.frames(SAMPLES), CLASSES)
    named = [*checkpoint.named_weights(features), *checkpoint.named_weights(body)]
    folder.mkdir()
    tensors = {key: np.ascontiguousarray(np.asarray(variable).T) for key, variable in named}
    save_file(tensors, folder / "model.safetensors")
    config = dataclasses.asdict(architecture) | {"model_type": "wav2vec2"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_fine_tuning_learns_and_leaves_the_feature_encoder_as_it_was(
    generated_corpus: Path, tmp_path: Path
) -> None:

    small = Architecture(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        feat_proj_dropout=0.0,
        apply_spec_augment=False,
        classifier_proj_size=32,
    )
    source = write_random(tmp_path / "published", small)
    config = dataclasses.replace(
        Config(data=str(generated_corpus)),
        model=ModelConfig(name="wav2vec2", weights=str(source)),
        train=TrainConfig(epochs=10, batch_size=8, learning_rate=3e-3, label_smoothing=0.0),
    )
    run = Run.create(tmp_path / "run")
    config.write(run.config)
    split = make_split(load_corpus(config.data), "all", validation=0.2)
    path = neural.train(
        SYSTEMS["wav2vec2"], config, run, split, labels=EMOTIONS, cache=str(tmp_path / "cache")
    )
    with run.history.open(newline="") as file:
        first, *_, last = csv.DictReader(file)
    assert float(last["loss"]) < float(first["loss"]) - 0.3
    assert float(last["accuracy"]) > 2 / CLASSES

    model: Any = neural.load(path)
    features, body = halves(source)
    learnt = model.get_layer("feature_encoder")
    for weight, published in zip(learnt.weights, features.weights, strict=True):
        np.testing.assert_array_equal(weight, published)
    kernel, published = (
        np.asarray(network.get_layer("encoder.layers.0").q_proj.kernel)
        for network in (model.get_layer("wav2vec2"), body)
    )
    assert np.abs(kernel - published).max() > 1e-3
