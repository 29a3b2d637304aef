"""Figures against hand-computed cases."""

import json

import numpy as np
import pytest
from scipy.special import softmax

from ser_tf import metrics

LABELS = ("angry", "calm", "sad")


def rows(answered, confidence=0.8):
    """One row of probabilities for each answer; ``"silence"`` becomes a row of zeros."""
    table = np.zeros((len(answered), len(LABELS)))
    for row, answer in zip(table, answered, strict=True):
        if answer != metrics.SILENCE:
            row[:] = (1 - confidence) / (len(LABELS) - 1)
            row[LABELS.index(answer)] = confidence
    return table


# angry: 2 of 3 right; calm: 1 of 1; sad: 1 of 2, the other answered as silence.
TRUTH = ["angry", "angry", "angry", "calm", "sad", "sad"]
ANSWERED = ["angry", "angry", "calm", "calm", "sad", "silence"]


def test_the_overall_figures_are_those_computed_by_hand():
    report = metrics.measure(TRUTH, rows(ANSWERED), LABELS)
    f1 = {"angry": 2 * 2 / (3 + 2), "calm": 2 * 1 / (1 + 2), "sad": 2 * 1 / (2 + 1)}
    assert report["count"] == 6
    assert report["accuracy"] == pytest.approx(4 / 6)
    assert report["uar"] == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert report["macro_f1"] == pytest.approx(sum(f1.values()) / 3)
    assert report["weighted_f1"] == pytest.approx(
        (3 * f1["angry"] + f1["calm"] + 2 * f1["sad"]) / 6
    )


def test_the_figures_of_a_class_are_those_computed_by_hand():
    table = metrics.measure(TRUTH, rows(ANSWERED), LABELS)["classes"]
    assert table["calm"] == {
        "count": 1,
        "precision": pytest.approx(1 / 2),
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
        "accuracy": 1.0,
    }
    assert table["sad"]["precision"] == 1.0


def test_the_accuracy_of_a_class_is_its_share_answered_rightly():
    report = metrics.measure(TRUTH, rows(ANSWERED), LABELS)
    counts = np.array(report["confusion"]["counts"])
    shares = np.diagonal(counts) / counts.sum(axis=1)
    assert [row["accuracy"] for row in report["classes"].values()] == pytest.approx(list(shares))


