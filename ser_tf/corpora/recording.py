"""One labelled recording, whatever corpus it comes from."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Recording:
    """A file on disk and what is known about it.

    Attributes:
        path: The audio file.
        emotion: One of the corpus's labels (for RAVDESS, of :data:`ser_tf.emotions.EMOTIONS`).
        speaker: Who is heard. Unique within its corpus; recordings of one speaker never stand on
            both sides of an ``actors`` split. Empty where a corpus does not say.
        name: What the recording is called in split files and metrics, without the file's ending,
            so that a WAV and a FLAC copy share one name: for RAVDESS the file's own name, elsewhere
            its path below the corpus, with ``/``.
        traits: Further facts for slicing results, such as ``channel``, ``gender``, ``intensity``.
    """

    path: Path
    emotion: str
    speaker: str
    name: str
    traits: dict[str, str] = field(default_factory=dict)
