"""S3 for an access key that may use only the objects below a prefix of the bucket.

pyarrow's ``S3FileSystem`` asks whether the bucket exists and writes an empty object for each folder
above a path; such a key may do neither. And S3 answers 403 instead of 404 for a missing object,
unless the key may list the whole bucket.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, TypeVar

from pyarrow import fs

from training.store.filesystems.delegating import DelegatingHandler

T = TypeVar("T")


def below_a_prefix(s3: fs.S3FileSystem) -> fs.FileSystem:
    """The same filesystem, usable with a key that is limited to a prefix of the bucket."""
    return fs.PyFileSystem(_PrefixHandler(s3))


class _PrefixHandler(DelegatingHandler):
    """Creates no folders, which S3 does not need, and tells denied objects from missing ones."""

    def create_dir(self, path: str, recursive: bool) -> None:
        """Do nothing: an object's name needs no folder."""

    def get_file_info(self, paths: list[str]) -> Any:
        return [self._info(path) for path in paths]

    def delete_dir(self, path: str) -> None:
        try:
            self.filesystem.delete_dir(path)
        except OSError as error:
            if not _is_denied(error):
                raise
            # It asks for an object of the folder's name first.
            below = fs.FileSelector(path, allow_not_found=True, recursive=True)
            for info in self.filesystem.get_file_info(below):
                if info.type == fs.FileType.File:
                    self.filesystem.delete_file(info.path)

    def delete_file(self, path: str) -> None:
        self._missing_as_not_found(path, lambda: self.filesystem.delete_file(path))

    def open_input_stream(self, path: str) -> Any:
        return self._missing_as_not_found(
            path, lambda: self.filesystem.open_input_stream(path, compression=None)
        )

    def open_input_file(self, path: str) -> Any:
        return self._missing_as_not_found(path, lambda: self.filesystem.open_input_file(path))

    def _info(self, path: str) -> fs.FileInfo:
        try:
            return self.filesystem.get_file_info(path)
        except OSError as error:
            if not _is_denied(error):
                raise
        parent = path.rstrip("/").rpartition("/")[0]
        siblings = self.filesystem.get_file_info(fs.FileSelector(parent, allow_not_found=True))
        missing = fs.FileInfo(path, fs.FileType.NotFound)
        return next((info for info in siblings if info.path == path.rstrip("/")), missing)

    def _missing_as_not_found(self, path: str, action: Callable[[], T]) -> T:
        try:
            return action()
        except OSError as error:
            if _is_denied(error) and self._info(path).type == fs.FileType.NotFound:
                raise FileNotFoundError(errno.ENOENT, "there is no such object", path) from error
            raise


def _is_denied(error: OSError) -> bool:
    # pyarrow has no class for it.
    return "ACCESS_DENIED" in str(error)
