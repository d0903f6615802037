"""Connect to the Ray cluster that this process belongs to, or start one on this machine."""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import ray

from training.anyscale import on_anyscale
from training.rllib.resources import NoResourcesError

logger = logging.getLogger(__name__)

_REACHABLE_S: Final = 10.0
"""How long a cluster's head may take to accept a connection."""
_STARTS: Final = 3
"""Attempts to start Ray: each takes at most 30 s, which is short on a busy machine."""
_TOO_SLOW: Final = "timed out during startup"
"""What Ray says then; it has no class for it."""


def connect() -> None:
    """Connect to the cluster at ``RAY_ADDRESS``, or on Anyscale to its own; else start Ray here.

    Ray on its own would also join whatever cluster was last started here, or wait for a dead one.

    Raises:
        NoResourcesError: Nothing answers at ``RAY_ADDRESS``.
    """
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS")
    if address != "local" and (address or on_anyscale()):
        _join(address, quiet)
    else:
        start_ray(**quiet)


def start_ray(**options: Any) -> None:
    """Start Ray on this machine, again where it does not come up in time.

    Args:
        options: Of ``ray.init``.
    """
    _use_own_folder()
    for attempt in range(1, _STARTS + 1):
        try:
            ray.init(address="local", include_dashboard=False, **options)
        except Exception as error:
            if _TOO_SLOW not in str(error) or attempt == _STARTS:
                raise
            logger.warning("Ray did not start in time, trying again: %s", error)
            ray.shutdown()
        else:
            return


def _join(address: str | None, options: dict[str, Any]) -> None:
    _require_reachable(address)
    try:
        ray.init(**options)
    except ConnectionError as error:
        raise _unreachable(address, error) from error


def _require_reachable(address: str | None) -> None:
    """Raise NoResourcesError where nothing accepts connections: Ray itself tries for minutes."""
    host, separator, port = (address or "").removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHABLE_S).close()
    except OSError as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str | None, error: OSError) -> NoResourcesError:
    return NoResourcesError(
        f"there is no Ray cluster at RAY_ADDRESS={address!r}: {error}. Start one there, or unset "
        "RAY_ADDRESS to start Ray on this machine"
    )


def _use_own_folder() -> None:
    """Give Ray a temporary folder of this user's, unless ``RAY_TMPDIR`` names one.

    In the shared one, the first user's Ray creates a folder for locks that others cannot write to.
    """
    if "RAY_TMPDIR" in os.environ:
        return
    # Ray's own choice: sockets are in it, whose paths must be short.
    shared = Path(os.environ.get("TMPDIR", "/tmp") if sys.platform == "linux" else "/tmp")  # noqa: S108
    own = shared / f"ray-{os.getuid()}"
    try:
        own.mkdir(mode=0o700, exist_ok=True)
        usable = own.stat().st_uid == os.getuid()
    except FileExistsError:
        usable = False
    os.environ["RAY_TMPDIR"] = str(own) if usable else tempfile.mkdtemp(prefix="ray-", dir=shared)
