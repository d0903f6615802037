from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from ray.serve._private.http_util import start_asgi_http_server
from ray.serve.config import HTTPOptions
from starlette.types import Receive, Scope, Send

from app.local.ending import _end_server, let_haproxy_end
from benchmarks.running import free_port
from tests.support.waiting import PATIENCE_S, wait_until

HOST = "127.0.0.1"


@pytest.fixture
def haproxy(folder: Path, haproxy_binary: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """One that answers at a port, and where it does."""
    port = free_port()
    below = folder / "node"
    below.mkdir()
    configuration = below / "haproxy.cfg"
    configuration.write_text(
        f"global\n    stats socket {below / 'admin.sock'} level admin\n"
        "defaults\n    mode http\n    timeout client 60s\n    option idle-close-on-response\n"
        f"frontend f\n    bind {HOST}:{port}\n    http-request return status 200\n"
    )
    with subprocess.Popen([haproxy_binary, "-db", "-f", str(configuration)]) as process:
        try:
            wait_until(lambda: is_open(port))
            yield process, port
        finally:
            process.kill()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def ask(connection: socket.socket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    return connection.recv(1000)


def test_it_ends_once_those_who_are_connected_have_been_answered(
    folder: Path, haproxy: tuple[subprocess.Popen[bytes], int]
) -> None:
    process, port = haproxy
    with socket.create_connection((HOST, port)) as connection:
        assert b"200" in ask(connection)
        let_haproxy_end(folder, 0.1)
        assert process.poll() is None
        wait_until(lambda: not is_open(port))
        assert b"connection: close" in ask(connection)
    assert process.wait(PATIENCE_S) == 0


def test_it_is_waited_for(folder: Path, haproxy: tuple[subprocess.Popen[bytes], int]) -> None:
    process, _ = haproxy
    let_haproxy_end(folder, PATIENCE_S)
    assert process.poll() == 0


def test_where_none_runs_none_has_to_end(folder: Path) -> None:
    let_haproxy_end(folder, PATIENCE_S)
    (folder / "admin.sock").touch()
    let_haproxy_end(folder, PATIENCE_S)


@pytest.mark.anyio
async def test_serves_own_server_answers_what_it_has_heard_and_ends() -> None:
    heard, told = asyncio.Event(), asyncio.Event()

    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        heard.set()
        await told.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})

    port = free_port()
    starting = asyncio.create_task(
        start_asgi_http_server(
            slow,
            HTTPOptions(host=HOST, port=port),
            event_loop=asyncio.get_running_loop(),
            enable_so_reuseport=True,
        )
    )
    await starting
    proxy = SimpleNamespace(_start_http_server_task=starting)
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        asked = asyncio.create_task(client.get(f"http://{HOST}:{port}/"))
        await heard.wait()
        while is_open(port):
            assert not _end_server(proxy)
            await asyncio.sleep(0.05)
        assert not asked.done()
        told.set()
        assert (await asked).text == "whole"
        await asyncio.wait_for(starting.result()[0], PATIENCE_S)
        assert _end_server(proxy)
