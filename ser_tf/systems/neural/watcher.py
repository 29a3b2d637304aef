"""What watches a training: the validation part after every epoch, and what follows from it."""

import time
from typing import Any

import keras
import numpy as np
import scipy.special
import sklearn.metrics

from ser_tf.runs import Run
from ser_tf.systems.neural.material import Material
from ser_tf.systems.neural.recipe import Recipe

PREDICTION_BATCH = 64


class Kept:
    """A value that is saved and resumed with the variables of a run."""

    def __init__(self, value: Any) -> None:
        self.value = np.array(value)

    def assign(self, value: Any) -> None:
        self.value = np.array(value)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.value if dtype is None else self.value.astype(dtype)


class Watcher(keras.callbacks.Callback):
    """Measures the validation part after every epoch, and acts on it.

    It keeps the best weights, lowers the learning rate on a plateau, ends the training, writes
    history and state. Without a validation part the last epoch is the best.

    Args:
        run: Where history and state go.
        recipe: What is watched, and with how much patience.
        body: Whose weights are kept.
        validation: What is chosen by.
        watched: What is measured beside it, and not chosen by.
    """

    def __init__(
        self,
        run: Run,
        recipe: Recipe,
        body: keras.Model,
        validation: Material | None,
        watched: Material | None,
    ) -> None:
        super().__init__()
        self._run = run
        self._recipe = recipe
        self._body = body
        self._validation = validation
        self._watched = watched
        self._weights = [Kept(weight) for weight in body.weights]
        self._best = Kept(-np.inf)
        self._best_epoch = Kept(0)
        self._epochs = Kept(0)
        self._since_best = Kept(0)
        self._since_fall = Kept(0)
        self._begin = 0.0

    @property
    def state(self) -> list[Any]:
        """All that a resumed run needs."""
        counters = [self._best, self._best_epoch, self._epochs, self._since_best, self._since_fall]
        network = [*self.model.variables, *self.model.optimizer.variables]
        return [*network, *counters, *self._weights]

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights are kept, from one."""
        return int(self._best_epoch.value)

    @property
    def epochs(self) -> int:
        """Epochs trained so far."""
        return int(self._epochs.value)

    @property
    def out_of_patience(self) -> bool:
        """Whether training has ended early."""
        patience = self._recipe.patience
        return patience is not None and int(self._since_best.value) >= patience

    def restore_best(self) -> None:
        """Give the body the weights that are kept."""
        self._body.set_weights([kept.value for kept in self._weights])

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        rate = float(self.model.optimizer.learning_rate)
        row = {name: f"{value:.6g}" for name, value in (logs or {}).items()}
        score = float(epoch)
        if self._validation:
            measured = measure(self.model, self._validation)
            row |= {f"val_{name}": f"{value:.6g}" for name, value in measured.items()}
            best = self._recipe.best
            score = -measured["loss"] if best == "loss" else measured[best]
        if self._watched:
            row["watched_accuracy"] = f"{measure(self.model, self._watched)['accuracy']:.6g}"
        self._judge(epoch + 1, score)
        seconds = time.perf_counter() - self._begin
        row |= {"learning_rate": f"{rate:.6g}", "seconds": f"{seconds:.3f}"}
        self._run.append_history({"epoch": epoch + 1, **row})
        self._run.save_state(epoch + 1, self.state)
        if self.out_of_patience:
            self.model.stop_training = True

    def _judge(self, epoch: int, score: float) -> None:
        self._epochs.assign(epoch)
        if score > self._best.value:
            self._best.assign(score)
            self._best_epoch.assign(epoch)
            self._since_best.assign(0)
            self._since_fall.assign(0)
            for kept, weight in zip(self._weights, self._body.weights, strict=True):
                kept.assign(np.asarray(weight))
            return
        self._since_best.assign(self._since_best.value + 1)
        self._since_fall.assign(self._since_fall.value + 1)
        if self._recipe.plateau and self._since_fall.value >= self._recipe.plateau:
            rate = self.model.optimizer.learning_rate
            rate.assign(float(rate) * self._recipe.plateau_factor)
            self._since_fall.assign(0)


def measure(network: keras.Model, data: Material) -> dict[str, float]:
    """Cross-entropy, accuracy and weighted F1 of a network that gives logits."""
    parts = [
        network.predict_on_batch(data.inputs(slice(first, first + PREDICTION_BATCH)))
        for first in range(0, len(data.labels), PREDICTION_BATCH)
    ]
    logits = np.concatenate(parts).astype(np.float64)
    log_probabilities = scipy.special.log_softmax(logits, axis=1)
    answers = logits.argmax(axis=1)
    f1 = sklearn.metrics.f1_score(data.labels, answers, average="weighted", zero_division=0)
    return {
        "loss": -float(np.mean(log_probabilities[np.arange(len(answers)), data.labels])),
        "accuracy": float(np.mean(answers == data.labels)),
        "weighted_f1": float(f1),
    }
