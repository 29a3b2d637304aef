"""The classical systems as scikit-learn pipelines, from a feature vector to probabilities."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectPercentile
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits
from xgboost import XGBClassifier

FEATURES = {  # by system, a key of FEATURE_SETS
    "random_forest_b3": "b",
    "random_forest_d1": "d",
    "random_forest_e1": "e",
    "knn": "d",
    "svm": "d",
    "svm_unscaled": "d",
    "gradient_boosting": "b",
    "xgboost": "b",
    "random_forest_enhanced": "b",
    "voting": "b",
    "stacking": "b",
}
STANDARDISED = ("knn", "svm")
PARTS = ("gradient_boosting", "xgboost", "random_forest_enhanced")
COMBINED = ("voting", "stacking")
SELECTED = (*PARTS, *COMBINED)

TREES = 100
TREES_ENHANCED = 500
ROUNDS_HISTOGRAM = 150
ROUNDS_XGBOOST = 300
SELECTED_PERCENT = 50
STACKING_FOLDS = 5
TEMPERATURE_FOLDS = 5


def fit(
    name: str,
    rows: NDArray[np.float32],
    answers: NDArray[np.int64],
    *,
    seed: int,
    speakers: Sequence[str] | None = None,
) -> Pipeline:
    """Fit a system.

    Those of :data:`SELECTED` keep the more important half of the values, and weight recordings so
    that every class counts alike.

    Args:
        name: A key of :data:`FEATURES`.
        rows: float32[n, values].
        answers: int64[n], from 0 to one less than the number of classes, all of which occur.
        seed: Decides what is random.
        speakers: Of each row. Where given, none of them stands on both sides of a fold in which a
            system tries its parts.

    Raises:
        ValueError: There are too few recordings for it. One line.
    """
    steps: list[tuple[str, Any]] = []
    weights = {}
    if name in STANDARDISED:
        steps.append(("scale", StandardScaler()))
    if name in SELECTED:
        score = partial(importances, seed=seed)
        steps.append(("select", SelectPercentile(score, percentile=SELECTED_PERCENT)))
        weights = {"classify__sample_weight": compute_sample_weight("balanced", answers)}
    steps.append(("classify", _classifier(name, seed, answers, speakers)))
    # With a few thousand rows the threads of OpenMP wait for one another longer than they work.
    with threadpool_limits(1):
        pipeline = Pipeline(steps).fit(rows, answers, **weights)
    if name in COMBINED:  # the parts once more, by name; a file would hold them twice
        del pipeline["classify"].named_estimators_
    return pipeline


def importances(
    rows: NDArray[np.float32], answers: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """How much each value helps a random forest to tell the classes apart (Breiman, 2001).

    Args:
        rows: float32[n, values].
        answers: int64[n].
        seed: Of the forest.

    Returns:
        float64[values], sum 1.
    """
    forest = RandomForestClassifier(
        TREES, max_features=0.2, class_weight="balanced", random_state=seed
    )
    return forest.fit(rows, answers).feature_importances_


def count_nodes(pipeline: Pipeline) -> int | None:
    """Nodes of all trees of a fitted system, or None if it has no trees."""
    return _nodes(pipeline["classify"])


def _classifier(
    name: str, seed: int, answers: NDArray[np.int64], speakers: Sequence[str] | None
) -> BaseEstimator:
    match name:
        case "random_forest_b3" | "random_forest_d1" | "random_forest_e1":
            return RandomForestClassifier(TREES, random_state=seed)
        case "random_forest_enhanced":
            return RandomForestClassifier(TREES_ENHANCED, random_state=seed)
        case "gradient_boosting":
            return HistGradientBoostingClassifier(
                learning_rate=0.1,
                max_iter=ROUNDS_HISTOGRAM,
                max_leaf_nodes=15,
                min_samples_leaf=10,
                max_features=0.3,
                early_stopping=False,
                random_state=seed,
            )
        case "xgboost":
            return XGBClassifier(
                n_estimators=ROUNDS_XGBOOST,
                learning_rate=0.1,
                max_depth=4,
                subsample=0.7,
                colsample_bytree=0.3,
                random_state=seed,
                n_jobs=1,
            )
        case "knn":
            return KNeighborsClassifier(5, algorithm="brute")
        case "svm":
            return _svm(answers, penalty=10.0)
        case "svm_unscaled":
            return _svm(answers, penalty=1.0)
    parts = [(part, _classifier(part, seed, answers, speakers)) for part in PARTS]
    if name == "voting":
        return VotingClassifier(parts, voting="soft")
    combiner = LogisticRegression(max_iter=1_000)
    return StackingClassifier(parts, combiner, cv=stacking_folds(answers, speakers, seed))


def _svm(answers: NDArray[np.int64], penalty: float) -> BaseEstimator:
    """Support vectors, whose answer is the largest one-against-the-rest decision.

    The temperature that makes probabilities of the decisions leaves their order as it is.
    """
    folds = _folds_at_most(answers, TEMPERATURE_FOLDS)
    return CalibratedClassifierCV(SVC(C=penalty), method="temperature", cv=folds, ensemble=False)


def stacking_folds(
    answers: NDArray[np.int64], speakers: Sequence[str] | None, seed: int
) -> PredefinedSplit:
    """The folds in which the parts of a stack answer what they have not learnt from.

    Args:
        answers: int64[n].
        speakers: Of each, or None for folds that mix them.
        seed: Decides who is in which fold.

    Raises:
        ValueError: A class has only one recording. One line.
    """
    if speakers is not None and len(set(speakers)) > 1:
        grouped = StratifiedGroupKFold(
            min(STACKING_FOLDS, len(set(speakers))), shuffle=True, random_state=seed
        )
        split = list(grouped.split(answers, answers, speakers))
        everything = set(answers)
        if all(set(answers[learnt]) == everything for learnt, _ in split):
            return _predefined(split, len(answers))
    mixed = StratifiedKFold(
        _folds_at_most(answers, STACKING_FOLDS), shuffle=True, random_state=seed
    )
    return _predefined(list(mixed.split(answers, answers)), len(answers))


def _predefined(split: list[tuple[Any, Any]], count: int) -> PredefinedSplit:
    fold_of = np.empty(count, np.int64)
    for number, (_, tried) in enumerate(split):
        fold_of[tried] = number
    return PredefinedSplit(fold_of)


def _folds_at_most(answers: NDArray[np.int64], most: int) -> int:
    fewest = int(np.bincount(answers).min())
    if fewest < 2:
        raise ValueError(
            "an emotion has a single training recording, which is too few for this model; add "
            "some, or leave the emotion out with --drop"
        )
    return min(most, fewest)


def _nodes(estimator: Any) -> int | None:
    match estimator:
        case RandomForestClassifier():
            return sum(tree.tree_.node_count for tree in estimator.estimators_)
        case HistGradientBoostingClassifier():
            return sum(len(tree.nodes) for trees in estimator._predictors for tree in trees)
        case XGBClassifier():
            return sum(tree.count("\n") for tree in estimator.get_booster().get_dump())
        case VotingClassifier() | StackingClassifier():
            return sum(_nodes(part) or 0 for part in estimator.estimators_)
    return None
