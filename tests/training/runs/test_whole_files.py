from __future__ import annotations

import errno
import gc
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pyarrow import fs

from training.runs.whole_files import reading, whole_files
from training.store.storage import Storage


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


_IN_A_WITH = """
with filesystem.open_output_stream(str(target)) as stream:
    stream.write(b"new" * 1_000)
"""
_IN_A_COPY = """
source = target.parent / "source"
fs.copy_files(str(source), str(target.parent), destination_filesystem=filesystem)
"""


@pytest.mark.parametrize("writing", [_IN_A_WITH, _IN_A_COPY], ids=["with", "copy"])
def test_writing_that_fails_leaves_what_was_there(writing: str, tmp_path: Path) -> None:
    """On a limit to the size of files, which stops a write in its midst as a full disk does."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "state.json").write_bytes(b"new" * 1_000)
    target = tmp_path / "state.json"
    target.write_text("before")
    program = (
        "import pathlib, resource, sys\n"
        "from pyarrow import fs\n"
        "from training.runs.whole_files import whole_files\n"
        "filesystem = whole_files(fs.LocalFileSystem())\n"
        "target = pathlib.Path(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))\n"
        "try:\n"
        f"{textwrap.indent(writing, '    ')}"
        "except OSError as error:\n"
        "    print(error.errno, error)\n"
        "stream = None\n"
        "print(sorted(path.name for path in target.parent.iterdir()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    error, left = done.stdout.splitlines()
    assert error.startswith(f"{errno.EFBIG} ")
    assert left == "['source', 'state.json']"
    assert target.read_text() == "before"


def test_a_disk_that_does_not_take_it_leaves_what_was_there(
    filesystem: fs.FileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "state.json"
    target.write_text("before")
    stream = filesystem.open_output_stream(str(target))
    stream.write(b"new")

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        stream.close()
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_name_that_cannot_be_taken_leaves_what_was_there(
    filesystem: fs.FileSystem, tmp_path: Path
) -> None:
    target = tmp_path / "state.json"
    target.mkdir()
    stream = filesystem.open_output_stream(str(target))
    stream.write(b"new")
    with pytest.raises(IsADirectoryError):
        stream.close()
    assert list(tmp_path.iterdir()) == [target]


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
