from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pyarrow import fs

from training.store.filesystems import buckets
from training.store.filesystems.buckets import open_bucket
from training.store.storage import Storage

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


def s3(filesystem: fs.PyFileSystem) -> fs.S3FileSystem:
    """What a bucket of S3 is used through."""
    return filesystem.handler.filesystem


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The buckets whose regions are asked for."""
    asked: list[str] = []

    def resolve(bucket: str) -> str:
        asked.append(bucket)
        return "eu-north-1"

    monkeypatch.setattr(fs, "resolve_s3_region", resolve)
    return asked


@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "auto", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "auto"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "us-east-1"),
    ],
)
def test_a_region_that_is_known_is_not_asked_for(
    resolved: list[str], environ: dict[str, str], region: str
) -> None:
    assert s3(open_bucket("s3", "bucket/a/b", environ)).region == region
    assert resolved == []


def test_a_region_that_nothing_names_is_asked_for(resolved: list[str]) -> None:
    filesystem = open_bucket("s3", "bucket/a", {})
    assert (s3(filesystem).region, resolved) == ("eu-north-1", ["bucket"])


def test_a_region_is_asked_for_again_where_the_network_was_away(
    resolved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as away:

        def resolve(bucket: str) -> str:
            raise OSError(f"no network to ask for {bucket}")

        away.setattr(fs, "resolve_s3_region", resolve)
        storage = Storage.open("s3://bucket/a/")
        with pytest.raises(OSError, match="no network"):
            storage.read("b")
    assert not storage.is_local
    assert (s3(storage.filesystem).region, resolved) == ("eu-north-1", ["bucket"])
    assert storage.at("b") == "bucket/a/b"
    assert s3(pickle.loads(pickle.dumps(storage)).filesystem).region == "eu-north-1"


@pytest.mark.parametrize("location", ["bucket//x", "bucket/x?region=eu-west-1", "bucket/x#y"])
def test_what_is_no_path_in_a_bucket_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match="AWS_ENDPOINT_URL and AWS_REGION"):
        open_bucket("gs", location, {})


@pytest.mark.parametrize("location", ["", "/key", "a bucket/x", "key:secret@bucket", "bucket?a=b"])
def test_what_is_no_name_of_a_bucket_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match="is not a valid bucket name"):
        open_bucket("gs", location, {})


def test_an_endpoint_without_a_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="'localhost:9000' does not begin with http"):
        open_bucket("s3", "bucket", {"AWS_ENDPOINT_URL": "localhost:9000"})


def test_a_ca_bundle_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.pem")
    environ = {"AWS_REGION": "us-east-1", "AWS_CA_BUNDLE": absent}
    with pytest.raises(ValueError, match="AWS_CA_BUNDLE") as refusal:
        open_bucket("s3", "bucket", environ)
    assert absent in str(refusal.value)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener


def url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_the_endpoint_of_s3_comes_before_that_of_all_services(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"{os.environ['AWS_ENDPOINT_URL']}/")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    storage = Storage.open(f"{s3_bucket}/of-s3")
    storage.write("file", b"content")
    assert storage.read("file") == b"content"


def test_a_server_that_hangs_is_given_up(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "REQUEST_S", 1.0)
    monkeypatch.setattr(buckets, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url(listener))
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    storage = Storage.open("s3://bucket/root")
    for use in (storage.read, storage.folders, storage.delete_file):
        with pytest.raises(OSError, match="Timeout was reached"):
            use("file")


def test_a_root_in_a_bucket_can_be_sent_to_another_process(any_root: str) -> None:
    storage = Storage.open(any_root)
    storage.write("file", b"content")
    sent = pickle.loads(pickle.dumps(storage))
    assert sent.read("file") == b"content"
    assert (sent.root, sent.path) == (storage.root, storage.path)


def test_patience_is_kept_when_sent_to_another_process() -> None:
    environ = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "us-east-1"}
    filesystem = open_bucket("s3", "bucket", environ)
    kept = s3(pickle.loads(pickle.dumps(filesystem))).__reduce__()[1][0]
    assert (kept["connect_timeout"], kept["request_timeout"]) == (
        buckets.CONNECT_S,
        buckets.REQUEST_S,
    )
    filesystem = open_bucket("gs", "bucket", {})
    kept = pickle.loads(pickle.dumps(filesystem)).__reduce__()[1][0]
    assert kept["retry_time_limit"].total_seconds() == buckets.GCS_RETRY_S