def test_the_confusion_matrix_has_truth_in_rows_and_silence_last():
    matrix = metrics.measure(TRUTH, rows(ANSWERED), LABELS)["confusion"]
    assert matrix["answer"] == [*LABELS, "silence"]
    assert matrix["counts"] == [[2, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]


def test_silence_counts_as_wrong():
    silent = metrics.measure(["sad"] * 4, rows(["sad", "sad", "sad", "silence"]), LABELS)
    assert silent["silent"] == 1
    assert silent["accuracy"] == 0.75
    assert silent["classes"]["sad"]["recall"] == 0.75
    assert silent["classes"]["sad"]["precision"] == 1.0


def test_nothing_but_silence_is_measured_as_all_wrong():
    report = metrics.measure(["sad", "calm"], rows(["silence", "silence"]), LABELS)
    assert report["accuracy"] == report["uar"] == report["weighted_f1"] == 0
    assert report["ece"] is None


def test_among_the_emotions_that_occur_the_most_probable_of_them_is_the_answer():
    probabilities = [[0.5, 0.4, 0.1], [0.5, 0.1, 0.4], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    report = metrics.measure(["calm", "calm", "sad", "sad"], probabilities, LABELS)
    assert report["accuracy"] == 1 / 4
    among = report["among_present"]
    assert among["labels"] == ["calm", "sad"]
    assert among["accuracy"] == 2 / 4  # the first is calm now, the silent one still missed
    assert among["uar"] == (1 / 2 + 1 / 2) / 2


@pytest.mark.parametrize("truth", [LABELS, ["sad"] * 3])
def test_where_all_or_one_of_the_emotions_occur_there_is_nothing_to_narrow(truth):
    assert "among_present" not in metrics.measure(list(truth), rows(["sad"] * 3), LABELS)


def test_a_class_absent_from_the_truth_does_not_enter_the_means():
    answered = ["calm", "angry", "sad", "sad"]
    report = metrics.measure(["calm", "calm", "sad", "sad"], rows(answered), LABELS)
    assert report["uar"] == pytest.approx(0.75)
    assert report["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert report["classes"]["angry"] == {
        "count": 0,
        "precision": 0.0,
        "recall": None,
        "f1": None,
        "accuracy": None,
    }


def test_the_report_is_strict_json_whatever_is_absent():
    report = metrics.measure(["calm"], rows(["silence"]), LABELS)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_calibration_error_weighs_the_gap_of_each_bin_by_its_count():
    # 0.9 lies in the bin (0.867, 0.933]: three recordings, one right. 0.5 in (0.467, 0.533]: one.
    probabilities = np.concatenate([rows(["sad"] * 3, 0.9), rows(["calm"], 0.5)])
    truth = ["sad", "calm", "calm", "calm"]
    expected = 3 / 4 * abs(1 / 3 - 0.9) + 1 / 4 * abs(1 - 0.5)
    assert metrics.calibration_error(truth, probabilities, LABELS) == pytest.approx(expected)


def test_a_confidence_on_a_bin_edge_belongs_to_the_bin_below():
    probabilities = np.concatenate([rows(["sad"], 0.4), rows(["sad"], 0.39)])  # edge: 6/15
    error = metrics.calibration_error(["sad", "calm"], probabilities, LABELS)
    assert error == pytest.approx(0.5 - 0.395)


def test_overconfidence_in_one_bin_is_not_cancelled_by_another():
    probabilities = np.concatenate([rows(["sad"], 0.6), rows(["sad"], 0.9)])
    error = metrics.calibration_error(["sad", "calm"], probabilities, LABELS)
    assert error == pytest.approx((0.4 + 0.9) / 2)


def test_certain_and_right_is_perfectly_calibrated():
    assert metrics.calibration_error(["sad"] * 3, rows(["sad"] * 3, 1.0), LABELS) == 0


def test_silence_does_not_enter_calibration():
    truth = ["sad", "calm", "calm"]
    alone = metrics.calibration_error(truth[:2], rows(["sad", "sad"]), LABELS)
    assert metrics.calibration_error(truth, rows(["sad", "sad", "silence"]), LABELS) == alone


def test_coverage_and_accuracy_are_those_computed_by_hand():
    probabilities = np.concatenate(
        [rows(["sad"], 0.95), rows(["sad"], 0.7), rows(["calm"], 0.5), rows(["silence"])]
    )
    curve = metrics.coverage_accuracy(["sad", "calm", "calm", "sad"], probabilities, LABELS)
    assert [row["threshold"] for row in curve] == pytest.approx([k / 20 for k in range(20)])
    found = {row["threshold"]: (row["coverage"], row["accuracy"]) for row in curve}
    assert found[0.0] == (1.0, 2 / 4)  # silence too, as one that was missed
    assert found[0.05] == found[0.5] == (3 / 4, 2 / 3)  # a confidence at the threshold reaches it
    assert found[0.55] == (2 / 4, 1 / 2)
    assert found[0.75] == found[0.95] == (1 / 4, 1.0)


def test_where_nothing_is_answered_there_is_no_accuracy():
    curve = metrics.coverage_accuracy(["sad"], rows(["sad"], 0.5), LABELS)
    assert curve[-1] == {"threshold": 0.95, "coverage": 0.0, "accuracy": None}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_unscaling_undoes_a_temperature(temperature):
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 0.1, -3.0]])
    probabilities = softmax(logits / temperature, axis=1)
    before = metrics.unscaled(np.vstack([probabilities, np.zeros(3)]), temperature)
    np.testing.assert_allclose(before[:2], softmax(logits, axis=1))
    assert not before[2].any()


def test_a_known_temperature_adds_the_calibration_without_it():
    probabilities = rows(["sad", "sad"], 0.9)
    plain = metrics.measure(["sad", "calm"], probabilities, LABELS)
    assert "ece_unscaled" not in plain
    report = metrics.measure(["sad", "calm"], probabilities, LABELS, temperature=2.0)
    confidence = 0.9**2 / (0.9**2 + 2 * 0.05**2)
    assert report["ece"] == plain["ece"] == pytest.approx(0.4)
    assert report["ece_unscaled"] == pytest.approx(confidence - 0.5)
    assert report["temperature"] == 2.0


