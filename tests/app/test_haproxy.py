from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ray.serve._private.common import RequestProtocol
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from app import haproxy
from app.haproxy import without_statistics
from app.proxy import NoHAProxyError, find_haproxy


@pytest.fixture
def written_by_serve(tmp_path: Path) -> Path:
    """A configuration as Serve writes it, with one replica."""
    path = tmp_path / "haproxy.cfg"
    backend = BackendConfig(
        name="http-app",
        path_prefix="/",
        app_name="app",
        servers=[ServerConfig("replica", "127.0.0.1", 30000)],
        protocol=RequestProtocol.HTTP,
    )
    api = HAProxyApi(
        HAProxyConfig(
            socket_path=str(tmp_path / "admin.sock"),
            server_state_base=str(tmp_path),
            server_state_file=str(tmp_path / "state"),
            metrics_socket_path=str(tmp_path / "metrics.sock"),
            maxconn=100,
            stats_port=18404,
            metrics_port=19101,
            http_options=HTTPOptions(host="127.0.0.1", port=18000),
        ),
        {backend.name: backend},
        str(path),
    )
    api._generate_config_file_internal()
    return path


def bindings(configuration: str) -> list[str]:
    return [line.split()[1] for line in configuration.splitlines() if line.split()[:1] == ["bind"]]


def sections(configuration: str) -> list[str]:
    return re.split(r"^(?=\w)", configuration, flags=re.MULTILINE)


def test_nothing_but_the_service_listens(written_by_serve: Path) -> None:
    configuration = written_by_serve.read_text()
    assert bindings(configuration) == [":19101", "127.0.0.1:18000", "*:18404"]
    changed = without_statistics(configuration)
    assert bindings(changed) == ["127.0.0.1:18000"]
    gone = [section for section in sections(configuration) if section not in sections(changed)]
    assert [section.split("\n")[0] for section in gone] == ["frontend prometheus", "listen stats"]
    assert sections(changed) == [each for each in sections(configuration) if each not in gone]
    assert without_statistics(changed) == changed


def test_a_section_is_taken_out_whole_however_it_is_written() -> None:
    around = "frontend http_frontend\n  bind :1\n{}backend last\n  log global\n"
    taken_out = "listen stats\n  bind :2\n\n# a word\n\tstats enable\n\n"
    assert without_statistics(around.format(taken_out)) == around.format("")


def test_haproxy_takes_what_is_left(written_by_serve: Path) -> None:
    try:
        binary = find_haproxy()
    except NoHAProxyError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-I", haproxy.__file__, binary, "-c", "-f", str(written_by_serve)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert bindings(written_by_serve.read_text()) == ["127.0.0.1:18000"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_it_ends_with_who_started_it(tmp_path: Path) -> None:
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text("global\n")
    binary = tmp_path / "binary"
    binary.write_text("#!/bin/sh\nexec sleep 1000\n")
    binary.chmod(0o700)
    parent = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-I', *sys.argv[1:]]).pid, flush=True)\n"
        "input()\n"
    )
    arguments = [haproxy.__file__, str(binary), "-f", str(configuration)]
    with subprocess.Popen(
        [sys.executable, "-c", parent, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        wait_until(lambda: command_of(child) == "sleep 1000")
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: command_of(child) == "")


def command_of(pid: int) -> str:
    """Of a live process; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_launcher_needs_nothing_of_the_project() -> None:
    # It is run isolated, by its path, so its neighbours in the folder shadow no library.
    script = f"import runpy; runpy.run_path({haproxy.__file__!r}); import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, cwd=os.sep
    )
    assert not {"app", "ray", "training"} & set(done.stdout.split())
