"""The real service: Ray, Serve and HTTP, started as a person starts it, once for all of it."""

from __future__ import annotations

import io
import json
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from PIL import Image

from app.driving.picture import LivePicture
from app.policies.bundled import read_bundled
from tests.app.conftest import NPY, is_problem, pictures
from tests.app.rendering.test_render_server import table
from tests.app.running import BODY, Running, close_of, publish, run_service
from tests.support.waiting import PATIENCE_S, wait_until
from training.environment.pipeline import PictureStack
from training.evaluation.rollout import PolicyDriver
from training.policy.acting import Policy
from training.store.layout import PolicyRef, progress_file


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with run_service(tmp_path_factory.mktemp("service")) as running:
        yield running
        ends_as_it_should(running)


def ends_as_it_should(running: Running) -> None:
    """A film that was asked for arrives, and who watches is told to connect again."""
    address = running.client.get("/gif?seed=99&episodes=3").headers["Location"]
    sent = threading.Event()

    def note(event: str, _: object) -> None:
        if event == "http11.send_request_body.complete":
            sent.set()

    with ThreadPoolExecutor(1) as thread, running.drive("mode=live&policy=you") as watching:
        film = thread.submit(running.client.get, address, extensions={"trace": note})
        assert sent.wait(PATIENCE_S)
        running.process.send_signal(signal.SIGTERM)
        assert close_of(watching)[0] == 1001
    assert film.result().status_code == 200


@pytest.fixture(scope="module")
def unpublished(service: Running) -> dict[str, httpx.Response]:
    """What the service answered before anything was published."""
    paths = ("/gif?max_steps=50", "/curve.json", "/policy", "/health/ready")
    answers = {path: service.client.get(path, follow_redirects=True) for path in paths}
    answers["/act"] = service.act()
    for path in ("/", "/health/live", "/policies", "/openapi.json", "/nowhere"):
        answers[path] = service.client.get(path)
    return answers


@pytest.fixture(scope="module")
def published(service: Running, unpublished: dict[str, httpx.Response]) -> PolicyRef:
    """A policy with a curve, which the service has taken up."""
    ref = publish(service.store)
    service.store.storage.write(progress_file(ref.run), table(8))
    service.wait_for(ref)
    return ref


def test_unpublished_the_bundled_policy_drives(
    service: Running, unpublished: dict[str, httpx.Response]
) -> None:
    for path in ("/", "/health/live", "/openapi.json"):
        assert unpublished.pop(path).status_code == 200
    is_problem(unpublished.pop("/nowhere"), 404)
    assert unpublished["/policies"].json()["storage"] == service.store.storage.root
    manifest = read_bundled().manifest
    for path, response in unpublished.items():
        assert response.status_code == 200, path
        assert response.headers["Policy-Version"] == manifest.version
        assert response.headers["Policy-Source"] == "bundled"
    assert unpublished["/curve.json"].json()["trial"] == manifest.trial


def test_acts_as_offline(service: Running, published: PolicyRef) -> None:
    response = service.act()
    assert response.status_code == 200
    assert response.json()["policy"] == response.headers["Policy-Version"] == published.version
    assert response.json()["source"] == response.headers["Policy-Source"] == "storage"
    offline = Policy.from_published(service.store.fetch(published)).act(BODY[None])
    np.testing.assert_allclose(response.json()["actions"], offline, atol=1e-6)


def test_bad_requests_are_problems_over_http(service: Running, published: PolicyRef) -> None:
    post = service.client.post
    is_problem(post("/act", content=bytes(9 << 20), headers=NPY), 413, "body-too-large")
    is_problem(post("/act", content=b"not npy", headers=NPY), 400, "bad-body")
    is_problem(post("/act", content=b"x"), 415, "bad-media-type")
    is_problem(service.client.get("/gif?episodes=10000"), 422, "invalid")
    is_problem(service.client.get("/gif/absent/7.gif"), 404, "no-such-policy")
    is_problem(service.client.get(f"/gif/{published.version}/7.png"), 404)
    is_problem(service.client.get("/act"), 405)


