"""The tab that chooses the model, and shows its card and what it gets wrong."""

import argparse
import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from edge.classifier import EmotionClassifier, ModelError, default_model
from streamlit_app.hearing import Model, literal

ROOT = Path(__file__).resolve().parent.parent
EXPORT = ROOT / "export"
RELEASED = {
    "ser.tflite (released)": EXPORT / "ser.tflite",
    "ser_float32.tflite (released, before quantisation)": EXPORT / "ser_float32.tflite",
}
OWN = "Your own file"
LARGEST_MODEL = 50  # MB
TRIAL_SECONDS = 30.0
PROTOCOLS = {  # what it is, its folder, what it was asked of
    "actors: voices never heard, all five folds": ("actors", "models made like it"),
    "actors-speech: the same, speech alone": ("actors-speech", "models made like it"),
    "common: random 80/20, the same voices on both sides": ("common", "a model of RAVDESS alone"),
}
TRIAL = """
import sys
import numpy
from edge.classifier import EmotionClassifier, ModelError
try:
    classifier = EmotionClassifier(sys.argv[1])
except ModelError as error:
    sys.exit(str(error))
classifier.probabilities(numpy.zeros(classifier.window, numpy.float32))
"""


def offered() -> dict[str, Path | None]:
    """The models by what the page calls them, the one to start with first; None for an upload.

    Stops the page with clear words where there is none.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--model", type=Path, action="append", default=[])
    parser.add_argument("--no-model-upload", action="store_true")
    try:
        options, rest = parser.parse_known_args()
        if rest:
            raise argparse.ArgumentError(None, f"unknown option {rest[0]}")
        named = {str(path): path for path in options.model}
        found = {**named, **{name: path for name, path in RELEASED.items() if path.is_file()}}
        if not found:
            found = {"ser.tflite": default_model()}
        name, path = next(iter(found.items()))
        _load(path, _changed(path), name)
    except (argparse.ArgumentError, ModelError) as error:
        st.error(literal(f"No model can be used: {error}"), icon=":material/error:")
        st.info(
            "Train one with `make train`, or start the page with a model of yours:\n\n"
            "`streamlit run streamlit_app/app.py -- --model FILE`"
        )
        st.stop()
    return dict(found) if options.no_model_upload else {**found, OWN: None}


def choose(found: dict[str, Path | None]) -> Model:
    """Let the visitor choose the model of this session, or upload one.

    Args:
        found: What :func:`offered` gives.
    """
    first, first_path = next(iter(found.items()))
    assert first_path is not None
    name = st.radio("Model that answers", list(found), format_func=literal, key="model")
    path = found[name]
    if path is None:
        file = st.file_uploader(
            "A .tflite file written by python -m export.convert",
            type="tflite",
            max_upload_size=LARGEST_MODEL,
            key="own",
        )
        own = None if file is None else _own(file)
        if own is not None:
            return own
        st.info(literal(f"Until there is one, {first} answers."))
    else:
        try:
            return _load(path, _changed(path), name)
        except ModelError as error:
            st.error(literal(f"{error}. {first} answers."), icon=":material/error:")
    return _load(first_path, _changed(first_path), first)


def show(model: Model) -> None:
    """What is known of a model."""
    classifier = model.classifier
    seconds = classifier.window / classifier.sample_rate
    facts = {
        "File": model.name,
        "Size": f"{model.size / 1e6:.2f} MB",
        "Takes": f"{seconds:.1f} s of mono sound at {classifier.sample_rate:,} Hz",
        "Tells apart": ", ".join(classifier.labels),
        "SHA-256": f"{model.sha256[:16]}…",
    }
    with st.container(border=True, key="facts"):
        st.markdown("\n\n".join(f"**{name}:** {literal(fact)}" for name, fact in facts.items()))
    if not model.released:
        st.info(
            "No figures are known of this file. `python -m ser_tf.evaluate --model FILE --data "
            "FOLDER` measures it."
        )
        return
    st.header("What models like it get wrong", anchor=False)
    _confusion()
    card = EXPORT / "MODEL_CARD.md"
    if card.is_file():
        with st.expander("Model card", icon=":material/description:"):
            st.markdown(_readable(card.read_text(encoding="utf-8")))


def _confusion() -> None:
    present = {
        words: (file, asked)
        for words, (name, asked) in PROTOCOLS.items()
        if (file := EXPORT / "metrics" / name / "metrics.json").is_file()
    }
    if not present:
        st.write("The measured figures are not beside this page.")
        return
    words = st.selectbox("Protocol", list(present), key="protocol", persist_state="page")
    file, asked = present[words]
    figures = json.loads(file.read_text(encoding="utf-8"))
    st.write(
        f"{figures['count']:,} recordings of RAVDESS, accuracy {figures['accuracy']:.1%}, weighted "
        f"F1 {figures['weighted_f1']:.1%}. The released file has heard all of its voices, so this "
        f"was asked of {asked} (int8), which had not heard these recordings."
    )
    st.altair_chart(_matrix(figures["confusion"]))


def _matrix(confusion: dict[str, list]) -> alt.LayerChart:
    table = pd.DataFrame(
        [
            (truth, answer, count, count / max(sum(row), 1))
            for truth, row in zip(confusion["truth"], confusion["counts"], strict=True)
            for answer, count in zip(confusion["answer"], row, strict=True)
            if answer in confusion["truth"]
        ],
        columns=["truth", "answer", "count", "share"],
    )
    order = confusion["truth"]
    description = "Confusion matrix: rows are the emotion that was acted, columns the answer."
    base = alt.Chart(table).encode(
        x=alt.X(
            "answer:N",
            sort=order,
            title="answer",
            axis=alt.Axis(labelAngle=-45, labelOverlap=False),
        ),
        y=alt.Y("truth:N", sort=order, title="acted"),
        tooltip=["truth", "answer", "count", alt.Tooltip("share:Q", format=".0%")],
    )
    shade = alt.Color("share:Q", scale=alt.Scale(scheme="blues", domain=[0, 1]), legend=None)
    ink = alt.condition(alt.datum.share > 0.5, alt.value("#ffffff"), alt.value("#1b2733"))
    return (
        base.mark_rect().encode(color=shade)
        + base.mark_text(fontSize=11).encode(text=alt.Text("share:Q", format=".0%"), color=ink)
    ).properties(height=360, description=description)


def _readable(card: str) -> str:
    """The card without its pictures, marks for programs and links to files beside it."""
    card = re.sub(r"<!--.*?-->\n?|^!\[.*\n", "", card, flags=re.MULTILINE)
    card = re.sub(r"\[([^\]]+)\]\((?!http)[^)]*\)", r"\1", card)
    return re.sub(r"^(#+) ", r"##\1 ", card, flags=re.MULTILINE).replace("~", r"\~")


def _changed(path: Path) -> float:
    return path.stat().st_mtime if path.is_file() else 0.0


@st.cache_resource(show_spinner="Loading the model", max_entries=4)
def _load(path: Path, changed: float, name: str = "") -> Model:
    """Load a model once for all visitors, and again when its file has ``changed``."""
    classifier = EmotionClassifier(path)
    content = path.read_bytes()
    released = path in RELEASED.values()
    digest = sha256(content).hexdigest()
    return Model(
        (str(path), changed), name or path.name, classifier, len(content), digest, released
    )


def _own(file: UploadedFile) -> Model | None:
    """The visitor's own model, for this session alone; None where it cannot be used."""
    held = st.session_state.get("own_model")
    if held is not None and held.key == (file.file_id, 0.0):
        return held
    content = file.getvalue()
    try:
        classifier = _tried(file.name, content)
    except ModelError as error:
        st.error(literal(f"This model cannot be used. {error}"), icon=":material/error:")
        return None
    digest = sha256(content).hexdigest()
    own = Model((file.file_id, 0.0), file.name, classifier, len(content), digest, False)
    st.session_state["own_model"] = own
    return own


def _tried(name: str, content: bytes) -> EmotionClassifier:
    """Load a model that has run in a process of its own: a damaged one can end the process.

    Raises:
        ModelError: It cannot be used, or ended that process, or is too slow.
    """
    with NamedTemporaryFile(suffix=".tflite") as copy:
        copy.write(content)
        copy.flush()
        command = [sys.executable, "-c", TRIAL, copy.name]
        try:
            trial = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=TRIAL_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise ModelError(f"{name}: takes over {TRIAL_SECONDS:.0f} s for a window") from None
        if trial.returncode < 0:
            raise ModelError(f"{name}: brings the TFLite runtime down; export it again")
        if trial.returncode > 0:
            words = trial.stderr.strip().splitlines()[-1]
            raise ModelError(words.replace(copy.name, name))
        return EmotionClassifier(copy.name)
