"""The stand-in lets nothing pass that it does not know."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.anyscale.control_plane import TOKEN, ControlPlane
from tests.app.live import listen

ACCOUNT = {"Cookie": f"cli_token={TOKEN}"}


@pytest.fixture
def plane() -> ControlPlane:
    return ControlPlane(bucket="bucket", endpoint="http://s3", service_url="http://service")


@pytest.fixture
def host(plane: ControlPlane) -> Iterator[str]:
    with listen(plane) as address:
        yield address


def test_an_unknown_call_is_refused_and_remembered(plane: ControlPlane, host: str) -> None:
    assert httpx.get(f"{host}/api/v2/nothing", headers=ACCOUNT).status_code == 404
    assert plane.unknown == [("GET", "/api/v2/nothing")]


def test_telemetry_is_refused_and_forgotten(plane: ControlPlane, host: str) -> None:
    answer = httpx.post(f"{host}/api/v2/cli_usage/", headers=ACCOUNT, json={})
    assert answer.status_code == 404
    assert plane.unknown == []


def test_only_the_account_is_answered(host: str) -> None:
    user = f"{host}/api/v2/userinfo/"
    assert httpx.get(user).status_code == 401
    assert httpx.get(user, headers={"Cookie": "cli_token=sss_other"}).status_code == 401
    assert httpx.get(user, headers=ACCOUNT).json()["result"]["username"] == "user"


def test_what_is_not_there_is_not_found(plane: ControlPlane, host: str) -> None:
    answer = httpx.get(f"{host}/ext/v0/cluster_computes/cpt_1", headers=ACCOUNT)
    assert answer.status_code == 404
    assert answer.json()["error"]["detail"] == "compute config cpt_1"
    assert plane.unknown == []


def test_a_body_without_a_field_that_the_sdk_requires_fails(host: str) -> None:
    configs = f"{host}/api/v2/compute_templates/"
    answer = httpx.post(configs, headers=ACCOUNT, json={"name": "a", "config": {}})
    assert answer.status_code == 400
    assert "cloud_id" in answer.json()["error"]["detail"]
