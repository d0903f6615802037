"""Files on a disk that appear whole or not at all, for those who write through ``pyarrow.fs``.

Tune overwrites its state in place, so that a kill or a full disk in the middle leaves half of it.
An object store shows an object only once its upload has been completed; a disk needs a rename.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from training.store.filesystem_handler import DelegatingHandler


def whole_files(filesystem: fs.FileSystem) -> fs.FileSystem:
    """The same filesystem, whose new files appear under their names once they are complete."""
    if isinstance(filesystem, fs.LocalFileSystem):
        return fs.PyFileSystem(_WholeLocalFiles(filesystem))
    return filesystem


def reading(filesystem: fs.FileSystem) -> fs.FileSystem:
    """The filesystem below: Ray copies a folder that is not on a filesystem known as local."""
    handler = getattr(filesystem, "handler", None)
    return fs.LocalFileSystem() if isinstance(handler, _WholeLocalFiles) else filesystem


class _WholeFile:
    """A file that is renamed to its name when it is closed, and deleted when it is given up.

    It is given up where writing or closing fails: a ``with`` closes it all the same. It is no
    ``io`` object: those are closed when nobody refers to them any more, which is what becomes of a
    file that is being copied when the reading fails.
    """

    def __init__(self, path: str) -> None:
        self._target = Path(path)
        self._temporary = self._target.with_name(f"{self._target.name}.{uuid.uuid4().hex}.tmp")
        # Not buffered: of errors in closing a file, unlike those in writing, Arrow's copying does
        # not tell.
        self._file = self._temporary.open("xb", buffering=0)

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, content: Any) -> int:
        left = memoryview(content).cast("B")
        size = len(left)
        try:
            while left:
                left = left[self._file.write(left) :]
        except BaseException:
            self._give_up()
            raise
        return size

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._target)
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._temporary.unlink()

    def __del__(self) -> None:
        # Not closed: copying failed. (Or the file was never made.)
        file = getattr(self, "_file", None)
        if file is not None and not file.closed:
            self._give_up()


class _WholeLocalFiles(DelegatingHandler):
    """The local filesystem, but for how files are written."""

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        del metadata
        return pa.PythonFile(_WholeFile(path), mode="w")
