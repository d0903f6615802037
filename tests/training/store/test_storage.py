from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pyarrow import fs

from tests.conftest import exists
from training.store.storage import Storage


@pytest.fixture
def anywhere(any_root: str) -> Storage:
    """An empty root on every kind of storage in turn."""
    return Storage.open(any_root)


def test_what_is_written_is_read(anywhere: Storage) -> None:
    anywhere.write("a/b/file", b"\0content\xff" * 1000)
    assert anywhere.read("a/b/file") == b"\0content\xff" * 1000


def test_compressed_files_are_read_as_they_are(anywhere: Storage) -> None:
    anywhere.write("file.gz", b"not really compressed")
    assert anywhere.read("file.gz") == b"not really compressed"


def test_writing_again_replaces(anywhere: Storage) -> None:
    anywhere.write("file", b"a longer content")
    anywhere.write("file", b"short")
    assert anywhere.read("file") == b"short"


def test_a_file_that_is_not_there_is_not_found(anywhere: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        anywhere.read("absent/file")


def test_folders_are_listed_by_name_without_files(anywhere: Storage) -> None:
    for path in ("runs/b/file", "runs/a/deeper/file", "runs/file"):
        anywhere.write(path, b"content")
    assert anywhere.folders("runs") == ["a", "b"]
    assert anywhere.folders("") == ["runs"]


def test_files_are_listed_by_name_without_folders(anywhere: Storage) -> None:
    for path in ("runs/b.json", "runs/a.json", "runs/folder/file", "latest.json"):
        anywhere.write(path, b"content")
    assert anywhere.files("runs") == ["a.json", "b.json"]
    assert anywhere.files("") == ["latest.json"]


def test_a_folder_that_is_not_there_holds_none(anywhere: Storage) -> None:
    assert anywhere.folders("absent") == []
    assert anywhere.files("absent") == []


def test_files_and_folders_exist_once_written(anywhere: Storage) -> None:
    assert not exists(anywhere, "a")
    anywhere.write("a/file", b"content")
    assert exists(anywhere, "a")
    assert exists(anywhere, "a/file")
    assert not exists(anywhere, "a/other")


def test_a_deleted_folder_is_gone_with_all_in_it(anywhere: Storage) -> None:
    anywhere.write("a/b/file", b"content")
    anywhere.write("a/c/file", b"content")
    anywhere.delete_folder("a/b")
    assert not exists(anywhere, "a/b/file")
    assert anywhere.read("a/c/file") == b"content"


def test_a_folder_is_copied_with_its_subfolders(anywhere: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deeper").mkdir(parents=True)
    (source / "file").write_bytes(b"one")
    (source / "deeper/file").write_bytes(b"two")
    anywhere.copy_folder(str(source), "x/y", source_filesystem=fs.LocalFileSystem())
    assert anywhere.read("x/y/file") == b"one"
    assert anywhere.read("x/y/deeper/file") == b"two"


def test_a_folder_is_copied_within_a_storage(anywhere: Storage) -> None:
    anywhere.write("from/file", b"content")
    anywhere.copy_folder(anywhere.at("from"), "to", source_filesystem=anywhere.filesystem)
    assert anywhere.read("to/file") == b"content"


def test_a_bucket_that_does_not_exist_is_not_made(s3_bucket: str) -> None:
    absent = Storage.open("s3://absent/prefix")
    with pytest.raises(OSError, match="NO_SUCH_BUCKET"):
        absent.write("file", b"content")


@pytest.fixture
def private(private_root: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Storage:
    """An empty root below :func:`private_root`."""
    root, variables = private_root
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Storage.open(f"{root}/{uuid4().hex}")


def test_a_key_that_may_use_only_a_prefix_is_enough(private: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deeper").mkdir(parents=True)
    (source / "deeper/file").write_bytes(b"content")
    private.write("latest.json", b"{}")
    private.copy_folder(str(source), "runs/a", source_filesystem=fs.LocalFileSystem())
    sent = pickle.loads(pickle.dumps(private))
    sent.copy_folder(sent.at("runs/a"), "runs/b", source_filesystem=sent.filesystem)
    assert private.folders("runs") == ["a", "b"]
    assert private.read("runs/b/deeper/file") == b"content"
    private.delete_folder("runs/b")
    assert not exists(private, "runs/b/deeper/file")
    private.delete_file("latest.json")
    with pytest.raises(FileNotFoundError):
        private.read("latest.json")
    private.delete_file("latest.json")
    assert private.files("") == []


def test_a_key_that_may_not_use_the_prefix_is_an_error_that_names_what_is_denied(
    private: Storage,
) -> None:
    others = Storage.open("s3://bucket/team/bob")
    for use in (others.read, others.folders, lambda name: others.write(name, b"")):
        with pytest.raises(OSError, match="ACCESS_DENIED"):
            use("file")


def test_a_private_server_is_not_trusted_without_its_certificate(
    private: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    private.write("file", b"content")
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with pytest.raises(OSError, match=r"(?i)certificate"):
        Storage.open(private.root).read("file")


class Overtaken(fs.S3FileSystem):  # type: ignore[misc]
    """A bucket where something happens, once, right after an object's size was asked for."""

    then: Callable[[], None] | None = None

    def open_input_file(self, path: str) -> Any:
        file = super().open_input_file(path)
        file.size()
        if (then := self.then) is not None:
            self.then = None
            then()
        return file


@pytest.fixture
def overtaken(s3_bucket: str) -> Storage:
    """A root in such a bucket, with a file in it."""
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    overtaken = Storage(
        f"{s3_bucket}/overtaken",
        Overtaken(region="us-east-1", endpoint_override=endpoint),
        "bucket/overtaken",
    )
    overtaken.write("file", b"as it was before")
    return overtaken


@pytest.mark.parametrize("now", [b"short", b"as it is now, which is much longer"])
def test_an_object_that_is_replaced_while_it_is_read_is_read_whole(
    overtaken: Storage, now: bytes
) -> None:
    overtaken.filesystem.then = lambda: overtaken.write("file", now)
    assert overtaken.read("file") == now


def test_an_object_that_is_deleted_while_it_is_read_is_not_found(overtaken: Storage) -> None:
    overtaken.filesystem.then = lambda: overtaken.delete_file("file")
    with pytest.raises(FileNotFoundError, match="it was deleted"):
        overtaken.read("file")


def no_space_left(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(("owner", "function"), [(os, "fsync"), (Path, "replace")])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, function: str
) -> None:
    opened = Storage.open(str(tmp_path))
    opened.write("file", b"before")
    with monkeypatch.context() as patch:
        patch.setattr(owner, function, no_space_left)
        with pytest.raises(OSError, match="No space left"):
            opened.write("file", b"after")
    assert opened.read("file") == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path: Path) -> None:
    opened = Storage.open(str(tmp_path))
    opened.write("a", b"a file")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        opened.write("a/b", b"below it")


@pytest.mark.parametrize("filename", [None, 7, "runs/a/b.csv"])
def test_an_error_in_the_root_is_said_to_be_of_the_root(
    filename: str | int | None, tmp_path: Path
) -> None:
    # The root is a link: what it leads to is where its files are.
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    root = Storage.open(str(tmp_path / "root"))
    if isinstance(filename, str):
        filename = str(tmp_path / "root" / filename)
    said = str(root.failure(OSError(errno.ENOSPC, "No space left on device", filename)))
    assert said.startswith(f"storage root '{tmp_path}/real': [Errno {errno.ENOSPC}] No space left")


@pytest.mark.parametrize("encode", [str, os.fsencode])
def test_an_error_elsewhere_names_its_file(
    encode: Callable[[str], str | bytes], tmp_path: Path, s3_bucket: str
) -> None:
    beside = str(tmp_path / "root-2" / "x.json")
    error = OSError(errno.ENOSPC, "No space left on device", encode(beside))
    for root in (Storage.open(str(tmp_path / "root")), Storage.open(s3_bucket)):
        said = str(root.failure(error))
        assert said.startswith(f"[Errno {errno.ENOSPC}] No space left on device: ")
        assert beside in said
        assert "not in the storage root" in said


def test_an_object_of_the_bucket_lies_in_it(s3_bucket: str) -> None:
    bucket = Storage.open(f"{s3_bucket}/deep")
    error = FileNotFoundError(errno.ENOENT, "it was deleted", bucket.at("a"))
    assert str(bucket.failure(error)).startswith(f"storage root '{s3_bucket}/deep': ")
