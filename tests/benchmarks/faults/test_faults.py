from __future__ import annotations

import base64
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.faults.__main__ import (
    KILLS,
    OWN_PROXY,
    Kill,
    Name,
    Options,
    chosen,
    end,
    films,
    kill,
    kill_of,
    queries,
    suffer,
)
from benchmarks.support.cluster import HAPROXY, REPLICA, Cluster, ClusterError, attached
from benchmarks.support.running import Running, free_port
from tests.app.live import listen
from tests.support.waiting import PATIENCE_S, wait_until

QUICK = Options(rate=50.0, settle_s=0.3)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Options(rate=0.0)
    with pytest.raises(ValueError, match="above 0"):
        Options(settle_s=-1.0)


def test_every_fault_unless_told_and_no_haproxy_where_there_is_none() -> None:
    every = list(get_args(Name))
    assert chosen(Options()) == every
    assert set(KILLS) | {"redeploy", "shutdown"} == set(every)
    without = [name for name in every if name not in ("manager", "fallback")]
    assert chosen(Options(proxy="serve")) == without
    assert chosen(Options(faults=("controller", "shutdown"))) == ["controller", "shutdown"]


def test_who_listens_is_another_with_each_proxy() -> None:
    assert kill_of("proxy", Options()).kind == HAPROXY
    assert kill_of("proxy", Options(proxy="serve")) == OWN_PROXY
    assert kill_of("replica", Options(proxy="serve")).kind == REPLICA


def test_orders_are_whole_requests() -> None:
    acting = base64.b64decode(queries(8000, 50.0).request)
    assert acting.startswith(b"POST /act HTTP/1.1\r\n")
    filming = base64.b64decode(films(8000).request)
    assert filming.startswith(b"GET /gif/")
    assert b"/{number}.gif?" in filming.partition(b"\r\n")[0]


def test_it_is_asked_before_during_and_after() -> None:
    async def act(_: Request) -> JSONResponse:
        return JSONResponse({})

    api = Starlette(routes=[Route("/act", act, methods=["POST"])])
    happened: list[float] = []
    with listen(api) as url:
        port = int(url.rpartition(":")[2])
        (report,) = suffer(QUICK, lambda: happened.append(time.monotonic()), [queries(port, 50.0)])
    assert len(happened) == 1
    assert report.requests > 0
    assert (report.failed_raw, report.failed) == (0, 0)
    before, _, after = report.p99_ms
    assert before > 0
    assert after > 0


SERVER = """
import sys
import uvicorn
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})
uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
"""


def test_it_is_asked_until_the_service_has_ended(tmp_path: Path) -> None:
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", SERVER, str(port)]) as process:
        with socket.socket() as probe:
            wait_until(lambda: probe.connect_ex(("127.0.0.1", port)) == 0)
        found = end(Running(process.pid, port, tmp_path), QUICK)
        assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM)
    assert found.answered > 0


@dataclass
class Fake:
    """A cluster of these processes."""

    there: set[int]
    waited_for: list[tuple[str, int, set[int]]] = field(default_factory=list)

    def processes(self, _kind: str) -> set[int]:
        return self.there

    def wait_for(self, kind: str, number: int, gone: set[int], _limit_s: float) -> None:
        self.waited_for.append((kind, number, gone))


@contextmanager
def sleeping(number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = [subprocess.Popen(["sleep", "1000"]) for _ in range(number)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("what", "killed", "awaited"),
    [(Kill("one", REPLICA, all=False), 1, 2), (Kill("all", REPLICA), 2, 2), (KILLS["proxy"], 2, 1)],
)
def test_so_many_are_killed_and_waited_for(what: Kill, killed: int, awaited: int) -> None:
    with sleeping(2) as processes:
        fake = Fake({process.pid for process in processes})
        kill(cast("Cluster", fake), what)
        ((kind, number, gone),) = fake.waited_for
        assert (kind, number, len(gone)) == (what.kind, awaited, killed)
        for process in processes:
            if process.pid in gone:
                assert process.wait(PATIENCE_S) == -signal.SIGKILL
            else:
                assert process.poll() is None


def test_what_has_no_ray_is_no_cluster(tmp_path: Path) -> None:
    with (
        sleeping(1) as (process,),
        pytest.raises(ClusterError, match="a Ray of its own"),
        attached(Running(process.pid, 1, tmp_path)),
    ):
        pass
