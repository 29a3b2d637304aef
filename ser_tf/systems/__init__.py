"""The registry of all systems that can be trained here: ours, and those of five earlier projects.

An entry says what a system is and what its project reported; the module of its kind knows how to
train it. Nothing heavy is imported before a system is trained.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from edge.audio import SAMPLE_RATE
from ser_tf.config import Config
from ser_tf.corpora.recording import Recording
from ser_tf.runs import Run
from ser_tf.splits import Split

OURS = "ser_tf.systems.ours"
NEURAL = "ser_tf.systems.neural"
CLASSICAL = "ser_tf.systems.classical"


@dataclass(frozen=True)
class System:
    """One row of the comparison.

    Attributes:
        name: Of ``--model``.
        rows: What the row is called among the earlier systems, such as ``D3``; ``""`` is ours.
        title: What it is, in a few words.
        trainer: Name of the module that trains it; see :class:`Trainer`.
        reported: Figures of its project as shares, by name: ``accuracy``, ``weighted_f1``,
            ``macro_f1``, and others such as ``f1 of sad`` or ``accuracy without neutral``.
        remark: What its project says of it besides.
        drop: Emotions that its project left out.
        needs: What it takes that a plain installation lacks, so that it is run only where it is
            asked for; a sentence. ``""`` is nothing.
    """

    name: str
    rows: str
    title: str
    trainer: str
    reported: Mapping[str, float] = field(default_factory=dict)
    remark: str = ""
    drop: tuple[str, ...] = ()
    needs: str = ""

    @property
    def ours(self) -> bool:
        """Whether it is this project's own."""
        return not self.rows

    @property
    def chosen(self) -> str:
        """Settings that its project does not state and that were chosen here; sentences."""
        if self.ours:
            return ""
        return getattr(importlib.import_module(self.trainer), "CHOSEN", {}).get(self.name, "")

    @property
    def classical(self) -> bool:
        """Whether its model is a ``.skops`` file, which is not exported further."""
        return self.trainer == CLASSICAL


class Trainer(Protocol):
    """What a module that trains systems offers."""

    def train(
        self,
        system: System,
        config: Config,
        run: Run,
        split: Split,
        *,
        labels: Sequence[str],
        cache: str,
        strict: bool = False,
        watch: Sequence[Recording] = (),
    ) -> Path:
        """Train in a run's folder, from where its saved state stands.

        Args:
            system: What to train.
            config: Settings; already written to the folder.
            run: The folder, locked by the caller.
            split: What to learn from and what to choose by; already written to the folder, and
                without the emotions that are left out.
            labels: What the model answers with, in this order.
            cache: Folder for what is computed once from recordings.
            strict: Make every damaged recording an error.
            watch: Recordings whose accuracy is written beside every epoch, column
                ``watched_accuracy`` of ``history.csv``; nothing is chosen by it.

        Returns:
            The trained model: ``model.keras`` (waveform to probabilities) or ``model.skops``.
            ``training.json`` beside it holds ``parameters`` (or None), ``epochs`` (or None),
            ``best_epoch`` (the one that was kept, from 1, or None) and ``seconds``.

        Raises:
            CorpusError: The corpus cannot be used.
            RunError: The saved state cannot be used.
            ValueError: Corpus and settings do not fit together.
        """


SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System("cnn", "", "residual Conv1D on MFCC (ours)", OURS),
        System(
            "efficientnet_b3",
            "A1",
            "EfficientNet-B3 on mel pictures",
            NEURAL,
            {"accuracy": 0.81, "weighted_f1": 0.81, "accuracy of sad": 0.74},
            remark="Every class above 75 % but sad.",
        ),
        System(
            "efficientnet_b2",
            "A1",
            "EfficientNet-B2 on mel pictures",
            NEURAL,
            remark="Named beside B3 without a figure.",
        ),
        System(
            "dnn",
            "B1",
            "dense layers on clip statistics",
            NEURAL,
            {
                "accuracy": 0.65,
                "accuracy of calm": 0.88,
                "accuracy of angry": 0.70,
                "accuracy of happy": 0.67,
            },
            remark="“About 65 %”.",
        ),
        System(
            "xgboost",
            "B2",
            "XGBoost, features selected",
            CLASSICAL,
            remark="“Better than B1”, without a figure.",
        ),
        System(
            "gradient_boosting",
            "B2",
            "gradient boosting, features selected",
            CLASSICAL,
            remark="“Better than B1”, without a figure.",
        ),
        System(
            "random_forest_enhanced",
            "B2",
            "random forest, features selected",
            CLASSICAL,
            remark="“Better than B1”, without a figure.",
        ),
        System(
            "voting",
            "B2",
            "soft vote of the three",
            CLASSICAL,
            remark="Aimed at 80 % accuracy; no figure.",
        ),
        System(
            "stacking",
            "B2",
            "stack of the three",
            CLASSICAL,
            remark="Aimed at 80 % accuracy; no figure.",
        ),
        System(
            "random_forest_b3",
            "B3",
            "random forest on clip statistics",
            CLASSICAL,
            remark="A baseline without a figure.",
        ),
        System(
            "cnn_bilstm_attention",
            "C1",
            "Conv1D, BiLSTM, attention",
            NEURAL,
            {
                "accuracy": 0.854,
                "weighted_f1": 0.849,
                "f1 of fearful": 0.68,
                "f1 of sad": 0.69,
                "accuracy without neutral": 0.793,
                "weighted_f1 without neutral": 0.795,
            },
        ),
        System(
            "random_forest_d1",
            "D1",
            "random forest on 40 MFCC, chroma, contrast",
            CLASSICAL,
            {"accuracy": 0.71},
        ),
        System("knn", "D1", "nearest neighbours", CLASSICAL, {"accuracy": 0.56}),
        System("svm", "D1", "SVM, standardised", CLASSICAL, {"accuracy": 0.30}),
        System("svm_unscaled", "D1", "SVM, not standardised", CLASSICAL, {"accuracy": 0.30}),
        System("cnn_frames", "D2", "CNN on frames", NEURAL, {"accuracy": 0.76}),
        System("lstm", "D2", "LSTM on frames", NEURAL, {"accuracy": 0.62}),
        System("cnn_lstm", "D2", "CNN + LSTM on frames", NEURAL, {"accuracy": 0.72}),
        System(
            "cnn_refined",
            "D3",
            "refined CNN, without disgust",
            NEURAL,
            {"accuracy": 0.83, "macro_f1": 0.83},
            drop=("disgust",),
        ),
        System(
            "random_forest_e1",
            "E1",
            "random forest on 61 clip means",
            CLASSICAL,
            {"accuracy": 0.737},
        ),
        System("cnn_stats", "E2", "CNN + clip values", NEURAL, {"accuracy": 0.80}),
        System("cnn_lstm_stats", "E2", "CNN + LSTM + clip values", NEURAL, {"accuracy": 0.82}),
        System("cnn_gru_stats", "E2", "CNN + GRU + clip values", NEURAL, {"accuracy": 0.83}),
        System(
            "wav2vec2",
            "E3",
            "wav2vec2-base, fine-tuned",
            NEURAL,
            {"accuracy": 0.89, "weighted_f1": 0.886},
            needs="The published weights could not be fetched where this was made. Where they can "
            "be: `python -m ser_tf.train --model wav2vec2 --weights facebook/wav2vec2-base "
            "--data DATA`.",
        ),
    )
}


def trainer_of(system: System) -> Trainer:
    """The module that trains a system, imported now."""
    return cast(Trainer, importlib.import_module(system.trainer))


def defaults_of(system: System) -> Mapping[str, Any]:
    """Fields of :class:`ser_tf.config.TrainConfig` that a system sets for itself.

    They stand below ``--config`` and the options of the command line, so that the configuration
    that :meth:`Trainer.train` gets says what is to be done.
    """
    if system.trainer != NEURAL:
        return {}
    from ser_tf.systems.neural.recipe import defaults

    return defaults(system.name)


def sample_rate_of(system: System) -> int:
    """Hz of the waveforms that a Keras system takes."""
    if system.ours:
        return SAMPLE_RATE
    from ser_tf.systems.neural.recipe import recipe_of

    return recipe_of(system.name).sample_rate
