"""Random forests, neighbours, support vectors and boosted trees on features by librosa.

They are trained on what :mod:`ser_tf.systems.classical.features` makes of a recording and kept in a
``.skops`` file, which :class:`Classifier` answers with.
"""

from ser_tf.systems.classical.classifier import Classifier
from ser_tf.systems.classical.trainer import defaults, train

__all__ = ["CHOSEN", "Classifier", "defaults", "train"]

_B = "Set b: the 3 s in the middle of the voice; frames of 2,048 samples, 512 apart; mel in dB."
_D = "Set d: 22,050 Hz, the whole recording; frames of 2,048 samples, 512 apart."
_E = (
    "Set e: 24,000 Hz for every file, half of the published rate; the whole recording; frames of "
    "2,048 samples, 512 apart."
)
_B2 = f"{_B} The half of the values that help a random forest most are kept."

# By system: what its project does not state and was chosen here.
CHOSEN = {
    "random_forest_b3": f"{_B} 100 trees, scikit-learn's defaults; not scaled, which trees ignore.",
    "random_forest_d1": f"{_D} 100 trees, scikit-learn's defaults; not scaled, which trees ignore.",
    "random_forest_e1": f"{_E} scikit-learn's defaults.",
    "knn": f"{_D} The 5 nearest by Euclidean distance, an equal vote each.",
    "svm": f"{_D} RBF kernel, C 10, gamma “scale”; probabilities by a temperature.",
    "svm_unscaled": f"{_D} RBF kernel, C 1, gamma “scale”, scikit-learn's defaults.",
    "gradient_boosting": f"{_B2} Histogram-based, scikit-learn's quicker kind: 150 "
    "rounds of rate 0.1, 15 leaves, at least 10 recordings in each, three tenths of the values a "
    "split; recordings weighted by class.",
    "xgboost": f"{_B2} 300 rounds of rate 0.1, depth 4, seven tenths of the recordings and three "
    "tenths of the values a tree; recordings weighted by class.",
    "random_forest_enhanced": f"{_B2} 500 trees; recordings weighted by class.",
    "voting": f"{_B2} The mean of the probabilities of gradient_boosting, xgboost and "
    "random_forest_enhanced.",
    "stacking": f"{_B2} A logistic regression on the probabilities of gradient_boosting, xgboost "
    "and random_forest_enhanced in five-fold cross-validation, by speaker where the split is.",
}
