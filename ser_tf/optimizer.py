"""Muon for the kernels of convolutions, AdamW for all else."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("ser_tf")
class ConvolutionMuon(keras.optimizers.Muon):
    """Steps that move every direction of a convolution's kernel alike.

    The momentum of a kernel ``(frames, in, out)``, taken as a matrix ``(frames * in, out)``, is
    brought to its nearest semi-orthogonal one by Newton-Schulz iterations (Jordan et al., 2024,
    https://kellerjordan.github.io/posts/muon/), and scaled so that rates and decay of AdamW fit
    (Liu et al., 2025, https://arxiv.org/abs/2502.16982). Keras's own class does so for dense
    layers, which here are the answer alone: that, biases, scales and the score of attention are
    moved by AdamW.
    """

    def __init__(self, learning_rate: Any, *, weight_decay: float, **kwargs: Any) -> None:
        kwargs.setdefault("adam_weight_decay", weight_decay)
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)

    def _should_use_adamw(self, variable: Any) -> bool:
        return len(variable.shape) != 3 or variable.shape[-1] == 1

    def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
        self.assign_add(m, ops.add(gradient, m * (self.momentum - 1)))
        direction = ops.add(gradient, self.momentum * m)
        matrix = ops.reshape(direction, (-1, variable.shape[-1]))
        step = self.zeropower_via_newtonschulz5(matrix, self.ns_steps)
        rate = lr * self.rms_rate * max(matrix.shape) ** 0.5
        self.assign_sub(variable, rate * ops.reshape(step, variable.shape))
