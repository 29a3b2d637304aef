"""Fetches a checkpoint from the Hugging Face hub, or from a mirror named by ``HF_ENDPOINT``.

The way that files come is that of the corpora: broken connections are taken up where they broke, in
this run or the next, and size and SHA-256 are those that the hub states.
"""

import fcntl
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import requests

from ser_tf.corpora import CorpusError, download
from ser_tf.systems.wav2vec2.architecture import CheckpointError
from ser_tf.systems.wav2vec2.checkpoint import CONFIG, WEIGHTS

HUB = "https://huggingface.co"
ENDPOINT_VARIABLE = "HF_ENDPOINT"
REDIRECTS = 5
# The hub's own conversion of pickled checkpoints waits in a pull request of this account.
CONVERTER = "SFconvertbot"
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Offer:
    """What the hub says of a file: where it is, and its content."""

    url: str
    size: int
    sha256: str


def fetch(name: str, revision: str | None, folder: Path) -> Path:
    """Makes sure that a repository's ``config.json`` and ``model.safetensors`` are here.

    Args:
        name: ``owner/name``.
        revision: Branch, tag or commit; None is ``main``, or where that holds pickled weights
            alone, the hub's conversion of them.
        folder: Below which they are put, in a folder of their own.

    Returns:
        The folder that holds both.

    Raises:
        CheckpointError: They cannot be fetched; one line that says what to do.
    """
    source = f"{name}@{revision}" if revision else name
    here = folder / re.sub(r"[/@]+", "--", source)
    if (here / WEIGHTS).is_file() and (here / CONFIG).is_file():
        return here
    base = (os.environ.get(ENDPOINT_VARIABLE) or HUB).rstrip("/")
    try:
        here.mkdir(parents=True, exist_ok=True)
        with requests.Session() as session, (here / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (here / WEIGHTS).is_file():  # unless another process fetched it meanwhile
                _provide(session, base, name, revision, here)
    except CorpusError as error:
        raise CheckpointError(str(error)) from None
    except requests.RequestException as error:
        raise CheckpointError(
            f"{source}: cannot be fetched from {base} ({download.in_words(error)}); run the same"
            f" command again where it can be, or put {CONFIG} and {WEIGHTS} into {here}"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{here}: cannot be written ({error.strerror or error})") from None
    return here


def _provide(
    session: requests.Session, base: str, name: str, revision: str | None, here: Path
) -> None:
    chosen = revision or "main"
    offer = _offered(session, base, name, chosen, WEIGHTS)
    if offer is None and revision is None:
        chosen = _converted(session, base, name)
        offer = _offered(session, base, name, chosen, WEIGHTS)
    if offer is None:
        raise CheckpointError(
            f"{name}: has no {WEIGHTS} at {chosen} on {base}; name a revision that has,"
            f" {name}@REVISION, or another repository"
        )
    config = session.get(_address(base, name, chosen, CONFIG), timeout=download.TIMEOUT_SECONDS)
    config.raise_for_status()
    (here / CONFIG).write_bytes(config.content)
    print(f"{name}: fetching {chosen} from {base}", file=sys.stderr)
    archive = download.Archive(WEIGHTS, offer.size, offer.sha256, "", 0)
    part = here / f"{WEIGHTS}.part"
    download.fetch(archive, offer.url, part)
    if download.sha256_of(part) != offer.sha256:
        part.unlink()
        raise CheckpointError(
            f"{WEIGHTS}: what {offer.url} sent is not what it announced (its SHA-256 differs), so"
            " it was deleted; run the same command again"
        )
    part.replace(here / WEIGHTS)


def _address(base: str, name: str, revision: str, file: str) -> str:
    return f"{base}/{name}/resolve/{quote(revision, safe='')}/{file}"


def _offered(
    session: requests.Session, base: str, name: str, revision: str, file: str
) -> _Offer | None:
    """What the hub says of a large file before it sends one on to where that lies."""
    address = url = _address(base, name, revision, file)
    for _ in range(REDIRECTS):
        answer = session.head(
            url,
            headers={"Accept-Encoding": "identity"},
            allow_redirects=False,
            timeout=download.TIMEOUT_SECONDS,
        )
        if answer.status_code == 404:
            return None
        if answer.status_code == 401:  # the hub's answer for names that it does not know, too
            raise CheckpointError(
                f"{name}: is no file or folder here, and {base} knows no public repository of it"
            )
        answer.raise_for_status()
        size = answer.headers.get("X-Linked-Size", "")
        sha256 = answer.headers.get("X-Linked-ETag", "").strip('"')
        if size.isdecimal() and SHA256.fullmatch(sha256):
            return _Offer(address, int(size), sha256)
        if "Location" not in answer.headers:
            break
        url = urljoin(url, answer.headers["Location"])  # of a repository that was renamed
    raise CheckpointError(
        f"{address}: is offered without its size and SHA-256, so it is not fetched"
    )


def _converted(session: requests.Session, base: str, name: str) -> str:
    """The revision in which the hub has made safetensors of pickled weights."""
    url = f"{base}/api/models/{name}/discussions"
    answer = session.get(url, params={"author": CONVERTER}, timeout=download.TIMEOUT_SECONDS)
    found: list[Any] = answer.json().get("discussions", []) if answer.ok else []
    for discussion in found:
        open_pull_request = discussion.get("isPullRequest") and discussion.get("status") == "open"
        if open_pull_request and discussion.get("author", {}).get("name") == CONVERTER:
            return f"refs/pr/{discussion['num']}"
    return "main"
