"""The chapters of a corpus's report that are about acoustic descriptors."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_tf.corpus_report import neighbours, plots
from ser_tf.corpus_report.plots import BOXES
from ser_tf.corpus_report.study import MEASURES, Study, short
from ser_tf.descriptors import FAMILIES, family
from ser_tf.report import Report

SCALARS = {
    "rms_mean": "RMS, of full scale",
    "rms_std": "RMS, deviation",
    "zcr_mean": "zero crossings, share",
    "tempo_bpm": "tempo, beats a minute",
    "centroid_mean": "spectral centroid, Hz",
    "centroid_std": "centroid, deviation, Hz",
    "bandwidth_mean": "spectral bandwidth, Hz",
    "rolloff_mean": "roll-off (85 %), Hz",
    "hpss_harmonic_db": "harmonic power, dB",
    "hpss_percussive_db": "percussive power, dB",
    "hpss_harmonic_share": "harmonic share",
    "pitch_voiced": "voiced share",
    "pitch_median_hz": "pitch, median, Hz",
    "pitch_std": "pitch, deviation, semitones",
    "pitch_range": "pitch, range, semitones",
    "pitch_slope": "pitch, slope, semitones/s",
}
# The mean of a change over a whole clip is next to nothing.
VECTORS = {
    "mel": "mean",
    "mfcc": "mean",
    "delta": "std",
    "delta2": "std",
    "chroma": "mean",
    "contrast": "mean",
}
MOST_MAPS = 4
MOMENTS = {"mean": "mean", "std": "deviation"}
CORRELATED = (
    *(f"mfcc_{k:02d}_mean" for k in range(1, 13)),
    *(f"contrast_{k}_mean" for k in range(7)),
)


def descriptors(report: Report, study: Study) -> None:
    report.section("Acoustic descriptors")
    values = study.descriptors
    emotion = study.table["emotion"]
    ratios = pd.DataFrame({"emotion": correlation_ratio(values, emotion)})
    if len(study.speakers) > 1:
        ratios["speaker"] = correlation_ratio(values, study.table["speaker"])
    means = values.groupby(emotion).mean().loc[study.emotions]

    report.figure(
        plots.boxes(
            study.title,
            {words: study.by("emotion", values[name]) for name, words in SCALARS.items()},
            columns=4,
        ),
        "scalars",
        caption=f"{study.title}: descriptors of one number, by emotion. {BOXES}",
        alt=f"Boxes by emotion of {', '.join(SCALARS.values())}.",
    )
    standard = (means - values.mean()) / values.std(ddof=0).replace(0.0, np.nan)
    report.figure(
        plots.profiles(
            study.title,
            {
                f"{FAMILIES[group]}, {MOMENTS[moment]}": standard[
                    _members(values, group, moment)
                ].to_numpy()
                for group, moment in VECTORS.items()
            },
            study.emotions,
        ),
        "profiles",
        caption=f"{study.title}: mean of each emotion, by coefficient, band or pitch class (from "
        "left to right), against the mean of all.",
        alt="Heat maps of the mean of each emotion in every family of many numbers.",
    )
    best = {group: _best(ratios, group) for group in FAMILIES}
    report.figure(
        plots.boxes(
            study.title,
            {best[group]: study.by("emotion", values[best[group]]) for group in VECTORS},
            columns=3,
        ),
        "vectors",
        caption=f"{study.title}: of each family of many numbers the one that emotions differ in "
        f"most, by emotion. {BOXES}",
        alt=f"Boxes by emotion of {', '.join(best[group] for group in VECTORS)}.",
    )
    report.table(
        ["family", "descriptors", "best of them", *(f"η² {column}" for column in ratios)],
        [
            [
                FAMILIES[group],
                len(_members(values, group)),
                best[group],
                *(float(ratios.loc[best[group], column]) for column in ratios),
            ]
            for group in sorted(FAMILIES, key=lambda g: -ratios.loc[best[g], "emotion"])
        ],
        caption=f"{study.title}: of each family the descriptor that emotions differ in most. η² is "
        "the share of its variance that lies between emotions, and between speakers.",
        name="families",
    )
    report.table(
        ["mean of", *study.emotions],
        [[words, *map(_three_digits, means[name])] for name, words in SCALARS.items()],
        caption=f"{study.title}: means by emotion.",
        name="means",
    )
    deviations = values.groupby(emotion).std(ddof=0).loc[study.emotions]
    report.data(
        [
            "descriptor",
            *(f"η² {column}" for column in ratios),
            *(f"{e} {words}" for words in ("mean", "deviation") for e in study.emotions),
        ],
        [
            [name, *map(short, (*ratios.loc[name], *means[name], *deviations[name]))]
            for name in values
        ],
        caption=f"All {values.shape[1]} descriptors, means and deviations by emotion:",
        name="descriptors",
    )
    report.data(
        ["name", "emotion", "speaker", *values],
        [
            [recording.name, recording.emotion, recording.speaker, *map(short, row)]
            for recording, row in zip(study.recordings, values.to_numpy(), strict=True)
        ],
        caption="All descriptors of every recording:",
        name="features",
    )


def correlations(report: Report, study: Study) -> None:
    report.section("Correlation of descriptors")
    chosen = pd.DataFrame(
        {words: study.table[name].astype(float) for name, words in MEASURES.items()}
        | {words: study.descriptors[name] for name, words in SCALARS.items()}
        | {name: study.descriptors[name] for name in CORRELATED}
    )
    matrix = chosen.corr(min_periods=3)
    report.figure(
        plots.correlations(study.title, matrix.to_numpy(), list(matrix)),
        "correlations",
        caption=f"{study.title}: Pearson's correlation of {len(matrix)} descriptors.",
        alt="Heat map of the correlation of every descriptor with every other.",
    )
    report.data(
        ["descriptor", *matrix],
        [[name, *map(short, row)] for name, row in zip(matrix, matrix.to_numpy(), strict=True)],
        caption="The same as a table:",
        name="correlations",
    )


def map_of_recordings(report: Report, study: Study) -> None:
    report.section("A map of the recordings")
    kept = [name for name in study.descriptors if family(name) != "mel"]
    points = neighbours.standardised(study.descriptors[kept].to_numpy())
    emotion = study.table["emotion"].to_numpy()
    speaker = study.table["speaker"].to_numpy()
    places = neighbours.map_of(points)
    if places is None:
        report.text(f"{len(points)} recordings are too few for a map.")
        return
    shown = ["emotion", *(["speaker"] if study.speakers else []), *study.parting][:MOST_MAPS]
    report.figure(
        plots.maps(
            f"{study.title}, {len(kept)} descriptors",
            places,
            {
                trait: {v: (study.table[trait] == v).to_numpy() for v in study.values(trait)}
                for trait in shown
            },
        ),
        "map",
        caption=f"t-SNE of {study.title}: {len(kept)} standardised descriptors (all but the mel "
        f"bands), perplexity {neighbours.perplexity(len(points)):.0f}, seed {neighbours.SEED}. "
        "Near is alike; distances between clusters and axes mean nothing.",
        alt=f"One map of the recordings as dots, coloured by {', by '.join(shown)}.",
    )
    report.data(
        ["name", "x", "y"],
        [
            [name, short(x), short(y)]
            for name, (x, y) in zip(study.table.index, places, strict=True)
        ],
        caption="The places as a table:",
        name="map",
    )
    report.text(_neighbours_told(points, emotion, speaker if len(study.speakers) > 1 else None))


def _neighbours_told(points: NDArray[np.float64], emotion: NDArray, speaker: NDArray | None) -> str:
    nearest = neighbours.nearest(points)
    chance = np.sum((np.unique(emotion, return_counts=True)[1] / len(emotion)) ** 2)
    told = (
        "By these descriptors, the recording most alike is of the same emotion for "
        f"{_alike(emotion, nearest)} of all (by chance: {100 * chance:.0f} %)"
    )
    if speaker is None:
        return f"{told}."
    strange = neighbours.nearest(points, speaker)
    return (
        f"{told}, and by the same speaker for {_alike(speaker, nearest)}. Among other speakers "
        f"alone, the most alike is of the same emotion for {_alike(emotion, strange)}. The "
        "difference is what knowing the voice is worth: a random split measures it, one by "
        "speakers does not."
    )


def _alike(held: NDArray, other: NDArray[np.intp]) -> str:
    return f"{100 * np.mean(held[other] == held):.0f} %"


def correlation_ratio(values: pd.DataFrame, groups: pd.Series) -> pd.Series:
    """η², the share of each column's variance that lies between groups (Fisher, 1925).

    Args:
        values: float[n, columns]; NaN counts as absent.
        groups: Of each row.

    Returns:
        By column, 0 to 1; NaN where a column does not vary or there is but one group.
    """
    if groups.nunique() < 2:
        return pd.Series(np.nan, index=values.columns)
    grouped = values.groupby(groups)
    between = (grouped.count() * (grouped.mean() - values.mean()) ** 2).sum()
    total = ((values - values.mean()) ** 2).sum()
    return between / total.where(total > 0)


def _members(values: pd.DataFrame, group: str, moment: str = "") -> list[str]:
    return [name for name in values if family(name) == group and name.endswith(moment)]


def _best(ratios: pd.DataFrame, group: str) -> str:
    members = [name for name in ratios.index if family(name) == group]
    return max(members, key=lambda name: np.nan_to_num(ratios.loc[name, "emotion"], nan=-1.0))


def _three_digits(value: float) -> str:
    """``value`` to three significant digits, for rows of different units."""
    if np.isnan(value):
        return ""
    decimals = max(0, 2 - int(np.floor(np.log10(abs(value))))) if value else 0
    return f"{value:.{decimals}f}"
