"""The page: ``streamlit run streamlit_app/app.py -- --model FILE``.

Upload or record a few seconds of voice and see which emotion the model hears. Inference is
:mod:`edge.classifier` alone; only the tab that is looked at is computed, and librosa and matplotlib
are loaded when a picture needs them.
"""

import sys
from pathlib import Path

import streamlit as st

ROOT = str(Path(__file__).resolve().parent.parent)
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from streamlit_app import about, batch, features, listen, models  # noqa: E402

TABS = ("Listen", "Batch", "Features", "Models", "About")


def main() -> None:
    """Draw the page for the present state of its widgets."""
    st.set_page_config("Speech emotion", "🎙️", layout="centered")
    st.title("Speech emotion", anchor=False)
    st.write("Upload or record a few seconds of a voice to see which emotion the model hears.")
    offered = models.offered()
    listening, batching, featuring, modelling, telling = st.tabs(TABS, key="tab", on_change="rerun")
    # What a visitor has chosen stays chosen only while its widget is drawn, looked at or not.
    with modelling:
        model = models.choose(offered)
    with listening:
        recording = listen.choose()
    with batching:
        files = batch.choose()
    if listening.open and recording is not None:
        with listening:
            listen.show(model, recording)
    elif batching.open and files:
        with batching:
            batch.show(model, files)
    elif featuring.open:
        with featuring:
            features.show(model, recording)
    elif modelling.open:
        with modelling:
            models.show(model)
    elif telling.open:
        with telling:
            about.show()
    st.caption(
        "The model judges how a voice sounds, and learnt it from actors. "
        "It cannot know what a person feels."
    )


if __name__ == "__main__":
    main()
