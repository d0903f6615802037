from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.local.environment import SERVE_VARIABLES, SWITCH
from app.local.serve import (
    OWN,
    LocalError,
    LocalOptions,
    check_address,
    choose_proxy,
    choose_replicas,
    environment_for,
    main,
)
from app.settings import load_settings


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_free_address_is_fine(taken_port: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    check_address("127.0.0.1", free)
    check_address("localhost", free)


def test_a_taken_port_is_refused_in_words(
    taken_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["app.local", "--port", str(taken_port)])
    assert main() == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: 127.0.0.1:{taken_port} cannot be listened on")
    assert "--port" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_ports_that_do_not_exist(port: int) -> None:
    with pytest.raises(LocalError, match="from 1 to 65535"):
        check_address("127.0.0.1", port)


def test_hosts_that_do_not_exist() -> None:
    with pytest.raises(LocalError, match=r"nowhere\.invalid"):
        check_address("nowhere.invalid", 8000)


@pytest.fixture
def environment(clean_environment: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", dict(os.environ))
        yield


@pytest.mark.usefixtures("environment")
def test_a_ray_of_its_own_inherits_the_settings_and_serves_variables() -> None:
    os.environ["CARRACING_API_TOKEN"] = "correct-horse-battery"
    chosen = {"RAY_SERVE_HAPROXY_RETRIES": "3"}
    os.environ.update(chosen)
    assert environment_for(load_settings(), "/store", OWN) == {}
    assert os.environ["CARRACING_STORAGE"] == "/store"
    assert {name: os.environ[name] for name in SERVE_VARIABLES} == SERVE_VARIABLES | chosen


@pytest.mark.usefixtures("environment")
def test_a_ray_elsewhere_is_told_the_settings_and_no_token() -> None:
    os.environ["CARRACING_MAX_BATCH"] = "8"
    told = environment_for(load_settings(), "/store", "ray.example:6379")
    assert told == {"CARRACING_MAX_BATCH": "8", "CARRACING_STORAGE": "/store"}
    os.environ["CARRACING_API_TOKEN"] = "correct-horse-battery"
    with pytest.raises(LocalError, match="write it to its logs"):
        environment_for(load_settings(), "/store", "ray.example:6379")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("CARRACING_MAX_BATCH", "-3", "CARRACING_MAX_BATCH='-3'"),
        ("CARRACING_STORAGE", "ftp://host", "ftp://host"),
    ],
)
def test_unsafe_settings_are_refused_in_words(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    words: str,
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["app.local", "--port", str(free)])
    assert main() == 2
    assert words in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
def test_each_service_has_its_own_ports_and_folder(haproxy_binary: str) -> None:
    os.environ[SWITCH] = "1"
    chosen = []
    with ExitStack() as closing:
        for _ in range(2):
            choose_proxy(LocalOptions(), closing)
            chosen.append({name: os.environ[name] for name in os.environ if "RAY_SERVE" in name})
            assert Path(chosen[-1]["RAY_SERVE_HAPROXY_SOCKET_PATH"]).parent.is_dir()
    assert os.environ[SWITCH] == "1"
    for name in (name for name in chosen[0] if name.endswith(("_PORT", "_PATH"))):
        assert chosen[0][name] != chosen[1][name]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("options", "variables", "word"),
    [
        (LocalOptions(host="::1"), {}, "::1"),
        (LocalOptions(), {"RAY_SERVE_HAPROXY_BINARY_PATH": "/nowhere/haproxy"}, "/nowhere/haproxy"),
        (LocalOptions(), {SWITCH: "0"}, SWITCH),
    ],
)
def test_where_haproxy_cannot_run_serves_own_proxy_is_used_and_named(
    capsys: pytest.CaptureFixture[str],
    options: LocalOptions,
    variables: dict[str, str],
    word: str,
) -> None:
    os.environ.update({SWITCH: "1"} | variables)
    with ExitStack() as closing:
        choose_proxy(options, closing)
    assert os.environ[SWITCH] == "0"
    (line,) = capsys.readouterr().out.splitlines()
    assert "Serve's own proxy" in line
    assert word in line


@pytest.mark.usefixtures("environment")
def test_haproxy_fits_into_the_limit_of_open_files(
    monkeypatch: pytest.MonkeyPatch, haproxy_binary: str
) -> None:
    os.environ[SWITCH] = "1"
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 3000))
    with ExitStack() as closing:
        choose_proxy(LocalOptions(), closing)
    assert int(os.environ["RAY_SERVE_HAPROXY_MAXCONN"]) * 2.5 < 3000


@pytest.mark.parametrize("replicas", [-1, 0])
def test_no_replicas_are_refused(replicas: int) -> None:
    with pytest.raises(LocalError, match=f"--replicas is {replicas}"):
        choose_replicas(replicas, 2)


def test_there_are_two_replicas_where_there_are_two_cores() -> None:
    assert [choose_replicas(None, cores) for cores in (1, 2, 16)] == [1, 2, 2]
    assert [choose_replicas(asked, 2) for asked in (1, 3)] == [1, 3]
