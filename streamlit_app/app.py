"""The page: ``streamlit run streamlit_app/app.py -- --model FILE``.

Upload or record a few seconds of voice and see which emotion the model hears. Inference is
:mod:`edge.classifier` alone; the pictures are drawn after the answer stands.
"""

import argparse
import re
import sys
import time
from base64 import b64encode
from io import BytesIO
from itertools import islice, pairwise
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edge import audio
from edge.classifier import EmotionClassifier, ModelError, Prediction, default_model

UPLOAD, RECORD = "Upload", "Record"
SUFFIXES = ("wav", "flac", "mp3", "ogg", "opus")
PICTURED = 60.0  # seconds; of anything longer only the beginning is drawn
COLUMNS = 800  # of the waveform picture
LEAST_CONFIDENCE = 50  # per cent; below that the other emotions together are likelier
TIMELINE_FROM = 1.5  # windows; in anything shorter, the last one nearly repeats the first
TIMELINE_PARTS = 1_000  # answers drawn over time: those of half an hour

PICTURE_FRAMES = 1_200  # most columns of the spectrogram
N_FFT, HOP, N_MELS = 512, 160, 80
DYNAMIC_RANGE = 80.0  # dB below the loudest point that the spectrogram shows
TICKS = (500, 1_000, 2_000, 4_000, 8_000)  # Hz
ACCENT = "#2f8fae"  # readable on light and on dark, as is
INK = "#7d8899"
MARGIN = 58  # pixels left of every picture, so that they line up


def main() -> None:
    """Draw the page for the present state of its widgets."""
    st.set_page_config("Speech emotion", "🎙️", layout="centered")
    st.title("Speech emotion")
    st.write("Upload or record a few seconds of a voice to see which emotion the model hears.")

    classifier = _classifier()
    source = st.segmented_control(
        "Source", (UPLOAD, RECORD), default=UPLOAD, required=True, label_visibility="collapsed"
    )
    if source == RECORD:
        recording = st.audio_input("Record a voice", sample_rate=None)
    else:
        recording = st.file_uploader("A recording: WAV, FLAC, MP3 or OGG", type=SUFFIXES)
    if recording is not None:
        _show(classifier, recording, player=source == UPLOAD)
    st.caption(
        "The model judges how a voice sounds, and learnt it from actors. "
        "It cannot know what a person feels."
    )


def _classifier() -> EmotionClassifier:
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--model", type=Path)
    try:
        options, rest = parser.parse_known_args()
        if rest:
            raise argparse.ArgumentError(None, f"unknown option {rest[0]}")
        path = options.model or default_model()
        changed = path.stat().st_mtime_ns if path.is_file() else 0
        return _load(path, changed)
    except (argparse.ArgumentError, ModelError) as error:
        st.error(_literal(f"No model can be used: {error}"), icon=":material/error:")
        st.info(
            "Train one with `make train`, or start the page with a model of yours:\n\n"
            "`streamlit run streamlit_app/app.py -- --model FILE`"
        )
        st.stop()


@st.cache_resource(show_spinner="Loading the model", max_entries=2)
def _load(path: Path, changed: int) -> EmotionClassifier:
    """Load a model once for all visitors, and again when its file has ``changed``."""
    return EmotionClassifier(path)


def _show(classifier: EmotionClassifier, recording: UploadedFile, *, player: bool) -> None:
    started = time.perf_counter()
    try:
        prediction = classifier.predict_file(_rewound(recording))
    except audio.AudioError as error:
        with st.container(key="problem"):
            words = _literal(f"This recording cannot be used. {error}")
            st.error(words, icon=":material/error:")
        return
    _answer(prediction, time.perf_counter() - started)
    if player:
        st.audio(_rewound(recording), format=recording.type)
    if prediction.silent:
        return
    if prediction.end >= TIMELINE_FROM * classifier.window / classifier.sample_rate:
        _timeline(classifier, recording)
    _pictures(recording)


