"""The policy that comes with the service. It is served while storage has none.

The folder ``app/bundled``, or the one that ``CARRACING_BUNDLED_FOLDER`` names, holds the published
policy and may hold the ``progress.csv`` of its run.
"""

from __future__ import annotations

from app.settings import load_settings
from training.policy.published import PublishedPolicy
from training.store.layout import PROGRESS_FILE
from training.store.published import BUNDLED_FOLDER, read_policy
from training.store.storage import Storage


def read_bundled() -> PublishedPolicy:
    """Read and verify it; raises what :func:`training.store.published.read_policy` does."""
    return read_policy(_folder())


def read_bundled_progress() -> bytes:
    """The ``progress.csv`` of its run; raises FileNotFoundError if there is none."""
    return _folder().read(PROGRESS_FILE)


def _folder() -> Storage:
    return Storage.open(load_settings().bundled_folder or str(BUNDLED_FOLDER))
