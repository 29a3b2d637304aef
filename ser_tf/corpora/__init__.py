"""Where recordings come from: RAVDESS, any labelled folder or table, a generated corpus."""

import sys
from collections.abc import Sequence
from pathlib import Path

from edge.audio import AUDIO_SUFFIXES
from ser_tf.corpora import labelled, ravdess
from ser_tf.corpora.listing import CorpusError, Problem, audio_files, check_all, report
from ser_tf.corpora.recording import Recording
from ser_tf.emotions import EMOTIONS

__all__ = ["CorpusError", "Recording", "load_corpus"]

ROOT = Path(__file__).resolve().parents[2]
INDEX = "index.csv"


def load_corpus(
    data: str | Path, *, strict: bool = False, labels: Sequence[str] | None = EMOTIONS
) -> list[Recording]:
    """Lists the recordings of a corpus, each with its label and speaker.

    Files that cannot be used (wrong name, unknown label, empty, unreadable) are one warning line
    each on stderr, with a count at the end.

    Args:
        data: A folder of RAVDESS (WAV or FLAC, labels from the file names), a folder of
            ``label/clip.wav`` or ``label/speaker/clip.wav``, a CSV table of
            ``path,emotion,speaker`` or a folder holding one as ``index.csv``; or ``"synthetic"``
            (generated on first use below ``cache/``) or ``"download"`` (the published RAVDESS
            archives, fetched on first use into ``data/ravdess``).
        strict: Whether a file that cannot be used is an error.
        labels: The labels that are known; ``None`` takes whatever the corpus says.

    Returns:
        The recordings, sorted by name, no name twice.

    Raises:
        CorpusError: There is no such corpus, nothing in it can be used, or ``strict`` and
            something cannot. One line.
    """
    corpus = _locate(data)
    recordings, problems = _read(corpus, labels)
    seen = len(recordings) + len(problems)
    faults = check_all([recording.path for recording in recordings])
    readable = []
    for recording, fault in zip(recordings, faults, strict=True):
        if fault is None:
            readable.append(recording)
        else:
            problems.append(Problem(str(recording.path), fault))
    unique: dict[str, Recording] = {}
    copies = []
    for recording in readable:
        first = unique.setdefault(recording.name, recording)
        if first is not recording:
            copies.append((recording.path, first.path))
    report(sorted(problems))
    if copies:
        copy, first_path = copies[0]
        more = f" ({len(copies)} files are such copies)" if len(copies) > 1 else ""
        report([Problem(str(copy), f"has the same name as {first_path}, which is used{more}")])
    unused = len(problems) + len(copies)
    if problems or copies:
        print(f"warning: {unused:,} of {seen:,} files left out", file=sys.stderr)
    if not unique:
        raise CorpusError(f"{corpus}: none of its {seen:,} recordings can be used (see above)")
    if strict and unused:
        raise CorpusError(
            f"{corpus}: {unused:,} of {seen:,} files cannot be used (see above); "
            "mend or remove them, or leave out --strict"
        )
    return [unique[name] for name in sorted(unique)]


def _locate(data: str | Path) -> Path:
    if data == "synthetic":
        from ser_tf.corpora import synthetic

        return synthetic.cached(ROOT / "cache")
    if data == "download":
        from ser_tf.corpora import download

        return download.fetch_ravdess(ROOT / "data" / "ravdess")
    try:
        return Path(data).expanduser()
    except RuntimeError:  # "~name" of nobody here
        return Path(data)


def _read(corpus: Path, labels: Sequence[str] | None) -> tuple[list[Recording], list[Problem]]:
    try:
        corpus.stat()
        table = corpus if corpus.is_file() else corpus / INDEX
        tabled = table.is_file()
    except FileNotFoundError:
        raise CorpusError(f"{corpus}: no such folder or table; {_WANTED}") from None
    except OSError as error:
        raise CorpusError(f"{corpus}: cannot be read ({error.strerror})") from None
    if table == corpus and table.suffix.lower() != ".csv":
        raise CorpusError(f"{corpus}: is neither a folder nor a .csv table; {_WANTED}")
    if tabled:
        recordings, problems = labelled.read_csv(table, labels)
    else:
        files, unlisted = audio_files(corpus)
        if files and _is_ravdess(corpus, files):
            recordings, problems = ravdess.read(files, labels)
        else:
            recordings, problems = labelled.read_folder(corpus, files, labels)
        problems = unlisted + problems
    if not recordings and not problems:
        raise CorpusError(f"{corpus}: holds no recordings; {_WANTED}")
    return recordings, problems


def _is_ravdess(corpus: Path, files: Sequence[Path]) -> bool:
    in_label_folders = sum(
        labelled.label_of(path.relative_to(corpus).parts[0], EMOTIONS) is not None for path in files
    )
    return 2 * in_label_folders < len(files) and any(map(ravdess.looks_like_ravdess, files))


_WANTED = (
    "looked for RAVDESS (Actor_NN/03-01-….wav), label/clip.wav or a table index.csv "
    f"(path,emotion,speaker) with {', '.join(AUDIO_SUFFIXES[:3])} … files; "
    "--data download fetches RAVDESS, --data PATH takes a corpus of yours"
)
