"""Fetches the published RAVDESS archives, checks them and unpacks them.

``python -m ser_tf.corpora.download`` does it by hand; ``--data download`` when it is needed.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import requests
from tqdm import tqdm

from ser_tf.corpora import ROOT
from ser_tf.corpora.listing import CorpusError

ZENODO = "https://zenodo.org/records/1188976/files"
MIRROR_VARIABLE = "SER_TF_RAVDESS_URL"
LICENCE = (
    "RAVDESS by Steven R. Livingstone and Frank A. Russo, https://doi.org/10.5281/zenodo.1188976,\n"
    "CC BY-NC-SA 4.0: credit the authors, no commercial use, share alike."
)

TRIES = 5  # in a row without a single byte
RETRY_SECONDS = 1.0  # before the first retry; doubles with each
LONGEST_WAIT = 60.0
TIMEOUT_SECONDS = (10, 60)  # to connect; between bytes
CHUNK = 1 << 16


@dataclass(frozen=True)
class Archive:
    """A ZIP file that was published.

    Attributes:
        name: Its file name.
        size: Bytes.
        sha256: Checksum, hexadecimal.
        folder: What its unpacked content is put into.
        unpacked: About how many bytes its content takes.
    """

    name: str
    size: int
    sha256: str
    folder: str
    unpacked: int


ARCHIVES = (
    Archive(
        "Audio_Speech_Actors_01-24.zip",
        208_468_073,
        "5d208e01632cc3e5242106fa2af3273e6dc5239fb8143131979ac74c4aa40657",
        "Audio_Speech_Actors_01-24",
        520_000_000,
    ),
    Archive(
        "Audio_Song_Actors_01-24.zip",
        225_505_317,
        "89f3df66cc67ebb70c8af6f72f3f359bee497f6f763a9d863b6477619716d428",
        "Audio_Song_Actors_01-24",
        460_000_000,
    ),
)


def fetch_ravdess(folder: Path, base_url: str | None = None) -> Path:
    """Makes sure that RAVDESS lies in a folder, fetching whatever is missing.

    A broken connection is taken up again where it broke, in this run or the next (from the
    ``.part`` file). An archive put into the folder by hand is used instead of a download.

    Args:
        folder: Where the unpacked folders stand, or shall stand.
        base_url: The address below which the archives lie; by default that in the environment
            variable ``SER_TF_RAVDESS_URL``, else Zenodo's.

    Returns:
        ``folder``.

    Raises:
        CorpusError: An archive cannot be fetched, is not the published one, or does not fit on the
            disk. One line that says what to do.
    """
    if all((folder / archive.folder).is_dir() for archive in ARCHIVES):
        return folder
    base_url = (base_url or os.environ.get(MIRROR_VARIABLE) or ZENODO).rstrip("/")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            for archive in ARCHIVES:
                if not (folder / archive.folder).is_dir():
                    _provide(archive, folder, f"{base_url}/{archive.name}?download=1")
    except OSError as error:
        raise CorpusError(f"{folder}: cannot be written ({error.strerror or error})") from None
    print(LICENCE, file=sys.stderr)
    return folder


def main(arguments: list[str] | None = None) -> int:
    """The command ``python -m ser_tf.corpora.download``."""
    parser = argparse.ArgumentParser(
        prog="python -m ser_tf.corpora.download",
        description="Fetch the published RAVDESS archives (434 MB), check and unpack them (1 GB).",
        epilog="examples:\n"
        "  python -m ser_tf.corpora.download\n"
        "  python -m ser_tf.corpora.download --to /mnt/corpora/ravdess\n\n"
        f"A mirror is used by setting {MIRROR_VARIABLE}.\n{LICENCE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = ROOT / "data" / "ravdess"
    parser.add_argument(
        "--to", type=Path, default=default, metavar="DIR", help=f"where to (default: {default})"
    )
    folder = parser.parse_args(arguments).to
    try:
        print(fetch_ravdess(folder))
    except CorpusError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CorpusError(
                f"{folder}: another process is fetching RAVDESS into it; wait until it is done"
            ) from None
        yield


def _provide(archive: Archive, folder: Path, url: str) -> None:
    by_hand = folder / archive.name
    if by_hand.is_file():
        if sha256_of(by_hand) != archive.sha256:
            raise CorpusError(
                f"{by_hand}: is not the published archive (its SHA-256 differs); "
                "delete it, and it will be fetched"
            )
        _unpack(by_hand, archive, folder)
        return
    part = folder / f"{archive.name}.part"
    _need_space(archive.size - _size(part) + archive.unpacked, folder, archive.name)
    fetch(archive, url, part)
    if sha256_of(part) != archive.sha256:
        part.unlink()
        raise CorpusError(
            f"{archive.name}: what {url} sent is not the published archive (its SHA-256 differs), "
            "so it was deleted; run the same command again, or "
            f"fetch {ZENODO}/{archive.name} by hand into {folder}"
        )
    _unpack(part, archive, folder)
    part.unlink()


def fetch(archive: Archive, url: str, part: Path) -> None:
    """Complete ``part``, over as many connections as it takes while they bring something.

    Raises:
        CorpusError: The server refuses, or nothing more comes.
    """
    if _size(part) > archive.size:
        part.unlink()
    furthest = _size(part)
    failures = 0
    with (
        requests.Session() as session,
        tqdm(
            desc=archive.name, total=archive.size, initial=furthest, unit="B", unit_scale=True
        ) as bar,
    ):
        while _size(part) < archive.size:
            wait = 0.0
            try:
                _fetch_some(session, archive, url, part, bar)
                continue
            except _RefusedError as error:
                raise _unfetched(archive, url, part, str(error)) from None
            except _BusyError as error:
                why, wait = str(error), error.wait
            except requests.RequestException as error:
                why = in_words(error)
                if isinstance(error, ValueError):  # an address that cannot work
                    raise _unfetched(archive, url, part, why) from None
            failures = failures + 1 if _size(part) <= furthest else 1
            furthest = max(furthest, _size(part))
            if failures == TRIES:
                raise _unfetched(archive, url, part, why)
            bar.set_postfix_str(f"{why}; trying again")
            time.sleep(min(max(wait, RETRY_SECONDS * 2 ** (failures - 1)), LONGEST_WAIT))
            bar.set_postfix_str("")


def _fetch_some(
    session: requests.Session, archive: Archive, url: str, part: Path, bar: tqdm
) -> None:
    """Appends what one connection brings; starts over where a server cannot go on."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        status = f"the server answers {response.status_code} {response.reason or ''}".strip()
        if response.status_code == 416:
            part.unlink(missing_ok=True)
            raise _BusyError("the server refuses to go on from there", 0.0)
        if response.status_code in (408, 425, 429) or response.status_code >= 500:
            after = response.headers.get("Retry-After", "")
            raise _BusyError(status, float(after) if after.isdecimal() else 0.0)
        if response.status_code not in (200, 206):
            raise _RefusedError(status)
        offset, total = _offer(response)
        if total is not None and total != archive.size:
            raise _RefusedError(f"its file has {total:,} bytes, the published one {archive.size:,}")
        if offset not in (0, have):
            part.unlink(missing_ok=True)
            raise _BusyError("the server sends another part than asked for", 0.0)
        bar.n = offset
        with part.open("ab" if offset else "wb") as stream:
            for chunk in response.iter_content(CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))
    if _size(part) < archive.size:
        raise _BusyError("the connection broke", 0.0)
    if _size(part) > archive.size:
        part.unlink()
        raise _RefusedError(f"its file has more than the published {archive.size:,} bytes")


