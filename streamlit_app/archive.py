"""Recordings out of a ZIP archive that may mean harm: nothing is unpacked to disk."""

import io
import zipfile
import zlib
from pathlib import PurePosixPath, PureWindowsPath
from types import TracebackType
from typing import BinaryIO

from edge.audio import AUDIO_SUFFIXES, AudioError

MOST_MEMBERS = 1_000
MOST_DIRECTORY = 2**20  # bytes of an archive's table of contents
MOST_UNPACKED = 500 * 2**20  # bytes of all recordings of an archive
MOST_MEMBER = 25 * 2**20  # bytes of one recording
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others may ask for gigabytes of memory
ENCRYPTED = 0x1
PART = 2**16  # bytes inflated at a time


class ArchiveError(Exception):
    """An archive is refused. The message is one line that starts with its name."""


class Archive:
    """The recordings of a ZIP archive.

    Attributes:
        name: Of the archive.
        members: The recordings, by name, in the order of the archive.
        left_out: How many files are no recordings by their names.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        """Look through the table of contents.

        Args:
            stream: The archive.
            name: What a message calls it.

        Raises:
            ArchiveError: It is damaged, encrypted or too large, or one of its names leads out of
                it; then none of it is used.
        """
        self.name = name
        self._left = MOST_UNPACKED
        try:
            # zipfile reads the whole table of contents, however long, before it can be asked.
            end = zipfile._EndRecData(stream)  # type: ignore[attr-defined]
            if end is not None and end[5] > MOST_DIRECTORY:
                raise ArchiveError(
                    f"{name}: lists too many files; at most {MOST_MEMBERS:,} are read"
                )
            self._zip = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError) as error:
            raise ArchiveError(f"{name}: is damaged or no ZIP archive ({error})") from None
        files = [member for member in self._zip.infolist() if not member.is_dir()]
        for member in files:
            if _climbs_out(member.orig_filename) or _climbs_out(member.filename):
                raise ArchiveError(
                    f"{name}: holds a path that leads out of it ({member.filename}); refused"
                )
        files = [member for member in files if not _hidden(member.filename)]
        recordings = [
            member
            for member in files
            if PurePosixPath(member.filename).suffix.lower() in AUDIO_SUFFIXES
        ]
        if any(member.flag_bits & ENCRYPTED for member in recordings):
            raise ArchiveError(f"{name}: is encrypted; unpack it and upload the recordings")
        if len(files) > MOST_MEMBERS:
            raise ArchiveError(
                f"{name}: holds {len(files):,} files; at most {MOST_MEMBERS:,} are read"
            )
        if sum(member.file_size for member in recordings) > MOST_UNPACKED:
            raise ArchiveError(self._too_large())
        self.members = {member.filename: member for member in recordings}
        self.left_out = len(files) - len(recordings)

    def read(self, member: str) -> BinaryIO:
        """Unpack a recording into memory.

        Args:
            member: One of :attr:`members`.

        Returns:
            A stream of that name.

        Raises:
            AudioError: This recording is damaged or too large.
            ArchiveError: The recordings unpack to more than is allowed, whatever the archive says.
        """
        info = self.members[member]
        name = f"{self.name}/{member}"
        if info.compress_type not in METHODS:
            raise AudioError(
                f"{name}: is packed by a rare method; pack it by the usual one (deflate)"
            )
        content = Named(name)
        try:
            with self._zip.open(info) as packed:
                while part := packed.read(PART):
                    content.write(part)
                    self._left -= len(part)
                    if self._left < 0:
                        raise ArchiveError(self._too_large())
                    if content.tell() > MOST_MEMBER:
                        raise AudioError(
                            f"{name}: is larger than the {MOST_MEMBER // 2**20} MB that a "
                            "recording may have here"
                        )
        except (
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            EOFError,
            RuntimeError,
            ValueError,
        ) as error:
            raise AudioError(f"{name}: cannot be unpacked ({error}); pack it again") from None
        content.seek(0)
        return content

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._zip.close()

    def _too_large(self) -> str:
        return (
            f"{self.name}: unpacks to more than {MOST_UNPACKED // 2**20} MB, the most that is read "
            "here; refused"
        )


class Named(io.BytesIO):
    """Bytes that know what file they were."""

    def __init__(self, name: str, content: bytes = b"") -> None:
        super().__init__(content)
        self.name = name


def _climbs_out(name: str) -> bool:
    """Whether a path is absolute, or leads above the folder it is unpacked in."""
    windows = PureWindowsPath(name)
    return bool(windows.drive or windows.root) or ".." in windows.parts


def _hidden(name: str) -> bool:
    """Whether an archiver has put the file beside the ones that were meant."""
    path = PurePosixPath(name)
    return path.parts[0] == "__MACOSX" or path.name.startswith(".")