def test_acting_goes_on_while_films_are_rendered_once(
    service: Running, published: PolicyRef
) -> None:
    led_to = service.client.get("/gif?seed=3&max_steps=500")
    assert led_to.status_code == 307
    assert led_to.headers["Policy-Version"] == published.version
    url = f"/{led_to.headers['Location']}"

    def film(_: int) -> httpx.Response:
        return httpx.get(service.client.base_url.join(url), timeout=PATIENCE_S)

    acted = 0
    with ThreadPoolExecutor(4) as threads:
        films = [threads.submit(film, number) for number in range(4)]
        while not all(each.done() for each in films):
            assert service.act().status_code == 200
            acted += 1
    assert acted > 0
    answers = [each.result() for each in films]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    # The replica's log lines arrive here a moment later.
    wait_until(lambda: "on track 3 in" in service.log.read_text())
    assert service.log.read_text().count("on track 3 in") == 1

    answer = answers[0]
    with Image.open(io.BytesIO(answer.content)) as gif:
        assert gif.size == (300, 200)
        shown = set()
        for number in range(getattr(gif, "n_frames", 1)):
            gif.seek(number)
            shown.add(gif.convert("RGB").tobytes())
    assert len(shown) > 20

    etag = answer.headers["ETag"]
    again = service.client.get(url, headers={"If-None-Match": f'W/"other", {etag}'})
    assert (again.status_code, again.content) == (304, b"")
    head = service.client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(answer.content))
    assert head.headers["ETag"] == etag


@pytest.mark.parametrize(
    ("path", "start"), [("/curve.png", b"\x89PNG"), ("/curve.svg", b"<?xml"), ("/curve.json", b"{")]
)
def test_curves(service: Running, published: PolicyRef, path: str, start: bytes) -> None:
    response = service.client.get(path)
    assert response.status_code == 200
    assert response.content.startswith(start)
    known = {"If-None-Match": response.headers["ETag"]}
    assert service.client.get(path, headers=known).status_code == 304


def test_a_program_drives_over_a_web_socket(service: Running, published: PolicyRef) -> None:
    policy = Policy.from_published(service.store.fetch(published))
    driver, stack = PolicyDriver(policy), PictureStack(4)
    frames = pictures(5, 84, 84)
    # The first one fills the stack.
    stack.start(frames[0])
    with service.drive(f"mode=frames&policy={published.version}") as socket:
        assert json.loads(socket.recv(timeout=PATIENCE_S))["policy"] == published.version
        for frame in frames:
            socket.send(frame.tobytes())
            action = np.frombuffer(socket.recv(timeout=PATIENCE_S, decode=False), "<f4")
            np.testing.assert_allclose(action, driver(stack.push(frame)), atol=1e-6)
        socket.send(b"?")
        code, reason = close_of(socket)
    assert code == 4400
    assert reason is not None
    assert "1 bytes" in reason


def test_a_person_watches_over_a_web_socket(service: Running, published: PolicyRef) -> None:
    with service.drive("mode=live&seed=3&rival=you&width=120") as socket:
        start = json.loads(socket.recv(timeout=PATIENCE_S))
        assert [lane["driver"] for lane in start["lanes"]] == ["policy", "you"]
        socket.send(json.dumps({"type": "controls", "steering": 0, "gas": 1, "brake": 0}))
        shown = [
            LivePicture.unpack(socket.recv(timeout=PATIENCE_S, decode=False)) for _ in range(52)
        ]
        assert [each.frame for each in shown if each.lane == 1] == list(range(0, 51, 2))
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.5)
        socket.send(json.dumps({"type": "seen", "frame": 50}))
        picture = LivePicture.unpack(socket.recv(timeout=PATIENCE_S, decode=False))
        assert picture.frame == 52
        while picture.gas != 1:
            socket.send(json.dumps({"type": "seen", "frame": picture.frame}))
            picture = LivePicture.unpack(socket.recv(timeout=PATIENCE_S, decode=False))
    with service.drive("mode=live&policy=nobody") as socket:
        assert close_of(socket)[0] == 4404
    with service.drive("mode=live&seed=3&width=120") as socket:
        socket.send(" " * 4097)
        assert close_of(socket)[0] == 1009


def test_hot_swap_over_http(service: Running, published: PolicyRef) -> None:
    newer = publish(service.store, iteration=2)
    service.wait_for(newer)
    # The one before keeps its films.
    film = service.client.get(f"/gif/{published.version}/3.gif?max_steps=50")
    assert (film.status_code, film.headers["Policy-Version"]) == (200, published.version)
    service.store.promote(published)
    service.wait_for(published)


def test_a_run_without_a_table_has_no_curve(service: Running, published: PolicyRef) -> None:
    other = publish(service.store, iteration=3, run="run-b")
    service.wait_for(other)
    is_problem(service.client.get("/curve.png"), 404, "no-curve")
    service.store.promote(published)
    service.wait_for(published)
