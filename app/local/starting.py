"""Start Ray and Serve on a machine that may be busy: wait, and report what is waited for."""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from app.limits import HEALTH

_SAY_AGAIN_S: Final = 15.0
_POLL_S: Final = 0.2
_ANSWER_S: Final = 600.0
"""Longest wait for the HTTP proxy to answer, once the replicas run."""
_THIS_MACHINE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""Loopback addresses of servers that listen on every address."""
_RAY_ATTEMPTS: Final = 5
_TOO_SLOW: Final = ("timed out during startup", "Failed to start GCS")
"""In Ray's errors if a node takes more than 30 seconds to start; no setting changes that limit."""


class StartError(Exception):
    """Ray or Serve does not start; the message gives the reason in one line."""


def start_ray(**options: Any) -> None:
    """Start a Ray or connect to one, with the options of ``ray.init``.

    Raises:
        ConnectionError: There is none to connect to.
        StartError: It does not start.
    """
    import ray

    for attempt in range(1, _RAY_ATTEMPTS + 1):
        with _waiting("Ray"):
            try:
                ray.init(**options)
            except ConnectionError:
                raise
            # Ray raises a plain Exception.
            except Exception as error:
                ray.shutdown()
                slow = any(words in str(error) for words in _TOO_SLOW)
                if not slow or attempt == _RAY_ATTEMPTS:
                    raise StartError(f"Ray did not start: {_one_line(error)}") from error
            else:
                return


def start_serve(
    application: Any, address: tuple[str, int] | None, serving: Mapping[str, Any], **options: Any
) -> None:
    """Start Serve with an application.

    Args:
        application: A Serve application.
        address: Host and port that have to answer before this returns.
        serving: Options of ``serve.start``.
        options: Options of ``serve.run``.

    Raises:
        StartError: It does not start.
    """
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    try:
        with _waiting("the HTTP proxy"):
            _call_without_timeout(serve.start, **serving)
        with _waiting("the replicas"):
            _call_without_timeout(serve.run, application, **options)
    except (RayError, RayServeException, RuntimeError) as error:
        raise StartError(f"Ray Serve did not start the service: {_one_line(error)}") from error
    if address is not None:
        with _waiting("the HTTP proxy"):
            _wait_for_answer(*address)


def _call_without_timeout(function: Any, *arguments: Any, **options: Any) -> None:
    """Call a function of Serve's that may stop waiting after a minute, while the start goes on."""
    try:
        function(*arguments, **options)
    except TimeoutError:
        return


def _wait_for_answer(host: str, port: int) -> None:
    deadline = time.monotonic() + _ANSWER_S
    answer = ""
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(_THIS_MACHINE.get(host, host), port, timeout=60)
        try:
            connection.request("GET", f"{HEALTH}live")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            answer = repr(error)
        else:
            if status == http.HTTPStatus.OK:
                return
            answer = f"status {status}"
        finally:
            connection.close()
        time.sleep(_POLL_S)
    raise StartError(f"{host}:{port} did not answer within {_ANSWER_S:g} s, last: {answer}")


@contextmanager
def _waiting(what: str) -> Iterator[None]:
    """Print every few seconds what is waited for."""
    over = threading.Event()
    begun = time.monotonic()

    def report() -> None:
        while not over.wait(_SAY_AGAIN_S):
            waited = time.monotonic() - begun
            load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
            print(f"waiting for {what} ({waited:.0f} s so far, load average {load})", flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _one_line(error: Exception) -> str:
    """The last line of an error: the cause, in an error of another process that Ray raises."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else repr(error)
