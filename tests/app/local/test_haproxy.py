from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from ray.serve._private.common import RequestProtocol
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from app.local import haproxy
from app.local.haproxy import adapt
from app.local.proxy_rules import make_rules
from tests.support.waiting import wait_until


@pytest.fixture
def written_by_serve(tmp_path: Path) -> Path:
    """A configuration as Serve writes it, with one replica."""
    path = tmp_path / "haproxy.cfg"
    backend = BackendConfig(
        name="http-app",
        path_prefix="/",
        app_name="app",
        servers=[ServerConfig("replica", "127.0.0.1", 30000)],
        fallback_server=ServerConfig("fallback", "127.0.0.1", 30001),
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
    api._initialize_directories_and_error_files()
    api._generate_config_file_internal()
    return path


RULES = {"host": "127.0.0.1", **asdict(make_rules(queries=2))}


def bindings(configuration: str) -> list[str]:
    return [line.split()[1] for line in configuration.splitlines() if line.split()[:1] == ["bind"]]


def sections(configuration: str) -> dict[str, str]:
    """By the line that a section begins with."""
    found = re.split(r"^(?=\w)", configuration, flags=re.MULTILINE)
    return {section.partition("\n")[0]: section for section in found if section}


def servers(section: str) -> list[str]:
    return [line.strip() for line in section.splitlines() if line.split()[:1] == ["server"]]


def test_nothing_but_the_service_and_its_metrics_listens(written_by_serve: Path) -> None:
    configuration = written_by_serve.read_text()
    assert bindings(configuration) == [":19101", "127.0.0.1:18000", "*:18404"]
    changed = adapt(configuration, RULES)
    assert bindings(changed) == ["127.0.0.1:19101", "127.0.0.1:18000"]
    gone = sections(configuration).keys() - sections(changed).keys()
    assert gone == {"listen stats"}


def test_times_are_the_rules_and_given_once(written_by_serve: Path) -> None:
    written = written_by_serve.read_text()
    assert "timeout client 3600s" in written
    changed = adapt(written, RULES)
    for line in RULES["defaults"]:
        if line.startswith("timeout "):
            assert re.findall(rf"^ *({line.rpartition(' ')[0]} .*)$", changed, re.M) == [line]


def test_without_a_route_it_says_that_nothing_is_ready(written_by_serve: Path) -> None:
    changed = sections(adapt(written_by_serve.read_text(), RULES))["backend default_backend"]
    assert changed.splitlines()[1:] == [f"    {RULES['nowhere']}"]
    assert "status 503" in RULES["nowhere"]


def test_a_section_is_taken_out_whole_however_it_is_written() -> None:
    around = "frontend other\n  bind :1\n{}backend last\n  log global\n"
    taken_out = "listen stats\n  bind :2\n\n# a word\n\tstats enable\n\n"
    assert adapt(around.format(taken_out), RULES) == around.format("")


def test_each_kind_of_request_has_its_own_way_to_the_same_replicas(written_by_serve: Path) -> None:
    changed = sections(adapt(written_by_serve.read_text(), RULES))
    first, last = servers(changed["backend http-app"])
    assert first.startswith("server replica 127.0.0.1:30000")
    for kind in ("queries", "probes"):
        assert servers(changed[f"backend http-app-{kind}"]) == [
            "server replica 127.0.0.1:30000 no-check track http-app/replica",
            "server fallback 127.0.0.1:30001 no-check track http-app/fallback backup",
        ]
    assert last.endswith(" backup")


def test_replicas_are_found_on_an_ipv6_address(written_by_serve: Path) -> None:
    changed = sections(adapt(written_by_serve.read_text(), RULES | {"host": "::1"}))
    addresses = [line.split()[2] for line in servers(changed["backend http-app"])]
    assert addresses == ["::1:30000", "::1:30001"]


def test_as_many_replicas_hold_as_many_times_more(written_by_serve: Path) -> None:
    configuration = written_by_serve.read_text()
    replica = "    server replica 127.0.0.1:30000 check\n"
    other = "    server other 127.0.0.1:30002 check\n"
    assert replica in configuration
    changed = adapt(configuration.replace(replica, replica + other), RULES)
    assert re.findall(r"be_conn\(http-app-queries\) ge (\d+)", changed) == ["4"]


def test_without_a_replica_there_is_nothing_to_bound() -> None:
    configuration = "frontend http_frontend\n    bind :1\n    default_backend none\n"
    assert "be_conn" not in adapt(configuration, RULES)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
def test_it_ends_with_who_started_it(tmp_path: Path) -> None:
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text("global\n")
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps(RULES))
    binary = tmp_path / "binary"
    binary.write_text("#!/bin/sh\nexec sleep 1000\n")
    binary.chmod(0o700)
    parent = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-I', *sys.argv[1:]]).pid, flush=True)\n"
        "input()\n"
    )
    arguments = [haproxy.__file__, str(rules), str(binary), "-f", str(configuration)]
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


def test_the_launcher_needs_nothing_of_the_project() -> None:
    # It is run isolated, by its path, so its neighbours in the folder shadow no library.
    script = f"import runpy; runpy.run_path({haproxy.__file__!r}); import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, cwd=os.sep
    )
    assert not {"app", "ray", "training"} & set(done.stdout.split())
