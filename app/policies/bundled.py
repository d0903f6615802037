"""The policy that comes with the service. It is served while storage has none.

The folder ``app/bundled`` holds the published policy and the ``progress.csv`` of its run.
"""

from __future__ import annotations

from training.store.layout import PROGRESS_FILE
from training.store.published import BUNDLED_FOLDER, PublishedPolicy, read_policy
from training.store.storage import Storage


def read_bundled() -> PublishedPolicy:
    """Read and verify it; raises what :func:`training.store.published.read_policy` does."""
    return read_policy(Storage.open(str(BUNDLED_FOLDER)))


def read_bundled_progress() -> bytes:
    """The ``progress.csv`` of its run; raises FileNotFoundError if there is none."""
    return (BUNDLED_FOLDER / PROGRESS_FILE).read_bytes()
