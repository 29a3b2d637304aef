"""What a wav2vec 2.0 checkpoint is made of, as its ``config.json`` says."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of config.json: what has to be so, because nothing else is built here.
FIXED = {
    "model_type": "wav2vec2",
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "add_adapter": False,
    "adapter_attn_dim": None,
    "use_weighted_layer_sum": False,
    "mask_feature_prob": 0.0,
}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message is one line that names it."""


@dataclass(frozen=True)
class Architecture:
    """The numbers of a network, named as in ``config.json``; by default those of wav2vec2-base.

    Attributes:
        hidden_size: Channels of the transformer.
        num_hidden_layers: Its blocks.
        num_attention_heads: Heads of each.
        intermediate_size: Channels within a block's feed-forward part.
        conv_dim: Channels of each convolution of the feature encoder.
        conv_kernel: Steps under each kernel.
        conv_stride: Steps between outputs of each.
        conv_bias: Whether they have a bias.
        feat_extract_norm: ``group``: one normalisation over time, after the first convolution;
            ``layer``: one over channels after each.
        do_stable_layer_norm: Normalise before attention and feed-forward parts, not after them.
        num_conv_pos_embeddings: Steps under the positional convolution.
        num_conv_pos_embedding_groups: Its groups.
        layer_norm_eps: Added to the variance in the transformer's normalisations.
        hidden_dropout: Share dropped after attention and feed-forward parts.
        activation_dropout: Within the feed-forward part.
        attention_dropout: Of the attention weights.
        feat_proj_dropout: After the feature projection.
        layerdrop: Share of training steps that leave out a block.
        mask_time_prob: About the share of frames hidden from the transformer in training.
        mask_time_length: Frames hidden in a row.
        mask_time_min_masks: Rows hidden at least.
        apply_spec_augment: Whether any are.
        classifier_proj_size: Channels between the mean over time and the answer.
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_norm: str = "group"
    do_stable_layer_norm: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    layer_norm_eps: float = 1e-5
    hidden_dropout: float = 0.1
    activation_dropout: float = 0.0
    attention_dropout: float = 0.1
    feat_proj_dropout: float = 0.1
    layerdrop: float = 0.0
    mask_time_prob: float = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    apply_spec_augment: bool = True
    classifier_proj_size: int = 256

    def frames(self, samples: int) -> int:
        """Frames that the feature encoder makes of a number of samples: 199 of 64,000 in base."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    def masks(self, frames: int) -> int:
        """Rows of frames that are hidden in a training step, of a number of frames."""
        if not (self.apply_spec_augment and self.mask_time_prob):
            return 0
        rows = round(self.mask_time_prob * frames / self.mask_time_length)
        return min(max(rows, self.mask_time_min_masks), frames // self.mask_time_length)


def read_architecture(path: Path) -> Architecture:
    """What a checkpoint's ``config.json`` says.

    Raises:
        CheckpointError: It cannot be read, or describes another kind of network.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: is not JSON ({error}); fetch it again") from None
    if not isinstance(values, dict) or "model_type" not in values:
        raise CheckpointError(f"{path}: is not the config.json of a checkpoint (no model_type)")
    for name, fixed in FIXED.items():
        found = values.get(name, fixed)
        if found != fixed:
            raise CheckpointError(
                f"{path}: {name} is {found!r}, and only {fixed!r} can be built here;"
                " choose another checkpoint"
            )
    fields = dataclasses.fields(Architecture)
    changes = {
        field.name: _checked(path, field.name, values[field.name], field.default)
        for field in fields
        if field.name in values
    }
    architecture = Architecture(**changes)
    _check(path, architecture)
    return architecture


def _checked(path: Path, name: str, value: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        good = isinstance(value, list) and all(type(n) is int and n > 0 for n in value)
        value = tuple(value) if good else value
    elif isinstance(default, float):
        good = type(value) in (int, float) and 0 <= value < 1
    elif isinstance(default, bool | str):
        good = type(value) is type(default)
    else:
        good = type(value) is int and value >= 0
    if not good:
        raise CheckpointError(f"{path}: {name} is {value!r}, which no wav2vec2 network has")
    return value


def _check(path: Path, found: Architecture) -> None:
    encoder = (found.conv_dim, found.conv_kernel, found.conv_stride)
    if not len({len(numbers) for numbers in encoder}) == 1:
        raise CheckpointError(f"{path}: conv_dim, conv_kernel and conv_stride differ in length")
    if found.feat_extract_norm not in ("group", "layer"):
        raise CheckpointError(f"{path}: feat_extract_norm is {found.feat_extract_norm!r}")
    for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
        parts = getattr(found, name)
        if not parts or found.hidden_size % parts:
            raise CheckpointError(
                f"{path}: hidden_size {found.hidden_size} is no multiple of {name} {parts}"
            )
