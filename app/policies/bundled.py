"""The policy that the service brings along: it drives as long as storage has none.

The folder ``app/bundled`` holds it as it was published, and its run's table beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from training.policy.acting import Policy
from training.store.layout import PROGRESS_FILE
from training.store.published import PublishedPolicy, read_policy
from training.store.storage import Storage

FOLDER = Path(__file__).parents[1] / "bundled"

Source = Literal["storage", "bundled"]
"""Where a served policy comes from."""


def read_bundled() -> PublishedPolicy:
    """Read and verify it; raises what :func:`training.store.published.read_policy` does."""
    return read_policy(Storage.open(str(FOLDER)))


def load_bundled() -> Policy:
    """Build it and warm it up.

    Raises:
        BrokenPolicyError: It is not whole.
        OSError: It is not there.
    """
    policy = Policy.from_published(read_bundled())
    policy.warm_up()
    return policy


def read_bundled_progress() -> bytes:
    """The ``progress.csv`` of its run; raises FileNotFoundError where there is none."""
    return (FOLDER / PROGRESS_FILE).read_bytes()
