"""A ``pyarrow.fs`` handler that passes every call on, as a base for handlers that change a few."""
# ruff: noqa: D102 - pyarrow describes the methods

from __future__ import annotations

from typing import Any

from pyarrow import fs


class DelegatingHandler(fs.FileSystemHandler):  # type: ignore[misc]
    """Passes every call to another filesystem. It can be pickled if that filesystem can."""

    def __init__(self, filesystem: fs.FileSystem) -> None:
        self.filesystem = filesystem

    def __reduce__(self) -> Any:
        return type(self), (self.filesystem,)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.filesystem == self.filesystem

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(type(self))

    def get_type_name(self) -> str:
        return f"{type(self).__name__} over {self.filesystem.type_name}"

    def normalize_path(self, path: str) -> Any:
        return self.filesystem.normalize_path(path)

    def get_file_info(self, paths: list[str]) -> Any:
        return self.filesystem.get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> Any:
        return self.filesystem.get_file_info(selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        self.filesystem.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        self.filesystem.delete_dir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self.filesystem.delete_dir_contents(path, missing_dir_ok=missing_dir_ok)

    def delete_root_dir_contents(self) -> None:
        raise PermissionError("the root of the filesystem is not emptied")

    def delete_file(self, path: str) -> None:
        self.filesystem.delete_file(path)

    def move(self, src: str, dest: str) -> None:
        self.filesystem.move(src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        self.filesystem.copy_file(src, dest)

    def open_input_stream(self, path: str) -> Any:
        return self.filesystem.open_input_stream(path, compression=None)

    def open_input_file(self, path: str) -> Any:
        return self.filesystem.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        return self.filesystem.open_output_stream(path, compression=None, metadata=metadata)

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        return self.filesystem.open_append_stream(path, compression=None, metadata=metadata)
