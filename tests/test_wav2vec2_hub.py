"""Published wav2vec 2.0 weights, fetched from a hub."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import ROOT

from ser_tf.corpora import download
from ser_tf.systems import wav2vec2
from ser_tf.systems.wav2vec2 import checkpoint, hub
from ser_tf.systems.wav2vec2.architecture import CheckpointError

TINY = ROOT / "tests" / "data" / "wav2vec2_tiny"
HUB_NAME = "owner/name"
FILES = {name: (TINY / name).read_bytes() for name in ("config.json", "model.safetensors")}


class HubServer(ThreadingHTTPServer):
    """Serves one repository as the hub does: large files by way of a redirect that names them.

    Attributes:
        revisions: Files of each revision.
        breaks: After how many bytes the next answers with a large file break off.
        requests: Method, path and first byte of each request.
        sha256: What is announced instead of the true sum.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.revisions: dict[str, dict[str, bytes]] = {}
        self.breaks: list[int] = []
        self.requests: list[tuple[str, str, int]] = []
        self.sha256 = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def firsts(self) -> list[int]:
        """First bytes of the requests for the large file."""
        return [first for _, path, first in self.requests if path.startswith("/large/")]


class HubHandler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        first = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.requests.append((self.command, path, first))
        if path == f"/api/models/{HUB_NAME}/discussions":
            requests = [
                {"num": 1, "isPullRequest": True, "status": "open", "author": {"name": "someone"}},
                {
                    "num": 2,
                    "isPullRequest": True,
                    "status": "open",
                    "author": {"name": hub.CONVERTER},
                },
            ]
            self.answer(200, json.dumps({"discussions": requests}).encode())
            return
        *repository, revision, name = path.strip("/").split("/")
        content = self.server.revisions.get(revision.replace("%2F", "/"), {}).get(name)
        if repository[:2] != HUB_NAME.split("/") and repository != ["large"]:
            self.answer(401)
        elif content is None:
            self.answer(404)
        elif name == "config.json":
            self.answer(200, content)
        elif repository == ["large"]:
            stop = self.server.breaks.pop(0) if self.server.breaks else None
            span = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self.answer(206 if first else 200, content[first:], stop, {"Content-Range": span})
        else:
            sha256 = self.server.sha256 or hashlib.sha256(content).hexdigest()
            linked = {"X-Linked-Size": str(len(content)), "X-Linked-ETag": f'"{sha256}"'}
            self.answer(302, b"", None, {"Location": f"/large/{revision}/{name}", **linked})

    do_HEAD = do_GET  # noqa: N815

    def answer(
        self,
        status: int,
        content: bytes = b"",
        stop: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:stop])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        server.revisions = {"main": dict(FILES)}
        monkeypatch.setenv(hub.ENDPOINT_VARIABLE, server.url)
        monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
        monkeypatch.setattr(download, "CHUNK", 1000)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def assert_fetched(found: checkpoint.Checkpoint) -> None:
    assert found.path
    for name, content in FILES.items():
        assert (found.path.parent / name).read_bytes() == content


def test_a_name_is_fetched_from_the_hub_once(server: HubServer, tmp_path: Path) -> None:
    assert_fetched(checkpoint.locate(HUB_NAME, str(tmp_path)))
    asked = len(server.requests)
    assert_fetched(checkpoint.locate(HUB_NAME, str(tmp_path)))
    assert len(server.requests) == asked


def test_a_broken_download_goes_on_where_it_broke(server: HubServer, tmp_path: Path) -> None:
    server.breaks = [20_000]
    assert_fetched(checkpoint.locate(HUB_NAME, str(tmp_path)))
    assert server.firsts == [0, 20_000]


def test_the_next_run_goes_on_from_what_came(server: HubServer, tmp_path: Path) -> None:
    folder = tmp_path / "wav2vec2" / "owner--name"
    folder.mkdir(parents=True)
    (folder / "model.safetensors.part").write_bytes(FILES["model.safetensors"][:30_000])
    assert_fetched(checkpoint.locate(HUB_NAME, str(tmp_path)))
    assert server.firsts == [30_000]


def test_what_is_not_what_was_announced_is_deleted(server: HubServer, tmp_path: Path) -> None:
    server.sha256 = "0" * 64
    with pytest.raises(CheckpointError, match=r"SHA-256 differs\), so it was deleted") as error:
        checkpoint.locate(HUB_NAME, str(tmp_path))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.part")) + list(tmp_path.rglob("*.safetensors"))


def test_a_revision_is_fetched_beside_the_main_one(server: HubServer, tmp_path: Path) -> None:
    server.revisions["v2"] = dict(FILES)
    main = checkpoint.locate(HUB_NAME, str(tmp_path))
    other = checkpoint.locate(f"{HUB_NAME}@v2", str(tmp_path))
    assert main.path != other.path
    assert_fetched(other)


def test_pickled_weights_are_taken_from_the_hubs_own_conversion(
    server: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pickles = {"pytorch_model.bin": b"PK", "config.json": FILES["config.json"]}
    server.revisions = {"main": pickles, "refs/pr/1": {}, "refs/pr/2": dict(FILES)}
    assert_fetched(checkpoint.locate(HUB_NAME, str(tmp_path)))
    assert "fetching refs/pr/2" in capsys.readouterr().err
    assert not [path for _, path, _ in server.requests if "pytorch_model" in path]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nobody/nothing", "is no file or folder here, and .* knows no public repository"),
        (f"{HUB_NAME}@gone", "has no model.safetensors at gone"),
    ],
)
def test_a_name_that_the_hub_does_not_know_is_one_line(
    server: HubServer, tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(CheckpointError, match=words) as error:
        checkpoint.locate(name, str(tmp_path))
    assert "\n" not in str(error.value)


def test_where_nothing_can_be_fetched_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(hub.ENDPOINT_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match=r"cannot be fetched .*no connection.* put") as error:
        wav2vec2.recipe(cache=str(tmp_path)).features()
    assert str(error.value).startswith(wav2vec2.PUBLISHED)
    assert "\n" not in str(error.value)
