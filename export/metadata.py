"""Standard TFLite metadata for an audio classifier, written with flatbuffers alone.

What a model takes and gives stands in the file itself, where MediaPipe, Android's task library and
:mod:`edge.classifier` look for it: a ``ModelMetadata`` flatbuffer in the buffer named
``TFLITE_METADATA``, and ``labels.txt`` in a ZIP archive behind the model. The schema is
https://github.com/google-ai-edge/mediapipe/blob/master/mediapipe/tasks/metadata/metadata_schema.fbs
and the layout of the file https://ai.google.dev/edge/litert/models/metadata.
"""

import io
import zipfile
from collections.abc import Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

LABELS_FILE = "labels.txt"
METADATA_NAME = "TFLITE_METADATA"
MIN_PARSER_VERSION = "1.3.0"  # the version of the schema that brought AudioProperties
BUFFER_ALIGNMENT = 16  # bytes; schema.fbs asks for it, the generated Python code forgets it

TENSOR_AXIS_LABELS = 2
FEATURE_PROPERTIES, AUDIO_PROPERTIES = 1, 4

# Fields in the order of the schema, which numbers them; those with a colon are scalars. Trailing
# ones that are not written here are left out.
TABLES = {
    "AssociatedFile": ("name", "description", "type:Byte"),
    "AudioProperties": ("sample_rate:Uint32", "channels:Uint32"),
    "FeatureProperties": (),
    "Content": ("content_properties_type:Uint8", "content_properties"),
    "Stats": ("max", "min"),
    "TensorMetadata": (
        *("name", "description", "dimension_names", "content"),
        *("process_units", "stats", "associated_files"),
    ),
    "SubGraphMetadata": ("name", "description", "input_tensor_metadata", "output_tensor_metadata"),
    "ModelMetadata": (
        *("name", "description", "version", "subgraph_metadata"),
        *("author", "license", "associated_files", "min_parser_version"),
    ),
}


def embed(
    model_bytes: bytes,
    labels: Sequence[str],
    sample_rate: int,
    channels: int,
    name: str,
    description: str,
    license_text: str,
    version: str = "",
) -> bytes:
    """Write metadata into a model, replacing any it has.

    Args:
        model_bytes: A ``.tflite`` file with one input, a waveform, and one output, probabilities,
            as TensorFlow's converter or ai-edge-quantizer writes it.
        labels: One for each probability, in their order.
        sample_rate: Of the waveform, in Hz.
        channels: Of the waveform.
        name: Of the model.
        description: Of the model, for people.
        license_text: Under which the model may be used.
        version: Of the model.

    Returns:
        The complete file; the same for the same arguments.

    Raises:
        ValueError: The model or the labels are not as described.
    """
    if model_bytes[4:8] != b"TFL3":
        raise ValueError("not a TFLite model")
    model = schema.ModelT.InitFromPackedBuf(model_bytes)
    _check(model, labels)
    model.buffers = [_inline(buffer, model_bytes) for buffer in model.buffers]
    metadata = _model_metadata(sample_rate, channels, name, description, license_text, version)
    _metadata_buffer(model).data = np.frombuffer(metadata, np.uint8)
    builder = flatbuffers.Builder(len(model_bytes))
    builder.Finish(model.Pack(builder), b"TFL3")

    file = io.BytesIO(bytes(builder.Output()))
    with zipfile.ZipFile(file, "a") as archive:
        # Without a date, so that the file depends on the arguments alone; and stored as it is, for
        # other readers do not inflate.
        archive.writestr(zipfile.ZipInfo(LABELS_FILE), "\n".join(labels), zipfile.ZIP_STORED)
    return file.getvalue()


class _AlignedBuffer(schema.BufferT):
    """A buffer whose data starts at a multiple of ``BUFFER_ALIGNMENT`` bytes."""

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802
        start = None
        if self.data is not None:
            data = np.asarray(self.data, np.uint8).tobytes()
            builder.StartVector(1, len(data), BUFFER_ALIGNMENT)
            builder.head -= len(data)
            builder.Bytes[builder.head : builder.head + len(data)] = data
            start = builder.EndVector()
        schema.BufferStart(builder)
        if start is not None:
            schema.BufferAddData(builder, start)
        return schema.BufferEnd(builder)


