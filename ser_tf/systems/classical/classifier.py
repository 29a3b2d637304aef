"""The ``.skops`` file of a classical system, and the engine that answers with it.

`skops <https://skops.readthedocs.io>`_ writes estimators as JSON and arrays and makes nothing of a
file but the types that are trusted here: no code of a file is ever run. What it does not check is
whether the numbers of a tree make sense, so a file from strangers may still crash the process.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from edge import audio
from edge.classifier import ModelError, Prediction
from ser_tf.systems.classical.extraction import read
from ser_tf.systems.classical.features import FEATURE_SETS, VERSION

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

# Beyond those that skops trusts by itself: what the systems of estimators.py are made of.
TRUSTED = (
    "functools.partial",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.model_selection._split.PredefinedSplit",
    "sklearn.tree._tree.Tree",
    "ser_tf.systems.classical.estimators.importances",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
)


class Classifier:
    """A loaded model.

    Its features speak for the recording as :mod:`ser_tf.systems.classical.features` says, all of it
    or the middle of its voice; of a recording longer than a minute, for the first minute.

    Example:
        >>> classifier = Classifier("runs/xgboost/model.skops")
        >>> classifier.predict_file("clip.wav").emotion
        'happy'

    Attributes:
        labels: The emotions, in the order of the probabilities.
        sample_rate: Of the waveforms the model takes, in Hz.
    """

    labels: tuple[str, ...]
    sample_rate: int

    def __init__(self, model: str | os.PathLike[str]) -> None:
        """Load ``model``, a ``.skops`` file that :func:`save` has written.

        Raises:
            ModelError: The file is missing, damaged, not one of ours, or of another version of the
                features or of scikit-learn.
        """
        content = _load(os.fspath(model))
        self.labels = tuple(content["labels"])
        self._features = FEATURE_SETS[content["features"]]
        self.sample_rate = self._features.sample_rate
        self._pipeline: Pipeline = content["pipeline"]
        self._libraries = ThreadpoolController()
        self._known = [self.labels.index(label) for label in content["known"]]

    def probabilities(self, waveform: NDArray[np.float32]) -> NDArray[np.float64]:
        """Run the model once.

        Args:
            waveform: float32[n] at ``sample_rate``, n above 0.

        Returns:
            float64[labels], sum 1. A label that it never heard in training has 0.
        """
        features = self._features.compute(waveform)
        with self._libraries.limit(limits=1):  # a single row has no work for two threads
            said = self._pipeline.predict_proba(features[np.newaxis])[0].astype(np.float64)
        probabilities = np.zeros(len(self.labels))
        probabilities[self._known] = said / said.sum()
        return probabilities

    def predict(self, waveform: NDArray[np.float32]) -> Prediction:
        """Give one answer for a whole waveform, float32[n] at ``sample_rate``."""
        end = len(waveform) / self.sample_rate
        if audio.is_silent(waveform, self.sample_rate):
            return Prediction(None, 0.0, {}, 0.0, end)
        probabilities = self.probabilities(waveform)
        best = self.labels[int(probabilities.argmax())]
        named = dict(zip(self.labels, probabilities.tolist(), strict=True))
        return Prediction(best, named[best], named, 0.0, end)

    def predict_file(self, source: audio.Source) -> Prediction:
        """Give one answer for a recording, or for its first minute where it is longer.

        Args:
            source: A file's path, or a binary stream that holds a complete audio file.

        Raises:
            audio.AudioError: The recording cannot be read.
        """
        return self.predict(read(source, self.sample_rate))


def save(
    pipeline: "Pipeline", labels: Sequence[str], known: Sequence[str], features: str, path: Path
) -> None:
    """Write a model; the file appears complete or not at all.

    Args:
        pipeline: A fitted system whose classes are 0, 1, … for ``known``.
        labels: What the model answers with, in this order.
        known: Those that it has learnt.
        features: The name of its feature set.
        path: Where to.
    """
    import skops.io

    content = {
        "labels": list(labels),
        "known": list(known),
        "features": features,
        "features_version": VERSION,
        "pipeline": pipeline,
    }
    aside = path.with_suffix(".part")
    skops.io.dump(content, aside, compression=ZIP_DEFLATED, compresslevel=6)
    aside.replace(path)


def _load(name: str) -> dict:
    """The content of a model file, of the kinds and sizes that :class:`Classifier` relies on."""
    import skops.io
    from sklearn.exceptions import InconsistentVersionWarning
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            content = skops.io.load(name, trusted=list(TRUSTED))
        features = FEATURE_SETS[content["features"]]
        version = content["features_version"]
        whole = (
            set(content["known"]) <= set(content["labels"])
            and list(content["pipeline"].classes_) == list(range(len(content["known"])))
            and content["pipeline"].n_features_in_ == features.size
        )
    except FileNotFoundError:
        raise ModelError(f"{name}: does not exist; check the name") from None
    except OSError as error:
        raise ModelError(f"{name}: cannot be read ({error.strerror})") from None
    except UntrustedTypesFoundException as error:
        raise ModelError(f"{name}: is no model of this project: {error}") from None
    except InconsistentVersionWarning as warning:
        made, here = warning.original_sklearn_version, warning.current_sklearn_version
        raise ModelError(
            f"{name}: was written with scikit-learn {made}, here is {here}; install that one, or "
            "train again"
        ) from None
    except Exception as error:  # damage may show anywhere in the file
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{name}: is no model that python -m ser_tf.train has written, or is damaged ({reason})"
        ) from None
    if not whole or version != VERSION:
        raise ModelError(f"{name}: takes other features than this version has; train it again")
    return content
