"""The tab that answers many recordings, or a ZIP archive of them, in one table."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import BinaryIO

import pandas as pd
import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from edge.audio import AudioError
from streamlit_app.archive import MOST_MEMBERS, Archive, ArchiveError
from streamlit_app.hearing import LARGEST, SUFFIXES, Model, hear, least_confidence, literal
from streamlit_app.tables import SILENCE, Row, as_csv, as_json

LARGEST_ARCHIVE = 100  # MB
MOST_FILES = 1_000
ZIP = ".zip"
LISTED = 20  # problems told in full below the table
UNUSABLE = "cannot be used"

# The table's own download writes names as they are, formulas included.
STYLE = """
<style>.st-key-answers button[aria-label="Download as CSV"] { display: none; }</style>
"""

Job = tuple[tuple[object, ...], str, Callable[[], BinaryIO]]


def choose() -> list[UploadedFile]:
    """Let the visitor upload recordings and archives."""
    return st.file_uploader(
        f"Recordings, up to {LARGEST} MB each, or ZIP archives of up to {LARGEST_ARCHIVE} MB with "
        f"at most {MOST_MEMBERS:,} files",
        type=(*SUFFIXES, "zip"),
        accept_multiple_files=True,
        max_upload_size=LARGEST_ARCHIVE,
        key="batch",
    )


def show(model: Model, files: Sequence[UploadedFile]) -> None:
    """Answer the files one by one, and show what came of each."""
    jobs, refusals, left_out = _jobs(files)
    for refusal in refusals:
        st.error(literal(refusal), icon=":material/error:")
    if len(jobs) > MOST_FILES:
        st.warning(f"These are {len(jobs):,} recordings; the first {MOST_FILES:,} are answered.")
        jobs = jobs[:MOST_FILES]
    rows = _answered(model, jobs)
    if left_out:
        st.caption(f"Left out, being no recordings by their names: {left_out} in the archives.")
    if rows:
        with st.container(key="answers"):
            _table(rows, model)


def _jobs(files: Sequence[UploadedFile]) -> tuple[list[Job], list[str], int]:
    """What is to be answered, which archives are refused, and how many files are left out.

    A job is what it is remembered by, its name, and how its recording is come by.
    """
    jobs: list[Job] = []
    refusals: list[str] = []
    left_out = 0
    for file in files:
        if not file.name.lower().endswith(ZIP):
            jobs.append(((file.file_id,), file.name, partial(_rewound, file)))
            continue
        try:
            archive = Archive(_rewound(file), file.name)
        except ArchiveError as error:
            refusals.append(str(error))
            continue
        left_out += archive.left_out
        jobs += [
            ((file.file_id, member), f"{file.name}/{member}", partial(archive.read, member))
            for member in archive.members
        ]
        if not archive.members:
            refusals.append(f"{file.name}: holds no recordings; they end in {', '.join(SUFFIXES)}")
    return jobs, refusals, left_out


def _answered(model: Model, jobs: Sequence[Job]) -> list[Row]:
    """The rows of all jobs; those that this session has answered before are not answered again."""
    known: dict[tuple[object, ...], Row] = st.session_state.setdefault("rows", {})
    keys = [(*model.key, *key) for key, _, _ in jobs]
    for key in known.keys() - set(keys):
        del known[key]
    waiting = sum(key not in known for key in keys)
    if waiting:
        bar = st.progress(0.0, text="Starting")
        for done, (key, name, read) in enumerate(_waiting(known, keys, jobs), start=1):
            known[key] = _row(model, name, read)
            bar.progress(done / waiting, text=f"{done} of {waiting}: {literal(name)}")
        bar.empty()
    return [known[key] for key in keys]


def _waiting(
    known: dict[tuple[object, ...], Row], keys: Sequence[tuple[object, ...]], jobs: Sequence[Job]
) -> Iterator[Job]:
    for key, (_, name, read) in zip(keys, jobs, strict=True):
        if key not in known:
            yield key, name, read


def _row(model: Model, name: str, read: Callable[[], BinaryIO]) -> Row:
    try:
        heard = hear(model.classifier, read())
    except (AudioError, ArchiveError) as error:
        return Row(name, problem=str(error).removeprefix(f"{name}: "))
    return Row(name, heard.prediction, heard.problem.removeprefix(f"{name}: "))


def _table(rows: Sequence[Row], model: Model) -> None:
    least = least_confidence()
    said = [row.prediction for row in rows]
    table = pd.DataFrame(
        {
            "file": [row.file for row in rows],
            "answer": [_word(row, least) for row in rows],
            "confidence": [
                100 * each.confidence if each is not None and not each.silent else None
                for each in said
            ],
            "seconds": [each.end if each is not None else None for each in said],
        }
    )
    st.html(STYLE)
    st.write(_summary(rows, least))
    st.dataframe(
        table,
        hide_index=True,
        height=min(38 + 35 * len(rows), 480),
        placeholder="",
        column_config={
            "confidence": st.column_config.NumberColumn(format="%.0f%%", width="small"),
            "seconds": st.column_config.NumberColumn(format="%.1f", width="small"),
        },
    )
    damaged = [row for row in rows if row.problem]
    if damaged:
        lines = [f"- **{literal(row.file)}** {literal(row.problem)}" for row in damaged]
        more = f"- and {len(damaged) - LISTED} more" if len(damaged) > LISTED else ""
        with st.container(key="damaged"):
            st.warning("\n".join(["These cannot be used:", "", *lines[:LISTED], more]))
    with st.container(horizontal=True):
        labels = model.classifier.labels
        st.download_button(
            "Download CSV",
            partial(as_csv, rows, labels),
            "emotions.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
        )
        st.download_button(
            "Download JSON",
            partial(as_json, rows, least),
            "emotions.json",
            "application/json",
            on_click="ignore",
            icon=":material/download:",
        )
    st.caption(
        "Both hold all probabilities. In the CSV, a name that a spreadsheet could take for a "
        "formula has an apostrophe before it."
    )


def _summary(rows: Sequence[Row], least: float) -> str:
    damaged = sum(row.prediction is None for row in rows)
    uncertain = sum(row.prediction is not None and row.prediction.uncertain(least) for row in rows)
    parts = [f"{len(rows)} recording{'s' if len(rows) > 1 else ''}"]
    parts += [f"{uncertain} uncertain"] if uncertain else []
    parts += [f"{damaged} that cannot be used"] if damaged else []
    return ", ".join(parts) + "."


def _word(row: Row, least: float) -> str:
    if row.prediction is None:
        return UNUSABLE
    if row.prediction.uncertain(least):
        return f"uncertain ({row.prediction.emotion})"
    return row.prediction.emotion or SILENCE


def _rewound(file: UploadedFile) -> UploadedFile:
    file.seek(0)
    return file
