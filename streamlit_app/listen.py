"""The tab that answers one recording."""

from functools import partial
from html import escape

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from edge.classifier import Prediction
from streamlit_app import pictures, player
from streamlit_app.hearing import (
    LARGEST,
    LEAST_CONFIDENCE,
    LONGEST,
    SUFFIXES,
    Heard,
    Model,
    hear,
    least_confidence,
    literal,
    remembered,
    trace,
)

UPLOAD, RECORD = "Upload", "Record"
SPECTROGRAM, MFCC = "Mel spectrogram", "MFCC"
MOST = 20  # recordings at once

STYLE = """
<style>
.said { font-size: 2rem !important; margin: 0 !important; padding: 0 0 .75rem !important; }
.said span { font-weight: 400; opacity: .65; }
.bars { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
.bars th { font-weight: 400; text-align: right; padding: 2px 10px 2px 0; width: 1%; }
.bars td { padding: 2px 0; }
.bars td:last-child { width: 3.6em; text-align: right; }
.bars div { background: #2f8fae; height: 14px; min-width: 2px; border-radius: 3px; opacity: .55; }
.bars tr:first-child div { opacity: 1; }
.bars caption { position: absolute; clip-path: inset(50%); white-space: nowrap; }
</style>
"""
BARS = '<table class="bars"><caption>Probability of each emotion</caption><tbody>{}</tbody></table>'
BAR = (
    '<tr><th scope="row">{emotion}</th>'
    '<td><div style="width: {share:.2%}"></div></td><td>{share:.1%}</td></tr>'
)


def choose() -> UploadedFile | None:
    """Let the visitor upload or record; the recording that is to be answered."""
    source = st.segmented_control(
        "Source",
        (UPLOAD, RECORD),
        default=UPLOAD,
        required=True,
        label_visibility="collapsed",
        key="source",
    )
    if source == RECORD:
        return st.audio_input("Record a voice", sample_rate=None, key="recorded")
    uploaded = st.file_uploader(
        f"WAV, FLAC, MP3 or OGG, up to {LARGEST} MB and {LONGEST / 60:.0f} minutes each",
        type=SUFFIXES,
        accept_multiple_files=True,
        max_upload_size=LARGEST,
        key="uploaded",
    )
    if len(uploaded) > MOST:
        st.warning(
            f"These are {len(uploaded)} recordings; the first {MOST} are offered here. "
            "The tab Batch answers more."
        )
        uploaded = uploaded[:MOST]
    if len(uploaded) < 2:
        return uploaded[0] if uploaded else None
    named: dict[str, UploadedFile] = {}
    for file in uploaded:
        count = sum(other.name == file.name for other in named.values())
        named[f"{file.name} ({count + 1})" if count else file.name] = file
    return named[st.selectbox("Recording", list(named), index=len(named) - 1)]


def show(model: Model, recording: UploadedFile) -> None:
    """Answer a recording, then play and draw it."""
    key = (model.key, recording.file_id)
    heard = remembered("heard", key, partial(hear, model.classifier, recording))
    if heard.problem:
        with st.container(key="problem"):
            words = literal(f"This recording cannot be used. {heard.problem}")
            st.error(words, icon=":material/error:")
        return
    _answered(heard, model, recording)
    if not heard.prediction.silent:
        _pictures(recording)


@st.fragment  # its slider redraws it alone: the recording is not answered again
def _answered(heard: Heard, model: Model, recording: UploadedFile) -> None:
    prediction = heard.prediction
    assert prediction is not None
    least = LEAST_CONFIDENCE / 100
    with st.container(border=True, key="answer"):
        answer = st.container()
        if not prediction.silent:
            least = least_confidence()
        answer.html(STYLE + _said(prediction, least))
        st.caption(
            f"Answered in {1000 * heard.seconds:.0f} ms by {literal(model.name)}, "
            "reading the file included."
        )
    with st.spinner("Going through the recording"):
        key = (model.key, recording.file_id)
        traced = remembered("traced", key, partial(trace, model.classifier, recording))
    st.header("Over time" if traced.parts else "Waveform", anchor=False)
    with st.container(key="player"):
        recording.seek(0)
        st.audio(recording, format=recording.type)
        player.draw(traced, model.classifier.labels, least)


def _said(prediction: Prediction, min_confidence: float) -> str:
    """The answer as HTML, read out by a screen reader when it comes."""
    if prediction.emotion is None:
        words = "<p>Nothing in this recording is loud enough to judge.</p>"
        return f'<div role="status"><h2 class="said">Silence</h2>{words}</div>'
    emotion, confidence = escape(prediction.emotion), f"{prediction.confidence:.0%}"
    if prediction.uncertain(min_confidence):
        words = f"<p>It is uncertain, and leans to {emotion}, {confidence}.</p>"
        said = f'<h2 class="said">Not sure</h2>{words}'
    else:
        said = f'<h2 class="said">{emotion.capitalize()} <span>{confidence}</span></h2>'
    ranked = sorted(prediction.probabilities.items(), key=lambda named: -named[1])
    rows = "".join(BAR.format(emotion=escape(name), share=share) for name, share in ranked)
    return f'<div role="status">{said}</div>{BARS.format(rows)}'


@st.fragment  # what is drawn here concerns nothing else
def _pictures(recording: UploadedFile) -> None:
    chosen = st.pills("Pictures", (SPECTROGRAM, MFCC), key="pictures", persist_state="page")
    if chosen is None:
        return
    with st.spinner("Drawing"):
        waveform, whole = pictures.beginning(recording)
        draw = pictures.spectrogram if chosen == SPECTROGRAM else pictures.mfcc
        st.altair_chart(draw(waveform))
    if not whole:
        st.caption(f"The picture shows the first {pictures.PICTURED:.0f} seconds.")
