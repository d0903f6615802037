"""The policy that comes with the service. It is served while storage has none.

The folder ``app/bundled`` holds the published policy and the ``progress.csv`` of its run.
"""

from __future__ import annotations

from pathlib import Path

from training.store.layout import PROGRESS_FILE
from training.store.published import PublishedPolicy, read_policy
from training.store.storage import Storage

FOLDER = Path(__file__).parents[1] / "bundled"


def read_bundled() -> PublishedPolicy:
    """Read and verify it; raises what :func:`training.store.published.read_policy` does."""
    return read_policy(Storage.open(str(FOLDER)))


def read_bundled_progress() -> bytes:
    """The ``progress.csv`` of its run; raises FileNotFoundError if there is none."""
    return (FOLDER / PROGRESS_FILE).read_bytes()
