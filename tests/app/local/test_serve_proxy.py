"""The real service on an IPv6 address, behind Serve's own proxy instead of HAProxy."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.app.conftest import is_problem
from tests.app.running import Running, run_service

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("service")
    with run_service(folder, host="::1", RAY_SERVE_ENABLE_HA_PROXY="0") as running:
        yield running


def test_it_prints_the_address_as_a_url(service: Running) -> None:
    address = f"http://[::1]:{service.client.base_url.port} "
    assert address in service.log.read_text()


def test_it_answers(service: Running) -> None:
    assert service.act().status_code == 200
    assert service.client.get("/health/ready").status_code == 200
    is_problem(service.client.get("/nowhere"), 404)


def test_it_drives(service: Running) -> None:
    with service.drive("mode=live&seed=1") as drive:
        first = json.loads(drive.recv(timeout=300))
    assert first["type"]
