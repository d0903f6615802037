"""The rules in a real HAProxy, before a replica that is slow."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from app.limits import HEALTH, PROBES, REPLICA_REQUESTS
from app.local import haproxy
from app.local.proxy_rules import HEAD_BYTES, make_rules
from app.problems import TITLES, Problem
from benchmarks.running import free_port
from tests.app.conftest import is_problem
from tests.support.waiting import PATIENCE_S, wait_until

get = partial(httpx.get, timeout=PATIENCE_S)
QUERIES = 2
OTHERS = REPLICA_REQUESTS - PROBES - QUERIES
_CONFIGURATION = """\
global
    maxconn 1000
    tune.bufsize {bufsize}
defaults
    mode http
    timeout client 20s
    timeout server {server_s}s
frontend http_frontend
    bind 127.0.0.1:{port}
    acl is_app path_beg /
    use_backend app if is_app
backend app
    http-reuse always
    server replica 127.0.0.1:{replica} check inter 100ms
"""


class CrowdedServer(ThreadingHTTPServer):
    request_queue_size = 1000


class Replica:
    """Answers ``ok`` once its gate is open, and nothing at all to ``/gone``."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.ids: list[str | None] = []
        replica = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                replica.ids.append(self.headers["X-Request-ID"])
                if not self.path.startswith(HEALTH):
                    replica.gate.wait(PATIENCE_S)
                if self.path.startswith("/gone"):
                    return
                # Nobody may be there to hear it.
                with suppress(ConnectionError):
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(b"ok")

            def log_message(self, *_of: object) -> None:
                pass

        self.server = CrowdedServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def replica() -> Iterator[Replica]:
    replica = Replica()
    yield replica
    replica.gate.set()
    replica.server.shutdown()
    replica.server.server_close()


@pytest.fixture(scope="module")
def address(
    replica: Replica, haproxy_binary: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Of a HAProxy with the rules."""
    folder = tmp_path_factory.mktemp("haproxy")
    with running(replica, haproxy_binary, folder, server_s=int(PATIENCE_S)) as url:
        yield url


@contextmanager
def running(replica: Replica, binary: str, folder: Path, *, server_s: int) -> Iterator[str]:
    """A HAProxy with the rules that waits so long for the replica; its address."""
    port = free_port()
    written = folder / "haproxy.cfg"
    written.write_text(
        _CONFIGURATION.format(
            bufsize=HEAD_BYTES,
            server_s=server_s,
            port=port,
            replica=replica.server.server_address[1],
        )
    )
    rules = folder / "rules.json"
    rules.write_text(json.dumps({"host": "127.0.0.1", **asdict(make_rules(QUERIES))}))
    command = [sys.executable, "-I", haproxy.__file__, str(rules), binary, "-f", str(written)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command) as process:
        try:
            wait_until(lambda: _answers(url) or process.poll() is not None)
            assert process.poll() is None, shlex.join(command)
            yield url
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return get(f"{url}{HEALTH}live").status_code == 200
    except httpx.TransportError:
        return False


def connected(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


@contextmanager
def held(url: str, path: str, number: int, replica: Replica) -> Iterator[list[socket.socket]]:
    """Connections whose requests are with the replica, and wait there for its gate."""
    replica.gate.clear()
    seen = len(replica.ids) + number
    try:
        with ExitStack() as closing:
            connections = [closing.enter_context(connected(url)) for _ in range(number)]
            for connection in connections:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            wait_until(lambda: len(replica.ids) >= seen)
            yield connections
    finally:
        replica.gate.set()


def talk(url: str, request: bytes, *, path: str = "/", hang_up: bool = False) -> httpx.Response:
    """What is answered to bytes that no HTTP client would send."""
    with connected(url) as connection:
        connection.sendall(request)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    asked = httpx.Request("GET", url + path)
    return httpx.Response(int(status.split()[1]), headers=headers, content=body, request=asked)


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=["no request", "host", "header", "long"],
)
def test_what_is_no_request_is_refused_and_cut_off(address: str, request_: bytes) -> None:
    # In HAProxy's own words: before there is a request it can say no others.
    assert talk(address, request_).status_code == 400


def test_a_long_path_is_repeated_in_part(address: str) -> None:
    answer = get(f"{address}/gone/{'a' * 30_000}")
    assert len(is_problem(answer, 503)["instance"]) == 128


def test_drives_are_left_to_the_application(address: str, replica: Replica) -> None:
    with held(address, "/drive", OTHERS + 1, replica) as drives:
        assert get(f"{address}/policy").status_code == 503
        replica.gate.set()
        assert {drive.recv(12)[-3:] for drive in drives} == {b"200"}


def test_who_hangs_up_halfway_gets_a_problem_or_the_answer(address: str) -> None:
    answer = talk(address, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", hang_up=True)
    if answer.status_code != 200:
        is_problem(answer, 400)


def test_a_crowd_is_refused_by_kind_and_probes_never(address: str, replica: Replica) -> None:
    with held(address, "/act", QUERIES, replica) as queries:
        refused = get(f"{address}/act")
        problem = is_problem(refused, 503, "busy")
        assert problem["title"] == TITLES["busy"]
        assert problem["instance"] == "/act"
        assert int(refused.headers["Retry-After"]) > 0
        assert get(f"{address}{HEALTH}live").status_code == 200
        replica.gate.set()
        assert get(f"{address}/policy").status_code == 200
        assert {query.recv(12)[-3:] for query in queries} == {b"200"}
    assert get(f"{address}/act").status_code == 200


def test_bodies_that_do_not_arrive_take_no_place(address: str) -> None:
    head = b"POST /act HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with ExitStack() as closing:
        for _ in range(10 * QUERIES):
            closing.enter_context(connected(address)).sendall(head)
        for _ in range(20):
            assert httpx.get(f"{address}/act", timeout=60).status_code == 200


@pytest.mark.parametrize("path", ['/gone/"quoted"', "/gone/%22", "/gone/a\\b", "/gone/%c3%bc"])
def test_any_path_is_quoted(address: str, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    is_problem(talk(address, request.encode(), path=path), 503)


def test_a_replica_that_breaks_off_is_503(address: str) -> None:
    answer = get(f"{address}/gone")
    Problem.model_validate(is_problem(answer, 503))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert int(answer.headers["Retry-After"]) > 0


def test_a_replica_that_hangs_is_503(replica: Replica, haproxy_binary: str, tmp_path: Path) -> None:
    with running(replica, haproxy_binary, tmp_path, server_s=1) as address:
        replica.gate.clear()
        try:
            is_problem(get(f"{address}/hangs"), 503)
        finally:
            replica.gate.set()


@pytest.mark.parametrize("given", ["job-7.step:3_x", "A" * 128])
def test_a_plain_request_id_is_kept(address: str, replica: Replica, given: str) -> None:
    answer = get(f"{address}/gone", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == given
    assert replica.ids[-1] == given


def test_the_only_id_is_looked_at(address: str, replica: Replica) -> None:
    for given in ([("X-Request-ID", "a"), ("X-Request-ID", "b")], [("X-Request-ID", "a, b c")]):
        answer = get(f"{address}/gone", headers=given)
        assert answer.headers["X-Request-ID"] == replica.ids[-1]
        assert len(answer.headers["X-Request-ID"]) == 36


@pytest.mark.parametrize("given", ["", "a b", "A" * 129, "<b>"])
def test_any_other_is_replaced(address: str, replica: Replica, given: str) -> None:
    answer = get(f"{address}/gone", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == replica.ids[-1]
    assert len(answer.headers["X-Request-ID"]) == 36