def _inline(buffer: schema.BufferT, model_bytes: bytes) -> _AlignedBuffer:
    """``buffer`` with its data inside the flatbuffer.

    ai-edge-quantizer keeps constants behind the flatbuffer and notes where (``offset``, ``size``);
    repacking moves the end, and tflite-runtime 2.14 then reads out of range.
    """
    inline = _AlignedBuffer()
    inline.data = buffer.data
    if buffer.offset > 1:  # 0 and 1 stand for data that is inside or missing
        inline.data = np.frombuffer(model_bytes, np.uint8, buffer.size, buffer.offset)
    return inline


def _check(model: schema.ModelT, labels: Sequence[str]) -> None:
    graph = model.subgraphs[0]  # the others are the bodies of its loops
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ValueError(
            f"the model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs where 1 "
            "and 1 belong"
        )
    operators = [operator for part in model.subgraphs for operator in part.operators or []]
    if any(operator.largeCustomOptionsOffset for operator in operators):
        raise ValueError("the model has custom operators with options behind the flatbuffer")
    answers = int(graph.tensors[graph.outputs[0]].shape[-1])
    if len(labels) != answers:
        raise ValueError(f"{len(labels)} labels for {answers} probabilities")
    if len(set(labels)) != len(labels) or any(
        not label.strip() or "\n" in label for label in labels
    ):
        raise ValueError(f"labels must differ, be one line each and not empty: {list(labels)}")


def _metadata_buffer(model: schema.ModelT) -> schema.BufferT:
    """The buffer that holds the model's metadata; a new one unless it has some already."""
    model.metadata = model.metadata or []
    for entry in model.metadata:
        if entry.name in (METADATA_NAME, METADATA_NAME.encode()):
            return model.buffers[entry.buffer]
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA_NAME, len(model.buffers)
    model.metadata.append(entry)
    model.buffers.append(_AlignedBuffer())
    return model.buffers[-1]


def _model_metadata(
    sample_rate: int, channels: int, name: str, description: str, license_text: str, version: str
) -> bytes:
    """The ``ModelMetadata`` flatbuffer, file identifier M001."""
    builder = flatbuffers.Builder(1024)
    text = builder.CreateString

    waveform = _table(
        builder,
        "TensorMetadata",
        name=text("waveform"),
        description=text("Samples of the recording within [-1, 1]."),
        content=_table(
            builder,
            "Content",
            content_properties_type=AUDIO_PROPERTIES,
            content_properties=_table(
                builder, "AudioProperties", sample_rate=sample_rate, channels=channels
            ),
        ),
    )
    labels_file = _table(
        builder,
        "AssociatedFile",
        name=text(LABELS_FILE),
        description=text("What each probability is that of, one a line."),
        type=TENSOR_AXIS_LABELS,
    )
    probabilities = _table(
        builder,
        "TensorMetadata",
        name=text("probabilities"),
        description=text("One for each label; their sum is 1."),
        content=_table(
            builder,
            "Content",
            content_properties_type=FEATURE_PROPERTIES,
            content_properties=_table(builder, "FeatureProperties"),
        ),
        stats=_table(
            builder,
            "Stats",
            max=builder.CreateNumpyVector(np.ones(1, np.float32)),
            min=builder.CreateNumpyVector(np.zeros(1, np.float32)),
        ),
        associated_files=_vector(builder, labels_file),
    )
    subgraph = _table(
        builder,
        "SubGraphMetadata",
        input_tensor_metadata=_vector(builder, waveform),
        output_tensor_metadata=_vector(builder, probabilities),
    )
    metadata = _table(
        builder,
        "ModelMetadata",
        name=text(name),
        description=text(description),
        version=text(version),
        subgraph_metadata=_vector(builder, subgraph),
        license=text(license_text),
        min_parser_version=text(MIN_PARSER_VERSION),
    )
    builder.Finish(metadata, b"M001")
    return bytes(builder.Output())


def _table(builder: flatbuffers.Builder, table: str, **values: int) -> int:
    """Write a table of the metadata schema: scalars by value, all else by offset."""
    fields = [field.partition(":")[::2] for field in TABLES[table]]
    builder.StartObject(len(fields))
    for number, (field, kind) in enumerate(fields):
        if field in values:
            write = getattr(builder, f"Prepend{kind or 'UOffsetTRelative'}Slot")
            write(number, values.pop(field), 0)
    if values:
        raise TypeError(f"{table} has no {', '.join(values)}")
    return builder.EndObject()


def _vector(builder: flatbuffers.Builder, *tables: int) -> int:
    builder.StartVector(4, len(tables), 4)
    for offset in reversed(tables):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
