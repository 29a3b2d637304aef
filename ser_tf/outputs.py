"""What a command leaves behind: a folder that is complete or not there at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder beside ``folder`` to be filled, which takes its place where that succeeds."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        new = aside / "new"
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(aside / "old")
        new.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
