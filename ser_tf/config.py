"""Every number a training run depends on, in one place.

The constants describe what a model hears; the dataclasses describe one run. A run reads its
settings from the defaults here, then from a TOML file, then from the command line, and writes the
result back as ``config.toml`` so that the run can be repeated from its folder alone.
"""

import dataclasses
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from edge.audio import SAMPLE_RATE

FRAME_LENGTH = 512  # samples in one FFT: 32 ms
WINDOW_LENGTH = 400  # samples under the Hann window, centred in the frame: 25 ms
HOP_LENGTH = 256  # samples between frames: 16 ms
N_FRAMES = 224  # frames a model sees at once
N_SAMPLES = FRAME_LENGTH + (N_FRAMES - 1) * HOP_LENGTH  # 57,600 samples: 3.6 s

N_MELS = 64
F_MIN = 20.0  # Hz
F_MAX = SAMPLE_RATE / 2  # Hz

# Pitch is looked for in longer frames, which tell the harmonics of a low voice apart.
PITCH_FRAME_LENGTH = 4 * HOP_LENGTH  # 1,024 samples under a Hann window: 64 ms
N_HARMONIC_BINS = 96  # of its spectrum, 15.6 Hz each: up to 1,500 Hz

OPTIMIZERS = ("muon", "adamw")


class ConfigError(Exception):
    """A setting that cannot be used; the message is one line that names it."""


@dataclass(frozen=True)
class FrontendConfig:
    """What is computed from a waveform before the trained layers.

    Attributes:
        n_mfcc: Cepstral coefficients kept. As many as mel bands keeps all a log-mel picture has.
        floor_db: Level below which a mel band counts as silent, in dB re one.
        deltas: Of how many coefficients, from the lowest, Δ and ΔΔ stand beside them.
        pitch: Whether the salience of fundamental frequencies and a pitch track stand beside them.
        whitening: How far features are brought to the same deviation: 0 leaves them as they are to
            one another, 1 makes all alike.
        speeds: Playing speeds whose answers are averaged in the exported graph. The trained layers
            run once for each.
    """

    n_mfcc: int = N_MELS
    floor_db: float = -80.0
    deltas: int = 24
    pitch: bool = True
    whitening: float = 0.5
    speeds: tuple[float, ...] = (0.94, 1.0, 1.06)


@dataclass(frozen=True)
class AugmentConfig:
    """What is changed in a training recording, and how far. Zero switches a change off.

    Attributes:
        speed: Largest relative change of playing speed; pitch and formants move with it.
        stretch: Largest relative change of tempo that leaves pitch where it is.
        gain_db: Standard deviation of the level change, dB.
        shift: Largest shift of the window against the voice, seconds.
        noise_probability: Share of recordings that get noise: coloured, or other voices.
        noise_snr_db: Lowest and highest signal-to-noise ratio of that noise, dB.
        echo_probability: Share of recordings that get the tail of a room.
        narrow_probability: Share of recordings cut to a narrow band, as by a telephone.
        equaliser_db: Standard deviation of the random frequency response, dB.
        time_masks: Number of SpecAugment time masks.
        time_mask_frames: Largest width of one, frames.
        frequency_masks: Number of SpecAugment frequency masks.
        frequency_mask_bands: Largest width of one, mel bands.
        mixup: Parameter of mixup's beta distribution.
    """

    speed: float = 0.06
    stretch: float = 0.08
    gain_db: float = 5.0
    shift: float = 0.3
    noise_probability: float = 0.35
    noise_snr_db: tuple[float, float] = (0.0, 35.0)
    echo_probability: float = 0.1
    narrow_probability: float = 0.1
    equaliser_db: float = 2.0
    time_masks: int = 1
    time_mask_frames: int = 16
    frequency_masks: int = 1
    frequency_mask_bands: int = 6
    mixup: float = 0.15


@dataclass(frozen=True)
class ModelConfig:
    """The trained layers.

    Attributes:
        name: Key in the registry of :mod:`ser_tf.systems`. The settings below but ``weights`` are
            those of ``cnn``; the others have theirs in the registry's modules.
        weights: Published weights to start from, of the systems that start from some: a file, a
            folder, or their name on the hub they come from.
        stem: Channels after the first convolution, which halves the frame rate.
        blocks: Channels of each residual block; each halves the frame rate.
        channel_dropout: Share of features, and of each block's channels, dropped over all frames.
        dropout: Share dropped before the answer.
    """

    name: str = "cnn"
    weights: str = ""
    stem: int = 128
    blocks: tuple[int, ...] = (128, 160, 192)
    channel_dropout: float = 0.05
    dropout: float = 0.3