@st.fragment  # its slider redraws it alone: the recording is not answered again
def _answer(prediction: Prediction, seconds: float) -> None:
    with st.container(border=True, key="answer"):
        if prediction.silent:
            st.header("Silence", anchor=False)
            st.write("Nothing in this recording is loud enough to judge.")
        else:
            answer = st.container()
            least = st.slider(
                "Least confidence for an answer",
                max_value=100,
                value=LEAST_CONFIDENCE,
                step=5,
                format="%d%%",
                key="least_confidence",
                help="Below it the page says that it is not sure. At 0% it always answers.",
                persist_state="page",
            )
            with answer:
                _emotion(prediction, least / 100)
        st.caption(f"Answered in {1000 * seconds:.0f} ms, reading the file included.")


def _emotion(prediction: Prediction, min_confidence: float) -> None:
    assert prediction.emotion is not None
    confidence = f"{prediction.confidence:.0%}"
    if prediction.uncertain(min_confidence):
        st.header("Not sure", anchor=False)
        st.write(f"It leans to {prediction.emotion}, {confidence}.")
    else:
        st.header(f"{prediction.emotion.capitalize()} :gray[{confidence}]", anchor=False)
    st.altair_chart(_bars(prediction))


def _bars(prediction: Prediction) -> alt.LayerChart:
    table = pd.DataFrame(
        {
            "emotion": list(prediction.probabilities),
            "probability": list(prediction.probabilities.values()),
        }
    )
    base = alt.Chart(table).encode(
        y=alt.Y(
            "emotion:N",
            sort="-x",
            title=None,
            axis=alt.Axis(ticks=False, domain=False, minExtent=MARGIN),
        ),
        x=alt.X("probability:Q", scale=alt.Scale(domain=[0, 1.1], nice=False), axis=None),
        opacity=alt.condition(
            alt.datum.emotion == prediction.emotion, alt.value(1), alt.value(0.55)
        ),
        tooltip=["emotion:N", alt.Tooltip("probability:Q", format=".1%")],
    )
    numbers = base.mark_text(align="left", dx=6, color=INK).encode(
        text=alt.Text("probability:Q", format=".1%"), opacity=alt.value(1)
    )
    return (base.mark_bar(height=14, cornerRadiusEnd=3, color=ACCENT) + numbers).properties(
        height=24 * len(table)
    )


def _timeline(classifier: EmotionClassifier, recording: UploadedFile) -> None:
    st.subheader("Over time", anchor=False)
    with st.spinner("Going through the recording"):
        parts = list(islice(classifier.timeline(_rewound(recording)), TIMELINE_PARTS))
    # Windows overlap: each is drawn up to halfway to the centres of its neighbours.
    centres = [(part.start + part.end) / 2 for part in parts]
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(centres)), parts[-1].end]
    table = pd.DataFrame(
        [
            (start, end, part.emotion, part.confidence)
            for part, (start, end) in zip(parts, pairwise(edges), strict=True)
            if not part.silent
        ],
        columns=["start", "end", "emotion", "probability"],
    )
    st.altair_chart(
        alt.Chart(table)
        .mark_bar(height=14, cornerRadius=2, color=ACCENT)
        .encode(
            x=_seconds(edges[-1], "start"),
            x2="end:Q",
            y=alt.Y(
                "emotion:N",
                title=None,
                sort=list(classifier.labels),
                axis=alt.Axis(labelOverlap=False, minExtent=MARGIN),
            ),
            opacity=alt.Opacity(
                "probability:Q", scale=alt.Scale(domain=[0, 1], range=[0.15, 1]), legend=None
            ),
            tooltip=[
                alt.Tooltip("start:Q", format=".1f"),
                alt.Tooltip("end:Q", format=".1f"),
                "emotion:N",
                alt.Tooltip("probability:Q", format=".1%"),
            ],
        )
        .properties(height=alt.Step(24))
    )
    if len(parts) == TIMELINE_PARTS:
        st.caption(f"The first {edges[-1] / 60:.0f} minutes.")


