"""The audio files of a corpus: found, checked for readability, and complained about."""

import os
import re
import stat
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import soundfile
from tqdm import tqdm

from edge.audio import AUDIO_SUFFIXES, native_stderr_silenced


class CorpusError(Exception):
    """A corpus that cannot be used. The message is the one line for the user."""


class Problem(NamedTuple):
    """Something that keeps a file, or a row of a table, out of the corpus.

    Attributes:
        where: The file, as the user would name it (with the row, for a table).
        why: What is wrong with it, in words.
    """

    where: str
    why: str


def audio_files(folder: Path) -> tuple[list[Path], list[Problem]]:
    """Finds every file below a folder whose ending is that of an audio file.

    Hidden files and folders, and the ``__MACOSX`` folder of archives, are passed over. Links to
    folders are followed, each folder being entered once.

    Args:
        folder: Where to look.

    Returns:
        The files, sorted by path, and the folders that could not be listed.
    """
    files: list[Path] = []
    problems: list[Problem] = []

    def unlisted(error: OSError) -> None:
        problems.append(Problem(str(error.filename), f"cannot be listed ({error.strerror})"))

    entered = {os.path.realpath(folder)}
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=unlisted):
        here = Path(parent)
        inner = []
        for name in sorted(folders):
            real = os.path.realpath(here / name)
            if not name.startswith(".") and name != "__MACOSX" and real not in entered:
                entered.add(real)
                inner.append(name)
        folders[:] = inner
        files += [
            here / name
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES
        ]
    return sorted(files), problems


def unreadable(path: Path) -> str | None:
    """Says why libsndfile cannot open a file, looking no further than its header.

    Args:
        path: The audio file.

    Returns:
        What is wrong, in words; ``None`` for a file that opens and holds sound.
    """
    quiet = native_stderr_silenced if path.suffix.lower() == ".mp3" else nullcontext
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return "is not a file"
        if state.st_size == 0:
            return "is empty (0 bytes)"
        path.open("rb").close()
        with quiet():
            frames = soundfile.info(str(path)).frames
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError):
        return "is not audio that libsndfile can read"
    return None if frames > 0 else "holds no sound"


def check_all(paths: Sequence[Path]) -> list[str | None]:
    """Runs :func:`unreadable` over many files in threads, with a progress bar if it takes long.

    Args:
        paths: The audio files.

    Returns:
        For each file, in order, what is wrong with it or ``None``.
    """
    with ThreadPoolExecutor(max_workers=min(8, 2 * (os.cpu_count() or 1))) as pool:
        checks = pool.map(unreadable, paths)
        return list(tqdm(checks, "checking files", total=len(paths), unit="file", delay=2.0))


def report(problems: Iterable[Problem]) -> None:
    """Prints one warning line per problem on stderr."""
    for where, why in problems:
        line = re.sub(r"[\r\n]+", " ", f"warning: {where}: {why}")
        print(line, file=sys.stderr)
