from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ray.serve._private import constants

from app.local.proxy import SWITCH
from app.local.serve import (
    OWN,
    LocalError,
    LocalOptions,
    check_address,
    choose_proxy,
    choose_replicas,
    main,
    pass_on,
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
def test_a_ray_of_its_own_inherits_the_settings() -> None:
    os.environ["CARRACING_API_TOKEN"] = "correct-horse-battery"
    assert pass_on(load_settings(), "/store", OWN) == {}
    assert os.environ["CARRACING_STORAGE"] == "/store"
    assert int(os.environ["CARRACING_ACT_PENDING"]) == load_settings().act_pending
    assert "app.local.front:middlewares" in os.environ.values()
    read_by_serve = set(re.findall(r"RAY_SERVE_\w+", Path(constants.__file__).read_text()))
    told = {name for name in os.environ if name.startswith("RAY_SERVE_")} - {SWITCH}
    assert "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S" in told
    assert told <= read_by_serve


@pytest.mark.usefixtures("environment")
def test_a_ray_elsewhere_is_told_the_settings_and_no_token() -> None:
    os.environ["CARRACING_MAX_BATCH"] = "8"
    told = pass_on(load_settings(), "/store", "ray.example:6379")
    assert told == {"CARRACING_MAX_BATCH": "8", "CARRACING_STORAGE": "/store"}
    os.environ["CARRACING_API_TOKEN"] = "correct-horse-battery"
    with pytest.raises(LocalError, match="write the token to its logs"):
        pass_on(load_settings(), "/store", "ray.example:6379")


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


def test_where_haproxy_cannot_run_the_service_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", "/nowhere/haproxy")
    with ExitStack() as ending:
        assert choose_proxy(folder, ending, LocalOptions(), 64) == {}
    assert "/nowhere/haproxy" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["0", "1"])
def test_who_has_chosen_a_proxy_keeps_it(
    monkeypatch: pytest.MonkeyPatch, folder: Path, value: str
) -> None:
    monkeypatch.setenv(SWITCH, value)
    with ExitStack() as ending:
        assert choose_proxy(folder, ending, LocalOptions(), 64) == {}


@pytest.mark.parametrize("replicas", [-1, 0, 4])
def test_more_replicas_than_there_is_room_for_are_refused(replicas: int) -> None:
    with pytest.raises(LocalError, match=f"--replicas is {replicas}; on 2 cores .* from 1 to 3"):
        choose_replicas(replicas, 2)


def test_there_are_two_replicas_where_there_is_room() -> None:
    assert [choose_replicas(None, cores) for cores in (1.0, 2.0, 16.0)] == [1, 2, 2]
    assert [choose_replicas(asked, 2.0) for asked in (1, 3)] == [1, 3]