@dataclass(frozen=True)
class TrainConfig:
    """How the layers are trained.

    Attributes:
        epochs: Passes over the training recordings.
        batch_size: Recordings a step.
        seed: Decides initial weights, order, augmentation and dropout.
        optimizer: Of our own model: ``muon`` for the kernels of its convolutions and AdamW for all
            else, or ``adamw`` for all.
        learning_rate: Peak of the cosine schedule.
        warmup: Share of all steps in which the rate rises linearly to its peak.
        weight_decay: How much weights shrink a step, as a share of the rate.
        label_smoothing: Share of a label given to all classes alike.
        class_weight: Exponent on inverse class frequency: 0 none, 0.5 square root, 1 full.
        averaging: Span of the exponential average of the weights, as a share of all steps; 0
            switches it off.
        extra_share: Share of every batch that comes from further corpora, as much from each.
        validation: Share of the training side held out to watch, and to fit the temperature on.
        temperature: What logits are divided by where nothing is held out to fit that on.
        teachers: Trained ``.keras`` models whose answers are learnt from beside the labels.
        teaching: Share of the teachers in the loss.
        strategy: ``one`` device or ``mirrored`` over all GPUs.
        mixed_precision: Compute in bfloat16 with float32 weights.
    """

    epochs: int = 100
    batch_size: int = 64
    seed: int = 0
    optimizer: str = "muon"
    learning_rate: float = 5e-3
    warmup: float = 0.05
    weight_decay: float = 0.5
    label_smoothing: float = 0.05
    class_weight: float = 0.5
    averaging: float = 0.045
    extra_share: float = 0.25
    validation: float = 0.1
    temperature: float = 1.0
    teachers: tuple[str, ...] = ()
    teaching: float = 0.7
    strategy: str = "one"
    mixed_precision: bool = False


@dataclass(frozen=True)
class Config:
    """One run: what it learns from and how.

    Attributes:
        data: The corpus that ``split`` deals into parts.
        extra: Further corpora, all of which are learnt from.
        drop: Emotions that are left out, of every part.
        relabel: Emotions of further corpora that are learnt under another name, ``theirs=ours``.
    """

    data: str = "synthetic"
    extra: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    relabel: tuple[str, ...] = ()
    split: str = "common"
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def to_dict(self) -> dict[str, Any]:
        """The settings as nested dictionaries of plain values."""
        return dataclasses.asdict(self)

    def write(self, path: Path) -> None:
        """Write the settings as TOML."""
        path.write_text(tomli_w.dumps(self.to_dict()), encoding="utf-8")


def read_config(path: Path, base: Config | None = None) -> Config:
    """Read a TOML file; what it does not name stays as in ``base``.

    Raises:
        ConfigError: The file cannot be read, or names a setting that does not exist or has the
            wrong type.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML: {error}") from None
    return updated(base or Config(), modernised(values), str(path))


def modernised(values: dict[str, Any]) -> dict[str, Any]:
    """Settings of an earlier version's run as this version calls them.

    Before ``channel_dropout`` was a setting it was a tenth; what a run has written names ``data``
    and all others. Those from before pitch was heard are known by ``deltas``, which was true or
    false: all coefficients had deltas, or none.
    """
    model = values.get("model")
    if "data" in values and isinstance(model, dict) and "blocks" in model:
        values = {**values, "model": {"channel_dropout": 0.1, **model}}
    frontend, train = values.get("frontend", {}), values.get("train", {})
    if not isinstance(frontend.get("deltas"), bool):
        return values
    frontend = {"pitch": False, **frontend, "deltas": N_MELS if frontend["deltas"] else 0}
    return {**values, "frontend": frontend, "train": {"optimizer": "adamw", **train}}


def updated(config: Any, values: dict[str, Any], where: str) -> Any:
    """A copy of a (nested) config dataclass with the given values in place.

    Raises:
        ConfigError: A value's name or type does not fit.
    """
    hints = typing.get_type_hints(type(config))
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            known = ", ".join(hints)
            raise ConfigError(f"{where}: no setting is called {name!r}; there are: {known}")
        current = getattr(config, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: {name} is a table, [{name}], not a single value")
            changes[name] = updated(current, value, f"{where} [{name}]")
        else:
            changes[name] = _checked(name, value, hints[name], where)
    return dataclasses.replace(config, **changes)


def _checked(name: str, value: Any, hint: Any, where: str) -> Any:
    if isinstance(hint, types.GenericAlias):
        item, *rest = typing.get_args(hint)
        fixed = None if rest == [Ellipsis] else 1 + len(rest)
        if not isinstance(value, list | tuple) or fixed not in (None, len(value)):
            count = "a list" if fixed is None else f"a list of {fixed}"
            raise ConfigError(f"{where}: {name} must be {count}, not {value!r}")
        return tuple(_checked(name, entry, item, where) for entry in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: {name} must be {hint.__name__}, not {value!r}")
    return value
