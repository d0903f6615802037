"""Finished films as files below ``films/`` in the storage root, named by their ETags.

A film survives a deploy there, and several renderers share it.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from pyarrow import fs

from app.rendering.film_order import FilmOrder
from training.store.storage import Storage

logger = logging.getLogger(__name__)

FOLDER: Final = "films"
_PAUSE_S: Final = 60.0
"""After a failed write, as in a root where the service may only read."""


class FilmFiles:
    """Reads and writes films, and deletes the oldest above a total size."""

    def __init__(self, storage: Storage, max_bytes: int) -> None:
        """Write nothing yet.

        Args:
            storage: The storage root.
            max_bytes: Total size of all films; 0 keeps none.
        """
        self._storage = storage
        self._max_bytes = max_bytes
        self._next_write = 0.0

    def read(self, order: FilmOrder) -> bytes | None:
        """Return a film, or None if it is not there; raises OSError."""
        try:
            return self._storage.read(_path(order))
        except FileNotFoundError:
            return None

    def write(self, order: FilmOrder, content: bytes) -> None:
        """Store a film if storage permits it. A failure is logged; the next try is a minute later.

        A film that is larger than the total size is not stored.
        """
        if len(content) > self._max_bytes or time.monotonic() < self._next_write:
            return
        try:
            self._storage.write(_path(order), content)
            self._delete_oldest()
        except OSError as error:
            self._next_write = time.monotonic() + _PAUSE_S
            logger.info("films are kept in memory only, storage cannot be written: %s", error)

    def _delete_oldest(self) -> None:
        selector = fs.FileSelector(self._storage.at(FOLDER), allow_not_found=True)
        files = [
            info
            for info in self._storage.filesystem.get_file_info(selector)
            if info.type == fs.FileType.File
        ]
        excess = sum(info.size for info in files) - self._max_bytes
        for info in sorted(files, key=lambda info: info.mtime_ns):
            if excess <= 0:
                return
            self._storage.delete_file(f"{FOLDER}/{info.base_name}")
            excess -= info.size


def _path(order: FilmOrder) -> str:
    name = order.etag.strip('"')
    return f"{FOLDER}/{name}.{order.encoding}"