def _pictures(recording: UploadedFile) -> None:
    waveform = next(audio.blocks(_rewound(recording), PICTURED))
    st.subheader("Waveform", anchor=False)
    st.altair_chart(_waveform(waveform))
    st.subheader("Mel spectrogram", anchor=False)
    with st.spinner("Drawing"):
        st.altair_chart(_spectrogram(waveform))
    if len(waveform) == round(PICTURED * audio.SAMPLE_RATE):
        st.caption(f"The pictures show the first {PICTURED:.0f} seconds.")


def _waveform(waveform: np.ndarray) -> alt.Chart:
    """Lowest and highest sample of each of up to 800 columns."""
    columns = np.array_split(waveform, min(COLUMNS, len(waveform)))
    seconds = np.cumsum([len(column) for column in columns]) / audio.SAMPLE_RATE
    table = pd.DataFrame(
        {
            "seconds": seconds,
            "low": [column.min() for column in columns],
            "high": [column.max() for column in columns],
        }
    )
    loudest = max(float(np.abs(waveform).max()), 1e-4)  # its beginning may be silent
    return (
        alt.Chart(table)
        .mark_area(color=ACCENT)
        .encode(
            x=_seconds(seconds[-1]),
            y=alt.Y(
                "low:Q",
                title=None,
                scale=alt.Scale(domain=[-loudest, loudest], nice=False),
                axis=alt.Axis(values=[-loudest, 0, loudest], format=".2f", minExtent=MARGIN),
            ),
            y2="high:Q",
        )
        .properties(height=150)
    )


def _spectrogram(waveform: np.ndarray) -> alt.Chart:
    """Mel power spectrum in dB re its loudest point, over mel = 2595 log10(1 + f / 700 Hz)."""
    import librosa  # after the answer: both take seconds to import
    from matplotlib.image import imsave

    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=audio.SAMPLE_RATE,
        n_fft=N_FFT,
        hop_length=max(HOP, len(waveform) // PICTURE_FRAMES),
        n_mels=N_MELS,
        htk=True,
    )
    decibels = librosa.power_to_db(power, ref=np.max, top_db=DYNAMIC_RANGE)
    png = BytesIO()
    imsave(png, decibels, cmap="magma", origin="lower", format="png")
    top = float(librosa.hz_to_mel(audio.SAMPLE_RATE / 2, htk=True))
    table = pd.DataFrame(
        {
            "seconds": [0.0],
            "end": [len(waveform) / audio.SAMPLE_RATE],
            "mel": [0.0],
            "top": [top],
            "picture": ["data:image/png;base64," + b64encode(png.getvalue()).decode()],
        }
    )
    ticks = librosa.hz_to_mel(np.array(TICKS), htk=True).tolist()
    kilohertz = "format(0.7 * (pow(10, datum.value / 2595) - 1), '.1~f') + ' kHz'"
    return (
        alt.Chart(table)
        .mark_image(aspect=False)
        .encode(
            x=_seconds(table["end"][0]),
            x2="end:Q",
            y=alt.Y(
                "mel:Q",
                title=None,
                scale=alt.Scale(domain=[0, top], nice=False),
                axis=alt.Axis(values=ticks, labelExpr=kilohertz, grid=False, minExtent=MARGIN),
            ),
            y2="top:Q",
            url="picture:N",
        )
        .properties(height=220)
    )


def _seconds(end: float, name: str = "seconds") -> alt.X:
    """The time axis that all pictures share."""
    return alt.X(
        f"{name}:Q",
        title="seconds",
        scale=alt.Scale(domain=[0, float(end)], nice=False),
        axis=alt.Axis(grid=False, tickCount=8),
    )


def _literal(text: str) -> str:
    """The text as Markdown that shows it as it is, whatever a file is called."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~:$&])", r"\\\1", text)


def _rewound(recording: UploadedFile) -> UploadedFile:
    recording.seek(0)
    return recording


if __name__ == "__main__":
    main()
