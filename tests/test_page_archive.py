"""ZIP archives as the page reads them."""

import io
import struct
import warnings
import zipfile

import pytest

from edge.audio import AudioError
from streamlit_app import archive
from streamlit_app.archive import Archive, ArchiveError


def packed(members, method=zipfile.ZIP_DEFLATED):
    """A ZIP archive of names and contents."""
    content = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(content, "w", method) as file:
        warnings.simplefilter("ignore")  # of names that come twice
        for name, data in members:
            file.writestr(name, data)
    content.seek(0)
    return content


def test_recordings_are_read_by_name_and_the_rest_is_counted():
    content = packed(
        [("a/one.wav", b"1"), ("two.FLAC", b"22"), ("notes.txt", b"x"), ("inner.zip", b"PK")]
    )
    with Archive(content, "voices.zip") as voices:
        assert list(voices.members) == ["a/one.wav", "two.FLAC"]
        assert voices.left_out == 2
        recording = voices.read("two.FLAC")
    assert recording.read() == b"22"
    assert recording.name == "voices.zip/two.FLAC"


def test_what_an_archiver_adds_is_passed_over():
    content = packed([("one.wav", b"1"), ("__MACOSX/._one.wav", b"x"), ("a/.DS_Store", b"x")])
    voices = Archive(content, "voices.zip")
    assert list(voices.members) == ["one.wav"]
    assert voices.left_out == 0


@pytest.mark.parametrize(
    "path", ["../one.wav", "a/../../one.wav", "/etc/one.wav", "C:\\one.wav", "a\\..\\..\\one.wav"]
)
def test_a_path_that_leads_out_of_the_archive_refuses_all_of_it(path):
    with pytest.raises(ArchiveError, match=r"^voices\.zip: holds a path that leads out of it"):
        Archive(packed([("good.wav", b"1"), (path, b"1")]), "voices.zip")


def test_an_archive_that_says_it_unpacks_to_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(archive, "MOST_UNPACKED", 1_000)
    content = packed([(f"{k}.wav", bytes(400)) for k in range(3)])
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        Archive(content, "bomb.zip")


def test_an_archive_that_hides_what_it_unpacks_to_is_not_believed():
    content = packed([("bomb.wav", bytes(2**20))]).getvalue()
    central = content.index(b"PK\x01\x02")
    lying = bytearray(content)
    lying[central + 24 : central + 28] = struct.pack("<I", 10)  # the unpacked size it states
    voices = Archive(io.BytesIO(bytes(lying)), "bomb.zip")
    with pytest.raises(AudioError, match=r"^bomb\.zip/bomb\.wav: cannot be unpacked"):
        voices.read("bomb.wav")


def test_what_comes_out_is_counted_whatever_was_said(monkeypatch):
    voices = Archive(packed([("one.wav", bytes(2**18)), ("two.wav", bytes(2**18))]), "bomb.zip")
    monkeypatch.setattr(voices, "_left", 2**18 + 2**17)
    voices.read("one.wav")
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        voices.read("two.wav")


def test_a_recording_that_inflates_without_end_costs_itself_alone(monkeypatch):
    monkeypatch.setattr(archive, "MOST_MEMBER", 2**17)
    voices = Archive(packed([("long.wav", bytes(2**20)), ("short.wav", b"1")]), "voices.zip")
    with pytest.raises(AudioError, match=r"^voices\.zip/long\.wav: is larger than"):
        voices.read("long.wav")
    assert voices.read("short.wav").read() == b"1"


def test_a_table_of_contents_of_endless_length_is_not_read(monkeypatch):
    monkeypatch.setattr(archive, "MOST_DIRECTORY", 10_000)
    with pytest.raises(ArchiveError, match="lists too many files"):
        Archive(packed([(f"{'n' * 100}{k}.wav", b"") for k in range(100)]), "many.zip")


def test_more_files_than_are_read_are_refused(monkeypatch):
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    with pytest.raises(ArchiveError, match="holds 4 files; at most 3 are read"):
        Archive(packed([(f"{k}.wav", b"") for k in range(4)]), "many.zip")


def test_an_encrypted_archive_is_named_as_such():
    content = bytearray(packed([("one.wav", b"1")]).getvalue())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ArchiveError, match=r"^secret\.zip: is encrypted; unpack it"):
        Archive(io.BytesIO(bytes(content)), "secret.zip")


def test_a_method_that_asks_for_gigabytes_is_not_unpacked():
    voices = Archive(packed([("one.wav", b"1")], zipfile.ZIP_LZMA), "voices.zip")
    with pytest.raises(AudioError, match="is packed by a rare method"):
        voices.read("one.wav")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 begins like one"])
def test_what_is_no_archive_is_named_as_such(content):
    with pytest.raises(ArchiveError, match=r"^voices\.zip: is damaged or no ZIP archive"):
        Archive(io.BytesIO(content), "voices.zip")


def test_a_damaged_recording_costs_itself_alone():
    content = bytearray(
        packed([("bad.wav", b"1" * 50), ("good.wav", b"2")], zipfile.ZIP_STORED).getvalue()
    )
    content[content.index(b"1" * 50)] = 0
    voices = Archive(io.BytesIO(bytes(content)), "voices.zip")
    with pytest.raises(AudioError, match=r"bad\.wav: cannot be unpacked"):
        voices.read("bad.wav")
    assert voices.read("good.wav").read() == b"2"
