"""Metadata in a model file: standard, complete, and harmless to the model."""

import io
import zipfile

import numpy as np
import pytest
import stub_model
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types, table
from stub_model import EMOTIONS, SAMPLE_RATE, tone

from edge.classifier import RUNTIMES, EmotionClassifier
from export.metadata import embed


def described(model: bytes, labels=EMOTIONS, **changes) -> bytes:
    fields = {
        "sample_rate": SAMPLE_RATE,
        "channels": 1,
        "name": "stub",
        "description": "Tells tones apart.",
        "license_text": "Apache-2.0",
        **changes,
    }
    return embed(model, labels, **fields)


@pytest.fixture(scope="module")
def quantised() -> bytes:
    """The stub with its matrix in 8 bits, and big enough for the quantizer to put it outside."""
    from ai_edge_quantizer import qtyping, quantizer, recipe_manager

    recipe = recipe_manager.RecipeManager()
    recipe.add_weight_only_config(".*", qtyping.TFLOperationName.FULLY_CONNECTED, num_bits=8)
    tool = quantizer.Quantizer(
        stub_model.plain_model(frame=19_200), recipe.get_quantization_recipe()
    )
    return bytes(tool.quantize().quantized_model)


def metadata_of(content: bytes) -> bytes:
    """The ModelMetadata flatbuffer, read with TensorFlow's own schema."""
    model = schema.ModelT.InitFromPackedBuf(content)
    (entry,) = (entry for entry in model.metadata if entry.name == b"TFLITE_METADATA")
    return model.buffers[entry.buffer].data.tobytes()


def text(fields: table.Table, number: int) -> str:
    return fields.String(fields.Pos + fields.Offset(4 + 2 * number)).decode()


def first(fields: table.Table, number: int) -> table.Table:
    start = fields.Vector(fields.Offset(4 + 2 * number))
    return table.Table(fields.Bytes, fields.Indirect(start))


def inner(fields: table.Table, number: int) -> table.Table:
    return table.Table(fields.Bytes, fields.Indirect(fields.Pos + fields.Offset(4 + 2 * number)))


def number(fields: table.Table, slot: int, flags=number_types.Uint32Flags) -> int:
    return fields.GetSlot(4 + 2 * slot, 0, flags)


def test_what_other_readers_look_for_is_there():
    buffer = metadata_of(described(stub_model.plain_model(), version="1.2.3"))
    assert buffer[4:8] == b"M001"
    root = table.Table(buffer, int.from_bytes(buffer[:4], "little"))
    assert text(root, 0) == "stub"
    assert text(root, 1) == "Tells tones apart."
    assert text(root, 2) == "1.2.3"
    assert text(root, 5) == "Apache-2.0"
    assert text(root, 7) == "1.3.0"
    subgraph = first(root, 3)
    content = inner(first(subgraph, 2), 3)
    assert number(content, 0, number_types.Uint8Flags) == 4  # AudioProperties
    assert number(inner(content, 1), 0) == 16_000
    assert number(inner(content, 1), 1) == 1
    labels = first(first(subgraph, 3), 6)
    assert text(labels, 0) == "labels.txt"
    assert number(labels, 2, number_types.Int8Flags) == 2  # TENSOR_AXIS_LABELS


def test_the_labels_lie_uncompressed_at_the_end():
    content = described(stub_model.plain_model())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (member,) = archive.infolist()
        assert (member.filename, member.compress_type) == ("labels.txt", zipfile.ZIP_STORED)
        assert archive.read(member).decode().split("\n") == list(EMOTIONS)
        assert member.date_time == (1980, 1, 1, 0, 0, 0)  # the same file on every day


def test_the_model_keeps_what_its_converter_noted():
    model = schema.ModelT.InitFromPackedBuf(described(stub_model.plain_model()))
    names = {entry.name for entry in model.metadata}
    assert {b"min_runtime_version", b"CONVERSION_METADATA"} <= names
    assert model.signatureDefs is None or model.signatureDefs


def test_the_same_arguments_give_the_same_file():
    assert described(stub_model.plain_model()) == described(stub_model.plain_model())


def test_metadata_is_replaced_and_not_added(tmp_path):
    once = described(stub_model.plain_model(), EMOTIONS[::-1], sample_rate=8_000)
    path = tmp_path / "model.tflite"
    path.write_bytes(described(once))
    assert path.read_bytes() == described(stub_model.plain_model())
    assert EmotionClassifier(path).labels == EMOTIONS


def test_constants_are_aligned_as_the_schema_asks(quantised):
    for model in (stub_model.plain_model(), quantised):
        content = described(model)
        packed = schema.Model.GetRootAs(content)
        fields = [packed.Buffers(index)._tab for index in range(packed.BuffersLength())]
        places = [field.Vector(field.Offset(4)) for field in fields if field.Offset(4)]
        assert places
        assert {place % 16 for place in places} == {0}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_constants_behind_the_flatbuffer_are_brought_in(quantised, tmp_path, runtime):
    outside = [
        buffer for buffer in schema.ModelT.InitFromPackedBuf(quantised).buffers if buffer.offset > 1
    ]
    assert outside, "the quantizer has changed its ways"
    content = described(quantised)
    inside = schema.ModelT.InitFromPackedBuf(content).buffers
    assert all(buffer.offset == buffer.size == 0 for buffer in inside)

    path = tmp_path / "int8.tflite"
    path.write_bytes(content)
    for emotion in EMOTIONS:
        assert EmotionClassifier(path, runtime=runtime).predict(tone(emotion, 2)).emotion == emotion


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_model_answers_as_before(tmp_path, runtime):
    interpreter_class = pytest.importorskip(f"{runtime}.interpreter").Interpreter
    plain = interpreter_class(model_content=stub_model.plain_model())
    plain.allocate_tensors()
    waveform = tone("sad", 3.6) + tone("angry", 3.6, level=0.1)
    plain.set_tensor(plain.get_input_details()[0]["index"], waveform[np.newaxis])
    plain.invoke()
    expected = plain.get_tensor(plain.get_output_details()[0]["index"])[0]
    answer = EmotionClassifier(stub_model.write(tmp_path), runtime=runtime).probabilities(waveform)
    np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize(
    "labels",
    [EMOTIONS[:7], (*EMOTIONS, "bored"), (*EMOTIONS[:7], "neutral"), (*EMOTIONS[:7], "a\nb")],
)
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ValueError, match="labels"):
        described(stub_model.plain_model(), labels)


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match="not a TFLite model"):
        described(b"RIFFxxxxWAVE")