def _offer(response: requests.Response) -> tuple[int, int | None]:
    """Which byte an answer starts at, and how many the whole file has where it says so."""
    if response.status_code == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span is None:
            return -1, None
        return int(span[1]), None if span[2] == "*" else int(span[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _unpack(zipped: Path, archive: Archive, folder: Path) -> None:
    aside = folder / f".{archive.folder}.unpacking"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with zipfile.ZipFile(zipped) as content:
            members = content.infolist()
            for member in members:
                _refuse_climbing(member, zipped)
            total = sum(member.file_size for member in members)
            _need_space(total, folder, archive.name)
            aside.mkdir()
            with tqdm(
                desc=f"unpacking {archive.name}", total=total, unit="B", unit_scale=True
            ) as bar:
                for member in members:
                    content.extract(member, aside)
                    bar.update(member.file_size)
        aside.rename(folder / archive.folder)
    # zipfile raises the last two for a compression it does not know and for a password.
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise CorpusError(f"{zipped}: cannot be unpacked ({error}); delete it") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _refuse_climbing(member: zipfile.ZipInfo, zipped: Path) -> None:
    path = PurePosixPath(member.orig_filename.replace("\\", "/"))
    link = stat.S_ISLNK(member.external_attr >> 16)
    if link or path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise CorpusError(
            f"{zipped}: holds {member.orig_filename!r}, which would be unpacked outside its "
            "folder; nothing was unpacked"
        )


def _need_space(needed: int, folder: Path, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CorpusError(
            f"{folder}: {name} needs {needed / 1e6:,.0f} MB and the disk has {free / 1e6:,.0f} MB "
            "left; make room, or use another folder (python -m ser_tf.corpora.download --to DIR)"
        )


def _unfetched(archive: Archive, url: str, part: Path, why: str) -> CorpusError:
    return CorpusError(
        f"{archive.name}: cannot be fetched from {url} ({why}); run the same command again to go "
        f"on where it stopped, or fetch it by hand and put it into {part.parent}"
    )


def in_words(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "no secure connection"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "the server does not answer"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _RefusedError(Exception):
    """An answer that no further try will change."""


class _BusyError(Exception):
    """An answer after which it is worth trying again, in ``wait`` seconds at the earliest."""

    def __init__(self, why: str, wait: float) -> None:
        super().__init__(why)
        self.wait = wait


if __name__ == "__main__":
    sys.exit(main())
