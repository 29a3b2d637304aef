"""The report of a corpus: what :mod:`ser_tf.explore` has measured, as tables and pictures."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields

import matplotlib
from tqdm import tqdm

from edge import audio
from ser_tf.corpus_report import acoustics, plots
from ser_tf.corpus_report.plots import BOXES
from ser_tf.corpus_report.study import MEASURES, Study, short
from ser_tf.corpus_report.survey import Facts, identical, oddities
from ser_tf.descriptors import spectra
from ser_tf.report import Report

MOST_SPEAKERS = 40  # that are drawn
MOST_ROWS = 40  # of a list of files that the page shows
SHOWN_STRIDE = 2  # frames of an example; a panel is too narrow for all


def build(study: Study) -> Report:
    """The report, with its pictures drawn: some seconds and a progress bar."""
    report = Report(f"The corpus {study.corpus}", _lead(study))
    chapters: tuple[Callable[[Report, Study], None], ...] = (
        _recordings,
        _files,
        _levels,
        _examples,
        acoustics.descriptors,
        acoustics.correlations,
        acoustics.map_of_recordings,
        _definitions,
    )
    with matplotlib.rc_context({"text.parse_math": False}):  # labels may hold dollar signs
        for chapter in tqdm(chapters, "drawing", delay=2.0):
            chapter(report, study)
    return report


def summary(study: Study) -> str:
    """Two lines for a terminal."""
    odd = len({name for name, _ in oddities(study.facts)})
    return (
        f"{_lead(study)}\n"
        f"files that cannot be used: {len(study.unusable)}; that stand out: {odd}; whose sound "
        f"another has: {sum(map(len, identical(study.facts)))}"
    )


def _lead(study: Study) -> str:
    speakers = f" by {len(study.speakers)} speakers" if study.speakers else ""
    minutes = study.table["seconds"].sum() / 60
    return (
        f"{study.corpus}: {len(study.recordings):,} recordings{speakers}, {minutes:.1f} minutes, "
        f"labelled {', '.join(study.emotions)}. Everything here is about all of them; nothing is "
        "held out and no model is involved."
    )


def _recordings(report: Report, study: Study) -> None:
    report.section("Recordings")
    table = study.table
    labels = ["emotion", *study.traits, *(["speaker"] if study.speakers else [])]
    counted = {trait: _counted(study, trait) for trait in labels}
    drawn = {
        trait: values
        for trait, values in counted.items()
        if trait != "speaker" or len(values) <= MOST_SPEAKERS
    }
    report.figure(
        plots.bars(study.title, drawn),
        "recordings",
        caption=f"Recordings and minutes of {study.title}.",
        alt=_told({emotion: files for emotion, (files, _) in counted["emotion"].items()}),
    )
    kinds = [(trait, value) for trait in study.traits for value in study.values(trait)]
    rows = []
    for emotion, (files, minutes) in counted["emotion"].items():
        held = table[table["emotion"] == emotion]
        rows.append([emotion, files, minutes, *(sum(held[t] == value) for t, value in kinds)])
    totals = [sum(table[trait] == value) for trait, value in kinds]
    rows.append(["all", len(table), table["seconds"].sum() / 60, *totals])
    report.table(
        ["emotion", "files", "minutes", *(_heading(trait, value) for trait, value in kinds)],
        rows,
        caption=f"{study.title}: files by emotion and what else the corpus says of them.",
        name="emotions",
    )
    if study.speakers:
        _speakers(report, study, counted["speaker"])


def _speakers(report: Report, study: Study, counted: dict[str, tuple[int, float]]) -> None:
    by_speaker = study.table.groupby("speaker")
    own = [trait for trait in study.traits if (by_speaker[trait].nunique() == 1).all()]
    loudness = by_speaker["loudness"].median()
    pitch = study.descriptors["pitch_median_hz"].groupby(study.table["speaker"]).median()
    rows = [
        [
            speaker,
            *(by_speaker.get_group(speaker)[trait].iloc[0] for trait in own),
            *(files, minutes, loudness[speaker], pitch[speaker]),
        ]
        for speaker, (files, minutes) in counted.items()
    ]
    columns = ["speaker", *own, "files", "minutes", "loudness, LUFS", "pitch, Hz"]
    caption = f"{study.title}, by speaker; loudness and pitch are medians over recordings."
    if len(rows) > MOST_ROWS:
        report.data(columns, rows, caption=caption, name="speakers")
    else:
        report.table(columns, rows, caption=caption, name="speakers")


def _files(report: Report, study: Study) -> None:
    report.section("Files")
    formats = Counter(
        (fact.container, fact.encoding, fact.sample_rate, fact.channels, fact.bits)
        for fact in study.facts.values()
    )
    report.table(
        ["container", "encoding", "sample rate, Hz", "channels", "bits", "files"],
        [[*kind, files] for kind, files in formats.most_common()],
        caption=f"Formats of {study.title}, by libsndfile.",
        name="formats",
    )
    report.data(
        ["name", "emotion", "speaker", *study.all_traits, *(field.name for field in fields(Facts))],
        [
            [
                *(recording.name, recording.emotion, recording.speaker),
                *(recording.traits.get(trait) for trait in study.all_traits),
                *map(short, astuple(study.facts[recording.name])),
            ]
            for recording in study.recordings
        ],
        caption="What is known of every file:",
        name="files",
    )
    groups = identical(study.facts)
    report.text(_identical_told(groups))
    if groups:
        emotion = {recording.name: recording.emotion for recording in study.recordings}
        _list(
            report,
            ["file", "sounds like", "emotion", "the other's"],
            [[b, a[0], emotion[b], emotion[a[0]]] for a in groups for b in a[1:]],
            caption=f"Files of the same sound in {study.title}.",
            name="identical",
        )
    odd = [*study.unusable, *oddities(study.facts)]
    if not odd:
        report.text(
            "No file is unreadable, silent, clipped, of another format than the rest or of an "
            "outlying length."
        )
        return
    _list(
        report,
        ["file", "what stands out"],
        odd,
        caption=f"Damaged and odd files of {study.corpus}: {len(odd):,} remarks.",
        name="odd",
    )


def _levels(report: Report, study: Study) -> None:
    report.section("Length, level and noise")
    table = study.table
    parts = next(iter(study.parting), None)
    measures = {words: table[name].astype(float) for name, words in MEASURES.items()}
    report.figure(
        plots.levels(
            study.title,
            {words: study.by("emotion", values) for words, values in measures.items()},
            {
                words: study.by(parts, values) if parts else {"all": values.to_numpy()}
                for words, values in measures.items()
            },
        ),
        "levels",
        caption=f"{study.title}{f', by {parts}' if parts else ''}, and by emotion. {BOXES}",
        alt=f"Histograms and boxes by emotion of {', '.join(MEASURES.values())}.",
    )
    quantiles = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}
    report.table(
        ["of all", *measures],
        [
            [words, *(float(values.quantile(share)) for values in measures.values())]
            for words, share in quantiles.items()
        ],
        caption=f"{study.title}: least, quantiles and most.",
        name="levels",
    )
    if 2 <= len(study.speakers) <= MOST_SPEAKERS:
        pitch = {"pitch, median, Hz": study.descriptors["pitch_median_hz"]}
        shown = {MEASURES[name]: table[name] for name in ("seconds", "loudness", "snr")}
        report.figure(
            plots.boxes(
                study.title,
                {words: study.by("speaker", values) for words, values in (shown | pitch).items()},
                columns=4,
            ),
            "speakers",
            caption=f"{study.title}, by speaker. {BOXES}",
            alt="Boxes by speaker of length, loudness, signal-to-noise ratio and pitch.",
        )


def _examples(report: Report, study: Study) -> None:
    report.section("A recording of each emotion")
    clips = {}
    for emotion in study.emotions:
        held = study.table.loc[study.table["emotion"] == emotion, "seconds"]
        name = (held - held.median()).abs().sort_index().idxmin()
        recording = next(r for r in study.recordings if r.name == name)
        waveform = audio.load(recording.path)
        _, mel_db, mfcc = spectra(waveform)
        clips[emotion] = {
            "name": recording.name,
            "seconds": len(waveform) / audio.SAMPLE_RATE,
            "waveform": waveform,
            "mel_db": mel_db[:, ::SHOWN_STRIDE],
            "mfcc": mfcc[:, ::SHOWN_STRIDE],
        }
    chosen = "; ".join(f"{emotion}: {clip['name']}" for emotion, clip in clips.items())
    report.figure(
        plots.examples(
            f"{study.corpus}: of each emotion, the recording nearest its median length", clips
        ),
        "examples",
        caption=f"Of each emotion of {study.title}, the one nearest the median length. Waveforms "
        f"stand each at its own scale. {chosen}.",
        alt="Waveform, mel spectrogram and MFCC of a recording of each emotion.",
    )


def _definitions(report: Report, study: Study) -> None:
    report.section("How it was measured")
    for paragraph in _DEFINITIONS:
        report.text(paragraph)


def _counted(study: Study, trait: str) -> dict[str, tuple[int, float]]:
    held = study.table.groupby(trait)["seconds"]
    files, minutes = held.size(), held.sum() / 60
    return {value: (int(files[value]), float(minutes[value])) for value in study.values(trait)}


def _list(
    report: Report,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    caption: str,
    name: str,
) -> None:
    """A table that shows its first rows only where there are many."""
    if len(rows) <= MOST_ROWS:
        report.table(columns, rows, caption=caption, name=name)
        return
    report.table(columns, rows[:MOST_ROWS], caption=f"{caption} The first {MOST_ROWS}.")
    report.data(columns, rows, caption=f"All {len(rows):,}:", name=name)


def _heading(trait: str, value: str) -> str:
    return value if value.isalpha() else f"{trait} {value}"


def _told(counts: dict[str, int]) -> str:
    return f"Bars; {', '.join(f'{name} {count:,}' for name, count in counts.items())}."


def _identical_told(groups: Sequence[Sequence[str]]) -> str:
    if not groups:
        return "No two files hold the same sound."
    files = sum(map(len, groups))
    return (
        f"{files} files hold a sound that another file holds, sample for sample ({len(groups)} "
        f"group{'s' if len(groups) > 1 else ''}). On both sides of a split, such a file is tested "
        "on what was learnt by heart."
    )


_DEFINITIONS = (
    "Formats, rates, channels and bits are what libsndfile says of the files. Sounds are compared "
    "by a SHA-256 of the decoded samples, so names, tags and containers do not matter.",
    "Loudness is integrated loudness by ITU-R BS.1770-4 at the file's own rate, in LUFS, with its "
    "gates at −70 LUFS and 10 LU. The gate works on blocks of 400 ms: a clip shorter than that is "
    "taken as one block as long as itself, without a gate. The standard adds channels up, so the "
    "same voice in stereo is 3 LU louder than in mono. The peak is the largest sample (no true "
    "peak). Clipped means three or more equal samples in a row at or above −0.1 dBFS; what was "
    "clipped and then resampled or compressed may escape that.",
    "The SNR is an estimate from one channel: of the power of 25 ms frames, 10 ms apart, the 95th "
    "percentile less the 10th, over the 10th, which is taken for noise (−100 dBFS at least). A "
    "clip without a pause gets too low a figure, one padded with digital silence far too high a "
    "one. Silence is the share of those frames more than 35 dB below the loudest.",
    "An outlying length is outside the middle half of all lengths by more than three interquartile "
    "ranges and more than a quarter of the median.",
    "Descriptors are computed by librosa at 16 kHz, mono, from frames of 64 ms, 16 ms apart: 128 "
    "mel bands, 40 MFCC, 13 Δ and ΔΔ, 12 chroma, 7 bands of spectral contrast, each as mean and "
    "standard deviation over frames. Pitch is by YIN between 60 and 800 Hz, in frames that repeat "
    "themselves after a period (similarity 0.6) and are within 35 dB of the loudest; an octave "
    "too high or low now and then is in its nature. Harmonic and percussive parts are separated by "
    "median filters over 0.7 s and 330 Hz.",
)