def test_a_condition_loses_what_its_accuracy_lies_below_the_clean_one():
    truth = ["sad", "sad", "calm", "angry"]
    degraded = {"far": rows(["sad", "calm", "calm", "calm"]), "near": rows(truth)}
    table = metrics.under_conditions(
        truth, rows(["sad", "sad", "calm", "silence"]), degraded, LABELS
    )
    assert list(table) == ["far", "near"]
    assert table["far"] == {
        "accuracy": 2 / 4,
        "uar": pytest.approx((1 / 2 + 1 + 0) / 3),
        "weighted_f1": pytest.approx((2 * (2 / 3) + 1 / 2 + 0) / 4),
        "loss": 1 / 4,
    }
    assert table["near"]["loss"] == -1 / 4


def test_the_resampled_figures_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth = list(rng.choice(LABELS[:2], 40))
    answered = list(rng.choice([*LABELS, "silence"], 40))
    counts = metrics.confusion(truth, answered, LABELS)
    figures = metrics.overall(truth, answered)
    assert metrics._of_counts(counts) == pytest.approx(
        (figures["accuracy"], figures["weighted_f1"], figures["uar"])
    )


def test_intervals_draw_whole_speakers():
    # One speaker always right, one always wrong: a draw holds 0, 1 or 2 of the right one.
    truth = ["sad"] * 100
    answered = ["sad"] * 50 + ["calm"] * 50
    speakers = ["a"] * 50 + ["b"] * 50
    by_speaker = metrics.intervals(truth, answered, LABELS, speakers)
    assert (by_speaker["over"], by_speaker["units"]) == ("speakers", 2)
    assert by_speaker["accuracy"] == [0.0, 1.0]
    by_recording = metrics.intervals(truth, answered, LABELS, [""] * 100)
    assert (by_recording["over"], by_recording["units"]) == ("recordings", 100)
    low, high = by_recording["accuracy"]
    assert 0.38 < low < 0.44 < 0.56 < high < 0.62


def test_intervals_are_the_same_every_time():
    arguments = (TRUTH, ANSWERED, LABELS, list("aabbcc"))
    assert metrics.intervals(*arguments) == metrics.intervals(*arguments)
    other = metrics.intervals(*arguments, seed=1, resamples=10)
    assert other["accuracy"] != metrics.intervals(*arguments, resamples=10)["accuracy"]


def test_one_speaker_has_no_interval():
    spread = metrics.intervals(TRUTH, ANSWERED, LABELS, ["a"] * 6)
    assert spread["accuracy"] is None
    assert spread["units"] == 1


def test_slices_measure_each_value_of_a_trait():
    traits = [{"gender": g, "statement": "kids"} for g in ("f", "f", "m", "m", "m")] + [{}]
    report = metrics.measure(TRUTH, rows(ANSWERED), LABELS, traits=traits)["slices"]
    assert report == {
        "gender": {
            "f": {"count": 2, "accuracy": 1.0, "uar": 1.0},
            "m": {"count": 3, "accuracy": pytest.approx(2 / 3), "uar": pytest.approx(2 / 3)},
        }
    }


def test_a_model_may_have_silence_among_its_labels():
    labels = ("sad", "silence")
    rows = [[0.9, 0.1], [0.0, 0.0]]
    report = metrics.measure(["sad", "silence"], rows, labels, speakers=["a", "b"])
    assert report["accuracy"] == 1
    assert report["confusion"]["counts"] == [[1, 0], [0, 1]]
    assert report["intervals"]["accuracy"] == [1.0, 1.0]


@pytest.mark.parametrize(("truth", "answered"), [([], []), (["sad"], []), (["bored"], ["sad"])])
def test_what_cannot_be_measured_is_refused(truth, answered):
    with pytest.raises(ValueError, match=r"labels for|no such label: bored"):
        metrics.measure(truth, rows(answered), LABELS)
