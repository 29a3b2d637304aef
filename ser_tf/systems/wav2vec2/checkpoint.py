"""Published weights: where they are found, and how they get into the layers.

Safetensors alone: ``pytorch_model.bin`` is a pickle, which runs whatever code it holds.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError, safe_open

from ser_tf.systems.wav2vec2.architecture import (
    Architecture,
    CheckpointError,
    read_architecture,
)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
NONE = "none"
HUB_NAME = re.compile(r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w./-]+))?")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
PREFIX = "wav2vec2."
# In a checkpoint or not: what fine-tuning begins anew otherwise, or uses in training alone.
OPTIONAL = ("masked_spec_embed", "projector.", "classifier.")
NORM_SPELLINGS = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)
POSITIONAL = "encoder.pos_conv_embed.conv."
IN_KERAS = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}


@dataclass(frozen=True)
class Checkpoint:
    """Weights on disk, or none.

    Attributes:
        path: The safetensors file; None leaves networks as random as they were built.
        architecture: Of the network that they belong to.
    """

    path: Path | None
    architecture: Architecture

    def load_into(self, model: keras.Model) -> None:
        """Give a half of the network, as :mod:`network` builds it, its published weights.

        The head's layers are taken over where they are there in the same shape, as from a network
        fine-tuned for as many classes; else they stay new.

        Raises:
            CheckpointError: The file is damaged, or holds another network's weights.
        """
        if self.path is None:
            return
        wanted = dict(named_weights(model))
        with _opened(self.path) as file:
            try:
                tensors = _Tensors(self.path, file)
                self._check(wanted, tensors)
                for key, variable in wanted.items():
                    value = tensors.get(key)
                    if value is not None and value.shape == variable.shape:
                        variable.assign(value)
            except SafetensorError as error:
                raise _damaged(self.path, error) from None

    def _check(self, wanted: dict[str, Any], tensors: "_Tensors") -> None:
        needed = {key: v for key, v in wanted.items() if not key.startswith(OPTIONAL)}
        missing = [key for key in needed if key not in tensors]
        if missing:
            raise CheckpointError(
                f"{self.path}: holds no wav2vec2 network that fits {self._described()}: it lacks"
                f" {len(missing)} of {len(needed)} weights, such as {missing[0]}"
            )
        for key, variable in needed.items():
            shape = tensors.shape(key)
            if shape != tuple(variable.shape):
                raise CheckpointError(
                    f"{self.path}: {key} is {_by(shape[::-1])}, not {_by(variable.shape[::-1])} as"
                    f" {self._described()} says"
                )

    def _described(self) -> str:
        assert self.path
        if self.path.with_name(CONFIG).is_file():
            return f"the {CONFIG} beside it"
        return f"wav2vec2-base (there is no {CONFIG} beside it)"


def locate(source: str, cache: str) -> Checkpoint:
    """Find a checkpoint, on this machine or on the Hugging Face hub.

    Args:
        source: A ``.safetensors`` file, a folder with one and its ``config.json``, the name of a
            hub repository, ``owner/name`` or ``owner/name@revision``, or ``none``.
        cache: Folder below which fetched checkpoints are kept, in ``wav2vec2/``.

    Raises:
        CheckpointError: There is none, or it is not of a wav2vec 2.0 network.
    """
    if source == NONE:
        print("wav2vec2: random weights, which are good for trials alone", file=sys.stderr)
        return Checkpoint(None, Architecture())
    path = Path(source)
    if path.is_file():
        return _of_file(path)
    if path.is_dir():
        return _of_folder(path)
    on_hub = HUB_NAME.fullmatch(source)
    if not on_hub or path.suffix in (*PICKLES, ".safetensors"):
        raise CheckpointError(
            f"{source}: is no file, no folder and no name on the Hugging Face hub (owner/name)"
        )
    from ser_tf.systems.wav2vec2 import hub

    return _of_folder(hub.fetch(on_hub["name"], on_hub["revision"], Path(cache) / "wav2vec2"))


def _of_file(path: Path) -> Checkpoint:
    with path.open("rb") as file:
        start = file.read(4)
    if path.suffix in PICKLES or start == b"PK\x03\x04" or start[:1] == b"\x80":
        raise _pickled(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: is no .safetensors file; give one, or its folder")
    config = path.with_name(CONFIG)
    architecture = read_architecture(config) if config.is_file() else Architecture()
    with _opened(path):
        return Checkpoint(path, architecture)


def _of_folder(folder: Path) -> Checkpoint:
    if not (folder / WEIGHTS).is_file():
        for name in ("pytorch_model.bin", "pytorch_model.pt"):
            if (folder / name).is_file():
                raise _pickled(folder / name)
        raise CheckpointError(f"{folder}: holds no {WEIGHTS}")
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder}: holds {WEIGHTS} without the {CONFIG} that belongs to it")
    return _of_file(folder / WEIGHTS)


def _pickled(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path}: is pickled, which can run code when it is read, so it is not; make safetensors of"
        f" it where transformers is installed: Wav2Vec2Model.from_pretrained({str(path.parent)!r})"
        '.save_pretrained("NEW")'
    )


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: is not a whole safetensors file ({error}); fetch it again")


def named_weights(model: keras.Model) -> Iterator[tuple[str, Any]]:
    """Names in a published checkpoint and variables, of all layers that have weights there."""
    for layer in model.layers:
        for name, part in getattr(layer, "parts", {"": layer}).items():
            for attribute, published in IN_KERAS.items():
                variable = getattr(part, attribute, None)
                if variable is not None:
                    yield ".".join(filter(None, (layer.name, name, published))), variable
        if hasattr(layer, "embedding"):
            yield layer.name, layer.embedding


class _Tensors:
    """Tensors of an open file under the names of a bare network, in the order of axes of Keras.

    PyTorch's linear layers and convolutions have their axes the other way round.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self._path = path
        self._file = file
        self._keys = {key.removeprefix(PREFIX): key for key in file.keys()}  # noqa: SIM118
        self._norm = next(
            (names for names in NORM_SPELLINGS if POSITIONAL + names[0] in self._keys), None
        )

    def __contains__(self, key: str) -> bool:
        return all(part in self._keys for part in self._parts(key))

    def _parts(self, key: str) -> tuple[str, ...]:
        """What a weight is made of: of the weight-normalised one, its scale and its direction."""
        if key == POSITIONAL + "weight" and self._norm:
            return POSITIONAL + self._norm[0], POSITIONAL + self._norm[1]
        return (key,)

    def shape(self, key: str) -> tuple[int, ...]:
        """In Keras."""
        stored = self._file.get_slice(self._keys[self._parts(key)[-1]])
        return tuple(stored.get_shape())[::-1]

    def get(self, key: str) -> np.ndarray | None:
        """float32, or None where there is none."""
        if key not in self:
            return None
        values = [self._read(part) for part in self._parts(key)]
        if len(values) == 2:
            scale, direction = values
            length = np.sqrt(np.sum(np.square(direction), axis=(0, 1), keepdims=True))
            values = [scale * direction / length]
        return values[0].T

    def _read(self, part: str) -> np.ndarray:
        stored = self._file.get_slice(self._keys[part])
        if stored.get_dtype() not in ("F64", "F32", "F16"):
            raise CheckpointError(
                f"{self._path}: {part} is of type {stored.get_dtype()}; save it as float32"
            )
        value = self._file.get_tensor(self._keys[part]).astype(np.float32)
        if not np.isfinite(value).all():
            raise CheckpointError(f"{self._path}: {part} holds values that are no numbers")
        return value


def _by(shape: Any) -> str:
    return "×".join(str(size) for size in shape) or "a single number"
