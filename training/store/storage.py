"""Where everything is kept: one root, on a disk or in a bucket, through ``pyarrow.fs``."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Final

from pyarrow import fs

from training.store.filesystems.buckets import open_bucket

CLUSTER_STORAGE = Path("/mnt/cluster_storage")
PROJECT_FOLDER = "carracing-ppo"
_READS: Final = 5
"""Of an object that is replaced each time."""


class StorageError(Exception):
    """The storage root, or a file that belongs with it, cannot be used; the message says why."""


def choose_root(explicit: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    """The storage root: a path or an ``s3://`` / ``gs://`` address.

    The first of: ``explicit``, ``CARRACING_STORAGE``, ``$ANYSCALE_ARTIFACT_STORAGE/carracing-ppo``,
    ``/mnt/cluster_storage/carracing-ppo`` where that is mounted, ``./results``.
    """
    environ = os.environ if environ is None else environ
    if explicit:
        return explicit
    if chosen := environ.get("CARRACING_STORAGE"):
        return chosen
    if artifacts := environ.get("ANYSCALE_ARTIFACT_STORAGE"):
        return f"{artifacts.rstrip('/')}/{PROJECT_FOLDER}"
    if CLUSTER_STORAGE.is_dir():
        return str(CLUSTER_STORAGE / PROJECT_FOLDER)
    return "results"


@dataclass(frozen=True)
class Storage:
    """A root folder on some filesystem; paths below it use ``/`` and are relative to it."""

    root: str
    """The root as a person writes it."""
    opened: fs.FileSystem | Callable[[], fs.FileSystem]
    """Its filesystem, or how to open it: of some buckets that takes a network, see :meth:`open`."""
    path: str
    """The root as ``filesystem`` names it."""

    @classmethod
    def open(cls, root: str) -> Storage:
        """Open a root without touching it: it need not exist yet.

        Where the network has to say a bucket's region, and is away, it is asked again at first use.

        Raises:
            StorageError: The address is not a path, ``s3://`` or ``gs://``, or names no bucket.
        """
        scheme, separator, rest = root.partition("://")
        if not separator:
            path = str(Path(root).expanduser().resolve())
            return cls(path, fs.LocalFileSystem(), path)
        if scheme not in ("s3", "gs"):
            raise StorageError(
                f"storage root {root!r}: {scheme}:// is not supported; use a local path, s3://… or "
                "gs://…, given by CARRACING_STORAGE (in training also by --results-dir). A mounted "
                "folder is a local path, such as /mnt/shared_storage on Anyscale"
            )
        if not rest.strip("/"):
            raise StorageError(f"storage root {root!r} names no bucket")
        path = rest.rstrip("/")
        storage = cls(root.rstrip("/"), partial(open_bucket, scheme, path), path)
        try:
            with suppress(OSError):
                storage.filesystem  # noqa: B018
        except ValueError as error:
            raise StorageError(f"storage root {root!r} cannot be opened: {error}") from error
        return storage

    @cached_property
    def filesystem(self) -> fs.FileSystem:
        """Where the root is. Raises OSError where a bucket's region cannot be found out now."""
        return self.opened if isinstance(self.opened, fs.FileSystem) else self.opened()

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine, or mounted there."""
        return "://" not in self.root

    def at(self, relative: str) -> str:
        """The path of ``relative`` as the filesystem names it."""
        return f"{self.path}/{relative}" if relative else self.path

    def failure(self, error: OSError) -> StorageError:
        """What to say of an error in using it: it may have come from a file that is not in it."""
        # pyarrow names no file but in its text. A number is a descriptor.
        if isinstance(error.filename, str | bytes) and not self._holds(os.fsdecode(error.filename)):
            return StorageError(f"{error}; this file is not in the storage root, {self.root!r}")
        return StorageError(f"storage root {self.root!r}: {error}")

    def _holds(self, filename: str) -> bool:
        path = Path(filename).resolve() if self.is_local else PurePosixPath(filename)
        return path.is_relative_to(self.path)

    def read(self, relative: str) -> bytes:
        """Read a whole file. Raises FileNotFoundError, or OSError when storage is away."""
        if self.root.startswith("s3://"):
            return self._read_object(relative)
        with self.filesystem.open_input_stream(self.at(relative), compression=None) as stream:
            content: bytes = stream.read()
        return content

    def _read_object(self, relative: str) -> bytes:
        """Read from S3, where pyarrow asks for the size first and believes it.

        Of an object that is replaced in between it would give a part, or bytes of this process's
        memory behind it.
        """
        path = self.at(relative)
        for _ in range(_READS):
            with self.filesystem.open_input_file(path) as file:
                size = file.size()
                try:
                    content: bytes = file.read()
                except OSError as error:
                    # What S3 says of an object that was deleted in between depends on much.
                    if self.filesystem.get_file_info(path).type == fs.FileType.NotFound:
                        raise FileNotFoundError(errno.ENOENT, "it was deleted", path) from error
                    raise
            if self.filesystem.get_file_info(path).size == size:
                return content
        raise OSError(f"{path} was replaced whenever it was read")

    def write(self, relative: str, content: bytes) -> None:
        """Write a whole file such that a reader sees all of it or what was there before."""
        if not self.is_local:
            # Object stores show an object only once its upload has been completed.
            with self.filesystem.open_output_stream(self.at(relative), compression=None) as stream:
                stream.write(content)
            return
        target = Path(self.at(relative))
        temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def folders(self, relative: str) -> list[str]:
        """Names of the folders directly below ``relative``; none when it does not exist."""
        if self.root.startswith("gs://"):
            return self._folders_of_files(relative)
        selector = fs.FileSelector(self.at(relative), allow_not_found=True)
        return sorted(
            info.base_name
            for info in self.filesystem.get_file_info(selector)
            if info.type == fs.FileType.Directory
        )

    def _folders_of_files(self, relative: str) -> list[str]:
        """The same, told by the files: pyarrow sees no folder in Google's that it did not make."""
        above = f"{self.at(relative)}/"
        selector = fs.FileSelector(above.rstrip("/"), allow_not_found=True, recursive=True)
        below = (
            info.path.removeprefix(above) + "/" * (info.type == fs.FileType.Directory)
            for info in self.filesystem.get_file_info(selector)
        )
        return sorted({path.partition("/")[0] for path in below if "/" in path})

    def files(self, relative: str) -> list[str]:
        """Names of the files directly below ``relative``, sorted; none when it does not exist."""
        selector = fs.FileSelector(self.at(relative), allow_not_found=True)
        return sorted(
            info.base_name
            for info in self.filesystem.get_file_info(selector)
            if info.type == fs.FileType.File
        )

    def delete_file(self, relative: str) -> None:
        """Delete a file, if it is there."""
        with suppress(FileNotFoundError):
            self.filesystem.delete_file(self.at(relative))

    def delete_folder(self, relative: str) -> None:
        """Delete a folder and everything in it, if it is there."""
        # Google's storage misses the folder itself, of which there is nothing but its files.
        with suppress(FileNotFoundError):
            self.filesystem.delete_dir(self.at(relative))

    def copy_folder(self, source: str, relative: str, *, source_filesystem: fs.FileSystem) -> None:
        """Copy a folder's files to ``relative``, from this filesystem or another."""
        self.filesystem.create_dir(self.at(relative), recursive=True)
        fs.copy_files(
            source,
            self.at(relative),
            source_filesystem=source_filesystem,
            destination_filesystem=self.filesystem,
        )
