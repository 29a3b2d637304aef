"""Fetching the published archives, from a server on this machine that misbehaves on demand."""

import hashlib
import io
import random
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ser_tf import corpora
from ser_tf.corpora import CorpusError, download, load_corpus
from ser_tf.corpora.download import Archive, fetch_ravdess

SPEECH, SONG = "Audio_Speech_Actors_01-24", "Audio_Song_Actors_01-24"


class Server(ThreadingHTTPServer):
    """Serves files from memory.

    Attributes:
        files: Name to content.
        behaviour: What to do instead of serving a request well, one entry per request: a status
            code to answer, or how many bytes to send before the connection breaks.
        ranges: Whether ``Range`` is understood.
        requests: Name and first byte of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.behaviour: list[int | str] = []
        self.ranges = True
        self.requests: list[tuple[str, int]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.split("?")[0].rpartition("/")[2]
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(wanted[1]) if wanted and self.server.ranges else 0
        self.server.requests.append((name, int(wanted[1]) if wanted else 0))
        behaviour = self.server.behaviour.pop(0) if self.server.behaviour else "well"
        content = self.server.files.get(name)
        if isinstance(behaviour, str) and behaviour.isdecimal():
            self.send_error(int(behaviour))
        elif content is None:
            self.send_error(404)
        elif first >= len(content):
            self.send_error(416)
        else:
            self.send_response(206 if wanted and self.server.ranges else 200)
            self.send_header("Content-Length", str(len(content) - first))
            if wanted and self.server.ranges:
                self.send_header(
                    "Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}"
                )
            self.end_headers()
            end = first + behaviour if isinstance(behaviour, int) else None
            self.wfile.write(content[first:end])

    def log_message(self, *_: object) -> None:
        pass


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def archive_of(content: bytes, folder: str) -> Archive:
    sha256 = hashlib.sha256(content).hexdigest()
    return Archive(f"{folder}.zip", len(content), sha256, folder, 10 * len(content))


SPEECH_MEMBERS = {
    "Actor_01/03-01-01-01-01-01-01.wav": random.Random(1).randbytes(600_000),
    "Actor_02/03-01-05-01-01-01-02.wav": random.Random(2).randbytes(400_000),
}
SPEECH_ZIP = zipped(SPEECH_MEMBERS)
SONG_ZIP = zipped({"Actor_01/03-02-01-01-01-01-01.wav": b"la la la"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        server.files = {f"{SPEECH}.zip": SPEECH_ZIP, f"{SONG}.zip": SONG_ZIP}
        archives = (archive_of(SPEECH_ZIP, SPEECH), archive_of(SONG_ZIP, SONG))
        monkeypatch.setattr(download, "ARCHIVES", archives)
        monkeypatch.setattr(download, "RETRY_SECONDS", 0.0)
        monkeypatch.delenv(download.MIRROR_VARIABLE, raising=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def assert_complete(folder: Path) -> None:
    for name, content in SPEECH_MEMBERS.items():
        assert (folder / SPEECH / name).read_bytes() == content
    visible = {path.name for path in folder.iterdir() if path.name != ".lock"}
    assert visible == {SPEECH, SONG}


def assert_one_line(error: pytest.ExceptionInfo[CorpusError]) -> None:
    assert "\n" not in str(error.value)


def test_both_archives_are_fetched_and_unpacked(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "ravdess"
    assert fetch_ravdess(folder, server.url) == folder
    assert_complete(folder)
    assert server.requests == [(f"{SPEECH}.zip", 0), (f"{SONG}.zip", 0)]


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / SPEECH).mkdir()
    fetch_ravdess(tmp_path, server.url)
    assert server.requests == [(f"{SONG}.zip", 0)]
    fetch_ravdess(tmp_path, server.url)
    assert len(server.requests) == 1


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.behaviour = [300_000, 300_000]
    fetch_ravdess(tmp_path, server.url)
    assert_complete(tmp_path)
    (_, first), (_, second), (_, third), _ = server.requests
    assert first == 0 < second < third
    assert second > 200_000


def test_many_breaks_are_forgiven_while_each_brings_something(
    server: Server, tmp_path: Path
) -> None:
    server.behaviour = [100_000] * (download.TRIES + 2)
    fetch_ravdess(tmp_path, server.url)
    assert_complete(tmp_path)


def test_the_next_run_goes_on_from_the_part_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SPEECH}.zip.part").write_bytes(SPEECH_ZIP[:500_000])
    fetch_ravdess(tmp_path, server.url)
    assert_complete(tmp_path)
    assert server.requests[0] == (f"{SPEECH}.zip", 500_000)


def test_a_complete_part_file_needs_no_server(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SPEECH}.zip.part").write_bytes(SPEECH_ZIP)
    fetch_ravdess(tmp_path, server.url)
    assert_complete(tmp_path)
    assert [name for name, _ in server.requests] == [f"{SONG}.zip"]


def test_a_server_that_knows_no_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.behaviour = [300_000]
    fetch_ravdess(tmp_path, server.url)
    assert_complete(tmp_path)
    assert len(server.requests) == 3


def test_a_part_file_that_is_too_long_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SPEECH}.zip.part").write_bytes(bytes(len(SPEECH_ZIP) + 1))
    fetch_ravdess(tmp_path, server.url)
    assert_complete(tmp_path)
    assert server.requests[0] == (f"{SPEECH}.zip", 0)


def test_a_refused_range_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SPEECH}.zip.part").write_bytes(SPEECH_ZIP[:500_000])
    server.behaviour = ["416"]
    fetch_ravdess(tmp_path, server.url)
    assert_complete(tmp_path)
    assert [first for _, first in server.requests] == [500_000, 0, 0]


@pytest.mark.parametrize("status", ["500", "503", "429"])
def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path, status: str) -> None:
    server.behaviour = [status, status]
    fetch_ravdess(tmp_path, server.url)
    assert_complete(tmp_path)


def test_a_server_that_stays_broken_is_given_up(server: Server, tmp_path: Path) -> None:
    server.behaviour = ["500"] * 50
    with pytest.raises(CorpusError, match="answers 500") as error:
        fetch_ravdess(tmp_path, server.url)
    assert_one_line(error)
    assert len(server.requests) == download.TRIES
    assert f"{server.url}/{SPEECH}.zip" in str(error.value)
    assert f"put it into {tmp_path}" in str(error.value)


def test_an_archive_that_is_not_there_is_not_asked_for_again(
    server: Server, tmp_path: Path
) -> None:
    server.files = {}
    with pytest.raises(CorpusError, match="answers 404") as error:
        fetch_ravdess(tmp_path, server.url)
    assert_one_line(error)
    assert len(server.requests) == 1


def test_no_server_at_all_is_one_line_and_what_came_is_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SPEECH}.zip.part").write_bytes(SPEECH_ZIP[:500_000])
    for url, why in (
        ("http://127.0.0.1:9", "no connection"),
        ("ftp://127.0.0.1", "No connection adapters"),
    ):
        with pytest.raises(CorpusError, match=why) as error:
            fetch_ravdess(tmp_path, url)
        assert_one_line(error)
    assert (tmp_path / f"{SPEECH}.zip.part").stat().st_size == 500_000


def test_a_wrong_checksum_deletes_the_download_and_says_so(server: Server, tmp_path: Path) -> None:
    server.files[f"{SPEECH}.zip"] = SPEECH_ZIP[:-1] + b"!"
    with pytest.raises(CorpusError, match="SHA-256 differs") as error:
        fetch_ravdess(tmp_path, server.url)
    assert_one_line(error)
    assert "deleted" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    server.files[f"{SPEECH}.zip"] = SPEECH_ZIP
    fetch_ravdess(tmp_path, server.url)
    assert_complete(tmp_path)


@pytest.mark.parametrize("content", [SPEECH_ZIP + b"more", b"<html>come back later</html>"])
def test_a_file_of_another_size_is_refused_before_it_is_fetched(
    server: Server, tmp_path: Path, content: bytes
) -> None:
    server.files[f"{SPEECH}.zip"] = content
    with pytest.raises(CorpusError, match=f"its file has {len(content):,} bytes") as error:
        fetch_ravdess(tmp_path, server.url)
    assert_one_line(error)
    assert not (tmp_path / f"{SPEECH}.zip.part").exists()


def test_an_archive_put_there_by_hand_is_used_and_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / f"{SPEECH}.zip").write_bytes(SPEECH_ZIP)
    (tmp_path / f"{SONG}.zip").write_bytes(SONG_ZIP)
    fetch_ravdess(tmp_path, server.url)
    assert server.requests == []
    assert (tmp_path / f"{SPEECH}.zip").exists()
    assert (tmp_path / SPEECH / "Actor_01" / "03-01-01-01-01-01-01.wav").exists()


def test_a_wrong_archive_put_there_by_hand_is_refused_and_kept(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / f"{SPEECH}.zip").write_bytes(SONG_ZIP)
    with pytest.raises(CorpusError, match="is not the published archive") as error:
        fetch_ravdess(tmp_path, server.url)
    assert_one_line(error)
    assert (tmp_path / f"{SPEECH}.zip").read_bytes() == SONG_ZIP


def symlink_to(target: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("Actor_01")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, target)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        zipped({"Actor_01/a.wav": b"a", "../climbed.wav": b"b"}),
        zipped({"Actor_01/../../climbed.wav": b"b"}),
        zipped({"/tmp/climbed.wav": b"b"}),
        zipped({"..\\climbed.wav": b"b"}),
        zipped({"C:/climbed.wav": b"b"}),
        symlink_to("/tmp"),
    ],
)
def test_members_that_climb_out_are_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    server.files[f"{SPEECH}.zip"] = content
    monkeypatch.setattr(download, "ARCHIVES", (archive_of(content, SPEECH),))
    with pytest.raises(CorpusError, match="outside its folder") as error:
        fetch_ravdess(tmp_path / "ravdess", server.url)
    assert_one_line(error)
    assert not (tmp_path / "ravdess" / SPEECH).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["ravdess"]


def test_an_archive_that_cannot_be_unpacked_leaves_nothing_half_done(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = bytearray(SPEECH_ZIP)
    broken[700_000] ^= 255  # within the second member
    server.files[f"{SPEECH}.zip"] = bytes(broken)
    monkeypatch.setattr(download, "ARCHIVES", (archive_of(bytes(broken), SPEECH),))
    with pytest.raises(CorpusError, match="cannot be unpacked") as error:
        fetch_ravdess(tmp_path, server.url)
    assert_one_line(error)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("after_signature", "value"),
    [(2, 1), (4, 99)],
    ids=["with a password", "of an unknown compression"],
)
def test_a_member_that_zipfile_cannot_read_is_one_line(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after_signature: int,
    value: int,
) -> None:
    content = bytearray(zipped({"Actor_01/a.wav": b"sound"}))
    for signature, first in ((b"PK\x03\x04", 4), (b"PK\x01\x02", 6)):  # member, directory
        content[content.index(signature) + first + after_signature] = value
    server.files[f"{SPEECH}.zip"] = bytes(content)
    monkeypatch.setattr(download, "ARCHIVES", (archive_of(bytes(content), SPEECH),))
    with pytest.raises(CorpusError, match="cannot be unpacked") as error:
        fetch_ravdess(tmp_path / "ravdess", server.url)
    assert_one_line(error)
    assert not (tmp_path / "ravdess" / SPEECH).exists()


def test_a_full_disk_is_noticed_before_anything_is_fetched(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = download.shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(CorpusError, match=r"needs 11 MB and the disk has 1 MB left") as error:
        fetch_ravdess(tmp_path, server.url)
    assert_one_line(error)
    assert server.requests == []


def test_two_processes_do_not_fetch_into_one_folder(server: Server, tmp_path: Path) -> None:
    with (
        download._alone(tmp_path),
        pytest.raises(CorpusError, match="another process") as error,
    ):
        fetch_ravdess(tmp_path, server.url)
    assert_one_line(error)


def test_a_mirror_is_named_by_the_environment(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(download.MIRROR_VARIABLE, server.url + "/")
    fetch_ravdess(tmp_path)
    assert_complete(tmp_path)


def test_the_corpus_named_download_is_fetched_below_data(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_data: Path
) -> None:
    originals = {
        path.relative_to(real_data / "ravdess_original" / SPEECH).as_posix(): path.read_bytes()
        for path in (real_data / "ravdess_original" / SPEECH / "Actor_01").iterdir()
    }
    content = zipped(originals)
    server.files[f"{SPEECH}.zip"] = content
    monkeypatch.setattr(download, "ARCHIVES", (archive_of(content, SPEECH),))
    monkeypatch.setenv(download.MIRROR_VARIABLE, server.url)
    monkeypatch.setattr(corpora, "ROOT", tmp_path)
    recordings = load_corpus("download")
    assert [recording.name for recording in recordings] == [
        "03-01-01-01-01-01-01",
        "03-01-02-01-01-02-01",
        "03-01-08-01-02-02-01",
    ]
    assert recordings[0].path.is_relative_to(tmp_path / "data" / "ravdess" / SPEECH)


def test_the_command_fetches_and_fails_in_one_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv(download.MIRROR_VARIABLE, server.url)
    assert download.main(["--to", str(tmp_path / "here")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'here'}\n"
    server.files = {}
    assert download.main(["--to", str(tmp_path / "there")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"{SPEECH}.zip: cannot be fetched")


def test_the_published_archives_are_those_of_the_record() -> None:
    assert [(archive.name, archive.size) for archive in download.ARCHIVES] == [
        ("Audio_Speech_Actors_01-24.zip", 208_468_073),
        ("Audio_Song_Actors_01-24.zip", 225_505_317),
    ]
    assert all(re.fullmatch("[0-9a-f]{64}", archive.sha256) for archive in download.ARCHIVES)
