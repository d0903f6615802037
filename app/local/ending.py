"""How the service ends on this machine: nobody whom it has heard is left without an answer.

Serve kills its proxy, and with it the requests that have just arrived. Before that, the proxy is to
refuse new connections, and to close the others once what was asked over them is answered.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any, Final

_FAREWELL_S: Final = 10.0
_LAST_ANSWERS_S: Final = 2.0
"""For HAProxy, which also waits for connections over which nothing is asked any more."""
_ANSWER_S: Final = 1.0
_POLL_S: Final = 0.05


def end_service(application: str, *, own: bool, haproxy: Path | None) -> None:
    """Take in no more requests, answer the others, and end.

    Args:
        application: Its name.
        own: Whether Serve runs for it alone, and ends as well.
        haproxy: Folder of HAProxy's files; None where Serve's own proxy listens.
    """
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    faults = contextlib.suppress(RayServeException, RayError, TimeoutError, ValueError)
    # Who does not hear it is cut off a little later.
    with faults:
        handle = serve.get_app_handle(application)
        handle.send_drives_away.remote().result(timeout_s=_FAREWELL_S)
    if own and haproxy is None:
        # As long as there are replicas: what it has not passed on yet it would refuse.
        with faults:
            let_serve_proxy_end(_FAREWELL_S)
    # Before Serve's own shutdown, which cuts off what is being answered.
    with faults:
        serve.delete(application)
    if haproxy is not None:
        # Not earlier: Serve would soon start another.
        let_haproxy_end(haproxy, _LAST_ANSWERS_S)
    if own:
        serve.shutdown()


def let_haproxy_end(folder: Path, limit_s: float) -> None:
    """Have HAProxy end, and wait for it.

    Args:
        folder: Of its files; nothing happens where it has none.
        limit_s: How long to wait at most.
    """
    running = {pid for path in folder.glob("**/admin.sock") if (pid := _ask_pid(path))}
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + limit_s
    while any(map(_is_running, running)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _ask_pid(admin: Path) -> int | None:
    """The id of the process that answers at an admin socket; None where nobody does."""
    with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
        connection.settimeout(_ANSWER_S)
        connection.connect(str(admin))
        connection.sendall(b"show info\n")
        answer = connection.makefile("rb").read()
        if found := re.search(rb"^Pid: (\d+)$", answer, re.MULTILINE):
            return int(found[1])
    return None


def _is_running(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for yet has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def let_serve_proxy_end(limit_s: float) -> None:
    """Have the HTTP server in Serve's own proxy end, and wait for it.

    Args:
        limit_s: How long to wait at most.

    Raises:
        RayError: The proxy does not do it.
        TimeoutError: It does not answer.
        ValueError: There is none.
    """
    import ray
    from ray.serve._private.constants import SERVE_NAMESPACE, SERVE_PROXY_NAME

    deadline = time.monotonic() + limit_s
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if actor["namespace"] == SERVE_NAMESPACE and actor["name"].startswith(SERVE_PROXY_NAME):
            proxy = ray.get_actor(actor["name"], SERVE_NAMESPACE)
            while not ray.get(proxy.__ray_call__.remote(_end_server), timeout=limit_s):
                if time.monotonic() > deadline:
                    return
                time.sleep(_POLL_S)


def _end_server(proxy: Any) -> bool:
    """In the proxy's process: tell its server to end; whether it has."""
    task, server = proxy._start_http_server_task.result()  # noqa: SLF001
    server.should_exit = True
    ended: bool = task.done()
    return ended
