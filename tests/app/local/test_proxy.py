from __future__ import annotations

import os
import re
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.serve._private import constants

from app.local.ports import ReservedPorts
from app.local.proxy import (
    METRICS_PORT,
    SWITCH,
    NoHAProxyError,
    haproxy_environment,
    most_connections,
)

HOST = "127.0.0.1"


@pytest.fixture
def ports() -> Iterator[ReservedPorts]:
    with ReservedPorts() as reserved:
        yield reserved


def test_everything_it_writes_is_in_the_folder(
    folder: Path, ports: ReservedPorts, haproxy_binary: str
) -> None:
    environment = haproxy_environment(folder, ports, HOST, 64)
    assert environment[SWITCH] == "1"
    paths = [value for value in environment.values() if value.startswith(os.sep)]
    assert len(paths) == 6
    assert all(Path(path).is_relative_to(folder) for path in paths)
    command = [environment["RAY_SERVE_HAPROXY_BINARY_PATH"], "-v", "-f", "haproxy.cfg"]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert told.stdout.startswith("HAProxy version")


def test_two_services_share_no_port(folder: Path, haproxy_binary: str) -> None:
    def used(environment: dict[str, str]) -> set[int]:
        low, high = (
            int(environment[f"RAY_SERVE_DIRECT_INGRESS_{end}_HTTP_PORT"]) for end in ("MIN", "MAX")
        )
        others = (METRICS_PORT, "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT")
        return {*range(low, high), *(int(environment[name]) for name in others)}

    with ReservedPorts() as first, ReservedPorts() as second:
        ports = [used(haproxy_environment(folder, each, HOST, 64)) for each in (first, second)]
    assert not ports[0] & ports[1]


def test_serve_reads_every_variable(
    folder: Path, ports: ReservedPorts, haproxy_binary: str
) -> None:
    names = set(haproxy_environment(folder, ports, HOST, 64))
    assert names <= set(re.findall(r"RAY_SERVE_\w+", Path(constants.__file__).read_text()))


@pytest.mark.parametrize("host", ["192.0.2.1", "::"])
def test_where_it_would_find_no_replica_it_does_not_stand(
    folder: Path, ports: ReservedPorts, host: str
) -> None:
    with pytest.raises(NoHAProxyError, match=f"{host}, only on 127.0.0.1"):
        haproxy_environment(folder, ports, host, 64)


@pytest.mark.parametrize(
    ("files", "connections"), [(resource.RLIM_INFINITY, 4000), (20_000, 4000), (1024, 341)]
)
def test_it_keeps_to_the_files_it_may_open(
    monkeypatch: pytest.MonkeyPatch, files: int, connections: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, files))
    assert most_connections() == connections


def test_where_it_cannot_run_it_says_why(
    monkeypatch: pytest.MonkeyPatch, folder: Path, ports: ReservedPorts, haproxy_binary: str
) -> None:
    with pytest.raises(NoHAProxyError, match="too long"):
        haproxy_environment(folder / "deep" / "down", ports, HOST, 64)
    with monkeypatch.context() as patch:
        patch.setattr(resource, "getrlimit", lambda _: (256, 256))
        with pytest.raises(NoHAProxyError, match="256 files"):
            most_connections()
    with monkeypatch.context() as patch:
        patch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", "/nowhere/haproxy")
        with pytest.raises(NoHAProxyError, match="/nowhere/haproxy"):
            haproxy_environment(folder, ports, HOST, 64)
    with monkeypatch.context() as patch:
        broken = folder / "broken"
        broken.write_text("#!/bin/sh\nexit 3\n")
        broken.chmod(0o700)
        patch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(broken))
        with pytest.raises(NoHAProxyError, match=r"does not run: .* status 3"):
            haproxy_environment(folder, ports, HOST, 64)
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(NoHAProxyError, match="Linux only"):
        haproxy_environment(folder, ports, HOST, 64)
