from __future__ import annotations

import gc
import pickle
from pathlib import Path

import pytest
from pyarrow import fs

from training.storage import Storage
from training.whole_files import reading, whole_files


@pytest.fixture
def filesystem() -> fs.FileSystem:
    return whole_files(fs.LocalFileSystem())


def test_a_file_appears_when_it_is_complete(filesystem: fs.FileSystem, tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    target.write_text("before")
    with filesystem.open_output_stream(str(target)) as stream:
        stream.write(b"aft")
        stream.flush()
        assert target.read_text() == "before"
        stream.write(b"er")
    assert target.read_text() == "after"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_is_given_up_leaves_nothing(filesystem: fs.FileSystem, tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    target.write_text("before")
    stream = filesystem.open_output_stream(str(target))
    stream.write(b"half of it")
    del stream
    gc.collect()
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_copy_that_fails_midway_leaves_what_was_there(
    filesystem: fs.FileSystem, tmp_path: Path
) -> None:
    """As Tune copies its state, onto a disk that is full: /dev/full is one."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "state.json").write_text("new")
    target = tmp_path / "state.json"
    target.write_text("before")
    handler = filesystem.handler

    class Full(type(handler)):  # type: ignore[misc]
        def open_output_stream(self, path: str, metadata: object) -> object:
            stream = super().open_output_stream(path, metadata)

            class Stream:
                closed = False

                def write(self, content: object) -> int:
                    raise OSError(28, "No space left on device")

                def flush(self) -> None: ...

                def close(self) -> None: ...

            del stream
            import pyarrow as pa

            return pa.PythonFile(Stream(), mode="w")

    with pytest.raises(OSError, match="No space left"):
        fs.copy_files(str(source), str(tmp_path), destination_filesystem=fs.PyFileSystem(Full()))
    gc.collect()
    assert target.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "state.json"]


def test_folders_are_copied_listed_and_deleted_as_on_any_filesystem(
    filesystem: fs.FileSystem, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a").write_bytes(b"a" * 100_000)
    (source / "deep" / "b").write_bytes(b"")
    copy = str(tmp_path / "copy")
    filesystem.create_dir(copy)
    fs.copy_files(str(source), copy, destination_filesystem=filesystem)
    found = filesystem.get_file_info(fs.FileSelector(copy, recursive=True))
    sizes = {Path(info.path).relative_to(copy).as_posix(): info.size for info in found}
    assert sizes == {"a": 100_000, "deep": None, "deep/b": 0}
    with filesystem.open_input_stream(f"{copy}/a") as stream:
        assert stream.read() == b"a" * 100_000
    filesystem.move(f"{copy}/a", f"{copy}/c")
    filesystem.delete_file(f"{copy}/c")
    assert filesystem.get_file_info(f"{copy}/c").type == fs.FileType.NotFound
    filesystem.delete_dir(copy)
    assert not Path(copy).exists()


def test_a_folder_that_cannot_be_written_says_so(filesystem: fs.FileSystem, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        filesystem.open_output_stream(str(tmp_path / "missing" / "state.json"))


def test_it_goes_to_other_processes(filesystem: fs.FileSystem, tmp_path: Path) -> None:
    again = pickle.loads(pickle.dumps(filesystem))
    assert again == filesystem
    with again.open_output_stream(str(tmp_path / "a")) as stream:
        stream.write(b"a")
    assert (tmp_path / "a").read_bytes() == b"a"


def test_what_is_below_is_known_as_local(filesystem: fs.FileSystem) -> None:
    assert isinstance(reading(filesystem), fs.LocalFileSystem)


def test_a_bucket_needs_nothing(s3_bucket: str) -> None:
    filesystem = Storage.open(s3_bucket).filesystem
    assert whole_files(filesystem) is filesystem
    assert reading(filesystem) is filesystem
