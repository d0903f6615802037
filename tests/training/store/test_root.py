"""Where the storage root is, and which addresses are valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.store import storage
from training.store.storage import Storage, StorageError, choose_root


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster's shared disk."""
    monkeypatch.setattr(storage, "CLUSTER_STORAGE", tmp_path)
    return tmp_path


@pytest.fixture
def unmounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "CLUSTER_STORAGE", tmp_path / "absent")


EVERYTHING = {"CARRACING_STORAGE": "s3://chosen/x", "ANYSCALE_ARTIFACT_STORAGE": "s3://artifacts/y"}


def test_a_root_that_is_named_comes_first(mounted: Path) -> None:
    assert choose_root("gs://named/z", EVERYTHING) == "gs://named/z"


def test_the_projects_variable_comes_second(mounted: Path) -> None:
    assert choose_root(None, EVERYTHING) == "s3://chosen/x"


@pytest.mark.parametrize("ending", ["", "/"])
def test_the_platforms_artifact_storage_comes_third(mounted: Path, ending: str) -> None:
    environ = {"ANYSCALE_ARTIFACT_STORAGE": f"s3://artifacts/y{ending}"}
    assert choose_root(None, environ) == "s3://artifacts/y/carracing-ppo"


def test_the_clusters_disk_comes_fourth(mounted: Path) -> None:
    assert choose_root(None, {}) == str(mounted / "carracing-ppo")


@pytest.mark.usefixtures("unmounted")
def test_the_working_folder_comes_last() -> None:
    assert choose_root(None, {}) == "results"


@pytest.mark.usefixtures("unmounted")
def test_empty_settings_are_no_settings() -> None:
    empty = dict.fromkeys(EVERYTHING, "")
    assert choose_root("", empty) == "results"


def test_the_process_environment_is_read_unless_another_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CARRACING_STORAGE", "s3://from-the-process")
    assert choose_root() == "s3://from-the-process"


@pytest.mark.parametrize(
    "root", ["ftp://host/x", "http://host/x", "abfss://c@a.dfs.core.windows.net/x", "S3://b/x"]
)
def test_an_address_of_another_kind_is_refused(root: str) -> None:
    with pytest.raises(StorageError, match="CARRACING_STORAGE") as refusal:
        Storage.open(root)
    for named in (root, "s3://", "gs://", "--results-dir"):
        assert named in str(refusal.value)


@pytest.mark.parametrize("root", ["s3://", "s3:///", "gs://"])
def test_an_address_without_a_bucket_is_refused(root: str) -> None:
    with pytest.raises(StorageError, match="names no bucket"):
        Storage.open(root)


@pytest.mark.parametrize("root", ["s3:///key", "s3://a bucket/x", "s3://bucket?nonsense=1"])
def test_an_address_that_cannot_be_opened_is_named(root: str) -> None:
    with pytest.raises(StorageError, match="cannot be opened") as refusal:
        Storage.open(root)
    assert repr(root) in str(refusal.value)


def test_a_relative_root_is_below_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    opened = Storage.open("some/results")
    monkeypatch.chdir("/")
    opened.write("file", b"content")
    assert (tmp_path / "some/results/file").read_bytes() == b"content"


def test_a_root_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Storage.open("~/results").path == str(tmp_path / "results")


def test_opening_a_root_makes_nothing(tmp_path: Path) -> None:
    Storage.open(str(tmp_path / "root"))
    assert not (tmp_path / "root").exists()
