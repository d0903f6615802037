"""A block of this machine's ports for one service.

Serve gives a new replica the lowest free port of a range, and every Serve uses the same range by
default. With two services on one machine, a replica of one could take the port of a dead replica of
the other, whose HAProxy still sends requests to that port. Blocks that do not overlap prevent it.
"""

from __future__ import annotations

import random
import socket
from types import TracebackType
from typing import Final, Self

_FIRST: Final = 20_000
_END: Final = 30_000
"""Above the ports of Ray's workers, below Serve's own range (30000) and Linux's ephemeral ports."""
_SIZE: Final = 200


class NoPortsError(Exception):
    """No block of ports is free."""


class ReservedPorts:
    """A block of ports that is reserved until it is closed or this process ends.

    The lock is a socket that is bound to the block's first port and never listens.
    """

    def __init__(self) -> None:
        """Reserve a block; raises NoPortsError."""
        # In random order: a service that was killed may leave processes for a few seconds.
        for first in random.sample(range(_FIRST, _END, _SIZE), (_END - _FIRST) // _SIZE):
            lock = _bind(first)
            if lock is None:
                continue
            if all(map(_is_free, range(first + 1, first + _SIZE))):
                self._lock = lock
                self.metrics = first + 1
                """For HAProxy's metrics."""
                self.fallback = first + 2
                """For Serve's own proxy, which HAProxy uses when no replica is up."""
                self.stats = first + 3
                """For HAProxy's page of statistics."""
                self.replicas = range(first + 4, first + _SIZE)
                """For the replicas' HTTP servers."""
                return
            lock.close()
        raise NoPortsError(f"no {_SIZE} consecutive ports between {_FIRST} and {_END - 1} are free")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.close()


def _bind(port: int) -> socket.socket | None:
    """A socket that is bound to a port; None if the port is in use.

    Connections of a server that has ended keep its port for a minute: replicas bind as strictly.
    """
    bound = socket.socket()
    try:
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        return None
    return bound


def _is_free(port: int) -> bool:
    probe = _bind(port)
    if probe is None:
        return False
    probe.close()
    return True
