"""What an operator relies on, at the real service: token, request ids, logs, metrics, overload."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from app.metrics import METRICS
from app.middleware.auth import UNAUTHORIZED
from app.middleware.origins import FOREIGN_PAGE
from tests.app.conftest import NPY, is_problem, npy
from tests.app.rendering.test_render_server import table
from tests.app.running import BODY, Running, memory_of, publish, run_service
from tests.support.waiting import PATIENCE_S, wait_until
from training.store.layout import PolicyRef, progress_file

pytestmark = pytest.mark.long

TOKEN = "correct-horse-battery"
FRIEND = "https://friend.example"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def logs() -> Iterator[Path]:
    """Where Ray writes its logs; a short path, as sockets are in there, too."""
    folder = Path(tempfile.mkdtemp(prefix="car"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> Iterator[Running]:
    with run_service(
        tmp_path_factory.mktemp("operator"),
        CARRACING_API_TOKEN=TOKEN,
        CARRACING_CORS_ORIGINS=FRIEND,
        CARRACING_LOG_ENCODING="JSON",
        # On a slow machine a flood of queries takes its time to arrive.
        CARRACING_BODY_TIMEOUT_S="300",
        RAY_TMPDIR=str(logs),
    ) as running:
        running.client.headers.update(AUTHORIZED)
        yield running


@pytest.fixture(scope="module")
def published(service: Running) -> PolicyRef:
    ref = publish(service.store)
    service.store.storage.write(progress_file(ref.run), table(8))
    service.wait_for(ref)
    return ref


def lines_of(logs: Path, deployment: str) -> list[dict[str, Any]]:
    """The JSON lines that a deployment's replicas have logged."""
    files = logs.glob(f"ray/session_2*/logs/serve/replica_*_{deployment}_*.log")
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def metrics_of(service: Running) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Name → labels and value, of everything that Prometheus would read."""
    (address,) = re.findall(r"metrics for Prometheus are at (\S+)", service.log.read_text())
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for line in httpx.get(address, timeout=PATIENCE_S).text.splitlines():
        if line.startswith("ray_carracing_"):
            name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()  # type: ignore[union-attr]
            pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels or ""))
            found.setdefault(name, []).append((pairs, float(value)))
    return found


def test_only_health_is_answered_without_the_token(service: Running, published: PolicyRef) -> None:
    url = service.client.base_url
    response = httpx.get(url.join("/policy"))
    is_problem(response, 401, "unauthorized")
    assert len(response.headers.get_list("WWW-Authenticate")) == 2
    assert httpx.get(url.join("/health/ready")).status_code == 200
    assert httpx.get(url.join("/policy"), auth=("", TOKEN)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, UNAUTHORIZED),
        ({**AUTHORIZED, "Origin": "https://evil.example"}, FOREIGN_PAGE),
    ],
)
def test_a_websocket_learns_why_it_is_refused(
    service: Running, headers: dict[str, str], code: int
) -> None:
    address = str(service.client.base_url.join("/drive")).replace("http", "ws", 1)
    with connect(address, additional_headers={**headers, "X-Request-ID": "socket.1"}) as socket:
        assert socket.response is not None
        assert socket.response.headers["X-Request-ID"] == "socket.1"
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=PATIENCE_S)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == code
    assert caught.value.rcvd.reason


def test_pages_that_are_named_may_use_it(service: Running, published: PolicyRef) -> None:
    response = service.client.get("/policy", headers={"Origin": FRIEND})
    assert response.headers["Access-Control-Allow-Origin"] == FRIEND
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_request_id_goes_through_to_the_log(
    service: Running, published: PolicyRef, logs: Path
) -> None:
    response = service.client.get(
        f"/gif/{published.version}/11.gif?max_steps=20", headers={"X-Request-ID": "film-11"}
    )
    assert response.status_code == 200
    assert response.headers.get_list("X-Request-ID") == ["film-11"]
    found: list[dict[str, Any]] = []

    def logged() -> bool:
        found[:] = [x for x in lines_of(logs, "RenderServer") if "track 11" in x["message"]]
        return bool(found)

    wait_until(logged)
    (line,) = found
    assert line["request_id"] == "film-11"
    assert line["levelname"] == "INFO"
    assert {"asctime", "deployment", "replica", "filename"} <= set(line)
    (served,) = (x for x in lines_of(logs, "PolicyServer") if published.version in x["message"])
    assert "request_id" not in served, "no request has asked for it"


def test_a_request_without_an_id_gets_one(service: Running) -> None:
    ids = set()
    for _ in range(3):
        ids.update(service.client.get("/health/live").headers.get_list("X-Request-ID"))
    assert len(ids) == 3


def test_prometheus_is_shown_what_happens(service: Running, published: PolicyRef) -> None:
    service.client.get("/nowhere/at/all")
    for _ in range(2):
        film = service.client.get("/gif?seed=12&max_steps=20", follow_redirects=True)
        assert film.status_code == 200
    service.act()
    wanted = {f"ray_{metric.name}" for metric in METRICS}
    deadline = time.monotonic() + PATIENCE_S  # Ray collects every ten seconds
    with service.drive("mode=live&policy=you"):
        while True:
            found = metrics_of(service)
            names = {re.sub("_(total|bucket|sum|count)$", "", name) for name in found}
            asked = {
                labels["result"]: value
                for labels, value in found.get("ray_carracing_film_cache_requests_total", [])
            }
            if wanted <= names and asked.get("hit"):
                break
            assert time.monotonic() < deadline, (wanted - names, found)
            time.sleep(1)
    ((driving, open_drives),) = found["ray_carracing_open_drives"]
    assert (driving["mode"], open_drives) == ("live", 1)
    current = [labels for labels, value in found["ray_carracing_policy_info"] if value == 1]
    assert [labels["version"] for labels in current] == [published.version]
    assert current[0]["source"] == "storage"
    assert current[0]["deployment"] == "PolicyServer"
    ((_, age),) = found["ray_carracing_policy_age_seconds"]
    assert age > 0
    requests = {
        (labels["method"], labels["path"], labels["status"]): value
        for labels, value in found["ray_carracing_requests_total"]
    }
    assert requests["GET", "unknown", "404"] >= 1
    assert requests["POST", "/act", "200"] >= 1
    assert requests["GET", "/gif", "307"] >= 2
    assert requests["GET", "/gif/{policy}/{seed}.gif", "200"] >= 2
    counted = {
        (labels["method"], labels["path"], labels["status"]): value
        for labels, value in found["ray_carracing_request_duration_seconds_count"]
    }
    assert counted["POST", "/act", "200"] >= 1
    outcomes = {
        labels["outcome"]: value for labels, value in found["ray_carracing_policy_reloads_total"]
    }
    assert outcomes["ok"] >= 1
    assert {labels["replica"] for labels, _ in found["ray_carracing_films_waiting"]}


@pytest.mark.anyio
async def test_overload_is_refused_and_not_suffered(
    service: Running, published: PolicyRef, haproxy_binary: str
) -> None:
    """Some ten times as many callers as there is room for, all at once, and probes beside them."""
    url = str(service.client.base_url)
    ended = asyncio.Event()
    before = memory_of(service)

    async def call(client: httpx.AsyncClient, number: int) -> tuple[str, httpx.Response]:
        if number % 4:
            return "act", await client.post("/act", content=npy(BODY), headers=NPY)
        if number % 8:
            path = f"/gif/{published.version}/{number}.gif?max_steps=60&width=60"
            return "gif", await client.get(path)
        return "curve", await client.get(f"/curve.png?finetune_at={number % 5 + 1}")

    async def probe() -> Counter[int]:
        statuses: Counter[int] = Counter()
        # An idle connection may be closed at the moment when it is used again.
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, limits=limits) as client:
            while not ended.is_set():
                for path in ("/health/live", "/health/ready"):
                    statuses[(await client.get(path)).status_code] += 1
                await asyncio.sleep(0.2)
        return statuses

    probing = asyncio.create_task(probe())
    async with httpx.AsyncClient(
        base_url=url,
        timeout=PATIENCE_S,
        headers=AUTHORIZED,
        limits=httpx.Limits(max_connections=None),
    ) as client:
        answers = await asyncio.gather(*(call(client, number) for number in range(640)))
    ended.set()
    probes = await probing

    outcomes = Counter((kind, answer.status_code) for kind, answer in answers)
    assert {status for _, status in outcomes} == {200, 503}, outcomes
    assert outcomes["act", 200] > 0
    assert outcomes["gif", 200] > 0
    assert outcomes["curve", 200] > 0
    for _, answer in answers:
        if answer.status_code == 503:
            # Serve itself, in front of the admission control, refuses in plain text.
            if not answer.headers["Content-Type"].startswith("text/plain"):
                is_problem(answer, 503, "busy")
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.headers["X-Request-ID"]
    assert set(probes) == {200}
    assert service.act().status_code == 200
    assert memory_of(service) - before < 512 * MIB
    (place,) = re.findall(r"metrics of HAProxy are at (\S+)", service.log.read_text())
    async with httpx.AsyncClient(timeout=PATIENCE_S) as scraper:
        scraped = (await scraper.get(place)).text
    refused = r'^haproxy_frontend_http_responses_total\{proxy="http_frontend",code="5xx"\} (\S+)$'
    (count,) = re.findall(refused, scraped, re.MULTILINE)
    assert float(count) > 0


def test_the_token_is_in_no_log(service: Running, published: PolicyRef, logs: Path) -> None:
    """The requests of the tests above are logged by now."""
    files = [file for file in logs.rglob("*") if file.is_file()]
    assert len(files) > 10
    assert not [file for file in files if TOKEN.encode() in file.read_bytes()]
    assert TOKEN not in service.log.read_text()
