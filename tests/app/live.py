"""An application behind a real socket, for what no transport in memory shows."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tests.support.waiting import PATIENCE_S, wait_until


@contextmanager
def listen(application: Any, bound: socket.socket | None = None) -> Iterator[str]:
    """Serve an ASGI application on loopback; its address.

    Args:
        application: What answers.
        bound: A socket that is bound already; else a free port is taken.
    """
    config = uvicorn.Config(application, host="127.0.0.1", port=0, log_level="warning")
    server = uvicorn.Server(config)
    sockets = None if bound is None else [bound]
    thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive())
    assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
