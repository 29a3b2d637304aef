"""Writes what ``transformers`` says of a tiny wav2vec 2.0 network with random weights.

``python tests/wav2vec2_reference.py`` makes ``tests/data/wav2vec2_*`` anew, which test_wav2vec2.py
compares with. It needs torch and transformers, which the project does not:
``pip install torch transformers``. The weights are random numbers.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "conv_dim": [8, 8, 8, 8, 8, 8, 8],
    "num_conv_pos_embeddings": 12,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 12,
    "vocab_size": 32,
    "num_labels": 8,
}
VARIANTS: dict[str, dict[str, object]] = {
    "tiny": {},  # as wav2vec2-base
    "tiny_stable": {  # as wav2vec2-large-xlsr
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "conv_bias": True,
    },
}
SAMPLES = 8_000


def waveform() -> np.ndarray:
    """Half a second of falling tone in noise at 16 kHz, not centred: float32 ``(2, 8000)``."""
    time = np.arange(SAMPLES) / 16_000
    noise = np.random.default_rng(0).normal(size=(2, SAMPLES))
    tone = np.sin(2 * np.pi * (300 - 200 * time) * time)
    return (0.1 + 0.3 * tone * np.array([[1.0], [0.2]]) + 0.05 * noise).astype("float32")


def write(folder: Path, variant: str) -> None:
    """Write a variant's ``config.json``, ``model.safetensors`` and ``outputs.npz``."""
    import torch
    import transformers
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForSequenceClassification,
    )

    torch.manual_seed(1)
    torch.set_num_threads(1)
    config = Wav2Vec2Config(**{**TINY, **VARIANTS[variant]})
    model = Wav2Vec2ForSequenceClassification(config).eval()
    with torch.no_grad():  # away from zeros and ones, which hide mistakes
        for weight in model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "model.safetensors").chmod(0o644)
    outputs: dict[str, np.ndarray] = {}

    def keep(name: str, module: torch.nn.Module) -> None:
        def hook(_: object, __: object, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            outputs[name] = tensor.numpy()

        module.register_forward_hook(hook)

    inner = model.wav2vec2
    for number, convolution in enumerate(inner.feature_extractor.conv_layers):
        keep(f"feature_extractor.conv_layers.{number}", convolution)
    keep("feature_projection", inner.feature_projection)
    keep("encoder.pos_conv_embed.conv", inner.encoder.pos_conv_embed)
    for number, block in enumerate(inner.encoder.layers):
        keep(f"encoder.layers.{number}", block)
    keep("encoder.layer_norm", inner.encoder.layer_norm)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    values = extractor(list(waveform()), sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        outputs["classifier"] = model(values).logits.numpy()
    outputs["normalised"] = values.numpy()[:, :200]
    for number in range(len(config.conv_dim)):  # (batch, channels, steps) in torch
        name = f"feature_extractor.conv_layers.{number}"
        outputs[name] = outputs[name].transpose(0, 2, 1)[:, :24]
    np.savez_compressed(
        folder / "outputs.npz",
        versions=np.array(f"transformers {transformers.__version__}, torch {torch.__version__}"),
        **outputs,
    )


if __name__ == "__main__":
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data"
    for name in VARIANTS:
        write(data / f"wav2vec2_{name}", name)
