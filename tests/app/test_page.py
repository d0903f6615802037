"""The page in a real Chromium, on the real API below a route prefix, over a real store."""

from __future__ import annotations

import base64
import re
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Route,
    WebSocketRoute,
    expect,
    sync_playwright,
)
from starlette.applications import Starlette
from starlette.routing import Mount

from app.api import build_api
from app.bundled import load_bundled
from app.films import FilmOrder
from app.policy_watcher import PolicyWatcher
from app.render_server import RenderServer
from app.renderer import RENDER_FAILURES, RenderFailure
from app.settings import Settings
from tests.app.conftest import INTERVAL_S
from tests.app.test_render_server import table
from tests.conftest import build_actor, build_manifest
from training.policy import Policy, weights_to_bytes
from training.store import PolicyRef, PolicyStore, progress_file

CHROMIUM = shutil.which("chromium")
PREFIX = "/car"
PATIENCE_MS = 120_000
"""Machines that test are slow, and their browsers draw without a GPU."""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium; as root on Debian `make chromium` installs it"
)


class LocalRenderer:
    """Renders in this process, with what the deployment is made of."""

    def __init__(self) -> None:
        self._server = RenderServer()

    async def film(self, order: FilmOrder) -> bytes:
        return self._answer(await self._server.film(order))

    async def curve(self, *order: Any) -> bytes:
        return self._answer(await self._server.curve(*order))

    @staticmethod
    def _answer(answer: bytes | RenderFailure) -> bytes:
        if isinstance(answer, RENDER_FAILURES):
            raise answer
        return answer


@dataclass
class Site:
    """A running service."""

    url: str
    store: PolicyStore
    bundled: Policy

    def publish(self, iteration: int) -> PolicyRef:
        """Publish a policy that knows nothing, with its run's curve up to there."""
        weights = weights_to_bytes(build_actor(seed=iteration))
        manifest = build_manifest(weights, iteration=iteration, mean_return=10.0 * iteration)
        self.store.storage.write(progress_file(manifest.run), table(iteration))
        return self.store.publish(manifest, weights)


@contextmanager
def serving(root: str, **options: Any) -> Iterator[Site]:
    """Serve what the API is in a thread, below a prefix."""
    settings = Settings(storage=root, **options)
    store, bundled = PolicyStore.open(root), load_bundled()
    watcher = PolicyWatcher(store, INTERVAL_S, fallback=bundled)
    api = build_api(settings, watcher, LocalRenderer(), store)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # Of an application that is mounted nobody else runs it.
        async with api.router.lifespan_context(api):
            yield

    outer = Starlette(routes=[Mount(PREFIX, api)], lifespan=lifespan)
    config = uvicorn.Config(
        outer, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Site(f"http://127.0.0.1:{port}{PREFIX}/", store, bundled)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def site(
    tmp_path: Path, clean_environment: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    root = str(tmp_path / "store")
    monkeypatch.setenv("CARRACING_STORAGE", root)
    with serving(root) as site:
        yield site


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, site: Site) -> Iterator[OpenPage]:
    """Opens the page; at the end of the test nothing may have gone wrong in it, except for what
    the path ``may_fail`` answers.
    """
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def open_page(path: str = "", may_fail: str | None = None, **options: Any) -> Page:
        def note(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning") and not excused(message.location["url"]):
                wrong.append(message.text)

        def excused(url: str) -> bool:
            return may_fail is not None and url == site.url + may_fail

        context = browser.new_context(**({"viewport": {"width": 1000, "height": 800}} | options))
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(f"{request.url} failed"))
        page.on(
            "response",
            lambda answer: (
                wrong.append(f"{answer.url}: {answer.status}")
                if answer.status >= 400 and not excused(answer.url)
                else None
            ),
        )
        page.goto(site.url + path)
        return page

    expect.set_options(timeout=PATIENCE_MS)
    yield open_page
    # What is under way when a page closes fails, and that is nobody's fault.
    found = list(wrong)
    for context in contexts:
        context.close()
    assert found == []


def lane(page: Page, number: int) -> Locator:
    """A lane, counted from 1."""
    return page.locator(f'.lane[data-lane="{number - 1}"]')


def frame(page: Page, number: int = 1) -> int:
    """The simulator frame that a lane shows; -1 before the first one."""
    return int(lane(page, number).get_attribute("data-frame") or -1)


def wait_for_frame(page: Page, least: int, number: int = 1) -> None:
    """Wait until a lane shows a frame as late as that."""
    page.wait_for_function(
        "([lane, least]) => Number(document.querySelector(lane)?.dataset.frame ?? -1) >= least",
        arg=[f'.lane[data-lane="{number - 1}"]', least],
    )


def wait_for_track(page: Page, seed: int) -> None:
    """Wait until the service has begun a track."""
    expect(page.locator("#gif-link")).to_have_attribute("href", re.compile(rf"/{seed}\.gif$"))


def picture(page: Page, selector: str) -> str:
    """The pixels of a canvas, as text."""
    pixels: str = page.locator(selector).evaluate("canvas => canvas.toDataURL()")
    return pixels


def score(page: Page, number: int = 1) -> str:
    return lane(page, number).locator(".return dd").inner_text()


def test_the_car_drives_by_itself(open_page: OpenPage, site: Site) -> None:
    page = open_page()
    wait_for_frame(page, 20)
    before = picture(page, ".view"), picture(page, ".eyes"), score(page), frame(page)
    wait_for_frame(page, before[3] + 60)
    after = picture(page, ".view"), picture(page, ".eyes"), score(page), frame(page)
    assert all(old != new for old, new in zip(before, after, strict=True))
    driver = lane(page, 1)
    iteration = site.bundled.manifest.iteration
    expect(driver.locator(".name")).to_have_text(f"Newest · iteration {iteration}")
    expect(driver.locator(".version")).to_have_text(site.bundled.version)
    expect(driver.locator(".speed dd")).to_have_text(re.compile(r"^[1-9]\d* km/h$"))
    expect(driver.locator(".tiles dd")).to_have_text(re.compile(r"^\d+ of \d+$"))
    expect(driver.locator(".gas")).not_to_have_attribute("aria-valuenow", "0")
    expect(page.locator("#state")).to_contain_text("the bundled policy drives until")
    expect(page.locator("#facts dl")).to_contain_text(site.bundled.version)


@pytest.mark.usefixtures("clean_environment")
def test_a_browser_that_shows_the_token_drives(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, token = str(tmp_path / "store"), "correct-horse-battery"
    monkeypatch.setenv("CARRACING_STORAGE", root)
    with serving(root, api_token=token) as site:
        context = browser.new_context(http_credentials={"username": "", "password": token})
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.goto(site.url)
        wait_for_frame(page, 20)
        expect(page.locator("#facts dl")).to_contain_text(site.bundled.version)
        context.close()


@pytest.mark.usefixtures("clean_environment")
def test_a_browser_that_shows_the_token_to_no_websocket_drives_with_its_pass(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, token = str(tmp_path / "store"), "correct-horse-battery"
    monkeypatch.setenv("CARRACING_STORAGE", root)
    shown = "Basic " + base64.b64encode(f":{token}".encode()).decode()

    def show(route: Route) -> None:
        route.continue_(headers=route.request.headers | {"authorization": shown})

    with serving(root, api_token=token) as site:
        context = browser.new_context(reduced_motion="reduce")
        context.set_default_timeout(PATIENCE_MS)
        # As WebKit does: what is intercepted is HTTP, and no WebSocket.
        context.route(f"{site.url}**", show)
        page = context.new_page()
        page.goto(site.url)
        start = page.get_by_role("button", name="Drive", exact=True)
        (cookie,) = context.cookies()
        assert cookie["path"] == PREFIX
        context.clear_cookies()
        start.click()
        expect(page.locator("#drive-status")).to_contain_text("reload the page and sign in")
        page.reload()
        start.click()
        wait_for_frame(page, 10)
        context.close()


def test_the_seed_box_and_next_track_change_the_track(open_page: OpenPage) -> None:
    page = open_page()
    wait_for_track(page, 0)
    page.locator("#seed").fill("7")
    page.locator("#seed").press("Enter")
    wait_for_track(page, 7)
    wait_for_frame(page, 10)
    assert "seed=7" in page.url
    page.get_by_role("button", name="Next track").click()
    wait_for_track(page, 8)
    expect(page.locator("#seed")).to_have_value("8")
    wait_for_frame(page, 10)


def test_a_seed_that_is_none_is_not_driven(open_page: OpenPage) -> None:
    page = open_page()
    wait_for_track(page, 0)
    for text in ("", "-1", "2147483648"):
        page.locator("#seed").fill(text)
        page.locator("#seed").press("Enter")
        assert not page.locator("#seed").evaluate("box => box.validity.valid")
    assert "seed=0" in page.url


def test_nobody_writes_over_a_seed_that_is_being_written(open_page: OpenPage) -> None:
    page = open_page()
    wait_for_track(page, 0)
    box = page.locator("#seed")
    box.fill("12")
    page.evaluate("location.hash = '#seed=3'")
    wait_for_track(page, 3)
    expect(box).to_have_value("12")
    # Whoever picks a driver wants the track that stands there.
    pick(page, "policy", "bundled")
    wait_for_track(page, 12)
    assert "seed=12&policy=bundled" in page.url
    box.fill("")
    pick(page, "policy", "newest")
    expect(box).to_have_value("12")
    assert "seed=12&policy=newest" in page.url
    # What nobody has written is brought up to date when the box is left.
    box.focus()
    page.evaluate("location.hash = '#seed=4'")
    wait_for_track(page, 4)
    expect(box).to_have_value("12")
    box.blur()
    expect(box).to_have_value("4")
    box.fill("007")
    box.press("Enter")
    wait_for_track(page, 7)
    expect(box).to_have_value("7")


def test_a_pause_lasts_until_it_is_ended(open_page: OpenPage) -> None:
    page = open_page()
    wait_for_frame(page, 10)
    pause = page.get_by_role("button", name="Pause")
    pause.click()
    expect(pause).to_have_attribute("aria-pressed", "true")
    stood = frame(page)
    page.wait_for_timeout(1500)
    assert frame(page) == stood
    pause.click()
    wait_for_frame(page, stood + 10)


def test_a_newly_published_policy_takes_over_at_the_next_track(
    open_page: OpenPage, site: Site
) -> None:
    page = open_page()
    wait_for_frame(page, 10)
    expect(page.locator("#published-note")).to_have_text("Nothing is published yet.")
    ref = site.publish(4)
    row = page.locator(f'#published tr[title="{ref.version}"]')
    expect(row).to_contain_text("exploring")
    expect(row.get_by_role("link")).to_have_attribute("href", f"gif/{ref.version}/0.gif")
    expect(page.locator("#state")).to_have_text("Ready: iteration 4 is the newest")
    assert page.locator(f'#policy option[value="{ref.version}"]').count() == 1
    page.get_by_role("button", name="Next track").click()
    expect(lane(page, 1).locator(".name")).to_have_text("Newest · iteration 4")
    newer = site.publish(6)
    button = page.get_by_role("button", name="Watch iteration 6")
    button.click()
    expect(lane(page, 1).locator(".version")).to_have_text(newer.version)
    expect(page.locator("#policy")).to_have_value(newer.version)
    assert f"policy={newer.version}" in page.url


def test_a_newer_policy_leaves_the_focus_in_the_table(open_page: OpenPage, site: Site) -> None:
    site.publish(4)
    page = open_page()
    watch = page.get_by_role("button", name="Watch iteration 4", exact=True)
    watch.focus()
    site.publish(6)
    bundled = f"{site.bundled.manifest.iteration} (bundled)"
    expect(page.locator("#published tbody th")).to_have_text(["6", "4", bundled])
    expect(watch).to_be_focused()


def test_a_link_shows_the_same_drive(open_page: OpenPage, site: Site) -> None:
    version = site.publish(5).version
    page = open_page(f"#seed=12&policy={version}&rival=bundled")
    wait_for_track(page, 12)
    expect(page.locator("#seed")).to_have_value("12")
    expect(page.locator("#policy")).to_have_value(version)
    expect(page.locator("#rival")).to_have_value("bundled")
    expect(lane(page, 1).locator(".version")).to_have_text(version)
    expect(lane(page, 2).locator(".version")).to_have_text(site.bundled.version)
    page.evaluate("location.hash = '#seed=13'")
    wait_for_track(page, 13)
    expect(page.locator(".lane")).to_have_count(1)


def test_two_policies_side_by_side(open_page: OpenPage, site: Site) -> None:
    version = site.publish(5).version
    page = open_page()
    wait_for_frame(page, 10)
    page.locator("#policy").select_option("bundled")
    page.locator("#rival").select_option(version)
    wait_for_frame(page, 50, 1)
    wait_for_frame(page, 50, 2)
    totals = {lane(page, n).locator(".tiles dd").inner_text().split()[-1] for n in (1, 2)}
    assert len(totals) == 1
    left, right = (lane(page, number).bounding_box() for number in (1, 2))
    assert left is not None
    assert right is not None
    assert left["y"] == right["y"]
    assert picture(page, '[data-lane="0"] .view') != picture(page, '[data-lane="1"] .view')
    page.locator("#rival").select_option("")
    expect(page.locator(".lane")).to_have_count(1)


def test_driving_with_the_arrow_keys(open_page: OpenPage) -> None:
    page = open_page()
    wait_for_frame(page, 10)
    page.get_by_role("button", name="Drive yourself").click()
    own = lane(page, 2)
    expect(own.locator(".name")).to_have_text("You")
    expect(own.locator(".note")).to_contain_text("to start")
    expect(own.locator(".screen")).to_be_focused()
    page.wait_for_timeout(1000)
    stood = frame(page, 2)
    assert stood < 50
    page.keyboard.down("ArrowUp")
    wait_for_frame(page, stood + 50, 2)
    expect(own.locator(".note")).to_be_hidden()
    expect(own.locator(".speed dd")).to_have_text(re.compile(r"^[1-9]\d* km/h$"))
    expect(own.locator(".gas")).to_have_attribute("aria-valuenow", "1.00")
    assert page.evaluate("scrollY") == 0
    page.keyboard.up("ArrowUp")
    page.keyboard.down("KeyA")
    expect(own.locator(".steering")).to_have_attribute("aria-valuenow", re.compile(r"^-"))
    expect(own.locator(".gas")).to_have_attribute("aria-valuenow", "0.00")
    # Without the focus the keys are the page's again, and what is held is let go.
    page.locator("#seed").focus()
    expect(own.locator(".steering")).to_have_attribute("aria-valuenow", re.compile(r"^-?0\.00$"))
    assert {score(page, number) for number in (1, 2)} != {""}


def pick(page: Page, name: str, driver: str) -> None:
    """Choose a driver, as a person does: with the focus on the picker."""
    picker = page.locator(f"#{name}")
    picker.focus()
    picker.select_option(driver)


def pick_yourself(page: Page) -> None:
    pick(page, "rival", "you")


def follow_a_link(page: Page) -> None:
    page.evaluate("location.hash = '#rival=you'")


def change_your_mind(page: Page) -> None:
    page.evaluate("for (const id of ['next', 'yourself']) document.getElementById(id).click()")


@pytest.mark.parametrize("ask", [pick_yourself, follow_a_link, change_your_mind])
def test_who_asks_for_the_wheel_gets_the_keys(
    open_page: OpenPage, ask: Callable[[Page], None]
) -> None:
    page = open_page()
    wait_for_frame(page, 10)
    ask(page)
    own = lane(page, 2)
    expect(own.locator(".screen")).to_be_focused()
    page.keyboard.down("ArrowUp")
    wait_for_frame(page, 30, 2)


def test_the_keys_stay_with_who_drives_on_another_track(open_page: OpenPage) -> None:
    page = open_page("#rival=you", reduced_motion="reduce")
    screen = lane(page, 2).locator(".screen")
    page.get_by_role("button", name="Drive", exact=True).click()
    expect(screen).to_be_focused()
    page.get_by_role("button", name="Next track").click()
    wait_for_track(page, 1)
    expect(screen).to_be_focused()
    page.get_by_role("button", name="Drive this track").click()
    expect(screen).to_be_focused()


def test_driving_by_touch(open_page: OpenPage) -> None:
    page = open_page("#rival=you", viewport={"width": 390, "height": 800}, has_touch=True)
    own = lane(page, 2)
    expect(own.locator(".note")).to_contain_text("to start")
    gas = own.get_by_role("button", name="Gas")
    gas.scroll_into_view_if_needed()
    box = gas.bounding_box()
    assert box is not None
    finger = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    touch = page.context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [finger]})
    wait_for_frame(page, 60, 2)
    expect(own.locator(".gas")).to_have_attribute("aria-valuenow", "1.00")
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(own.locator(".gas")).to_have_attribute("aria-valuenow", "0.00")


def test_a_track_that_is_over_is_followed_by_the_next(open_page: OpenPage) -> None:
    page = open_page("#seed=4&policy=bundled")
    wait_for_track(page, 4)
    result = re.compile(r"^Track 4\. Bundled · iteration \d+: \d{2,3}, (lap finished|time is up)\.")
    # A whole lap is driven, which takes fifteen seconds where the machine has nothing else to do.
    expect(page.locator("#drive-status")).to_have_text(result, timeout=4 * PATIENCE_MS)
    expect(lane(page, 1).locator(".note")).to_have_text(re.compile("lap finished|time is up"))
    wait_for_track(page, 5)
    wait_for_frame(page, 10)


def test_nothing_moves_by_itself_for_those_who_do_not_want_it(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    start = page.get_by_role("button", name="Drive", exact=True)
    expect(start).to_be_visible()
    assert page.locator(".lane").count() == 0
    start.click()
    wait_for_frame(page, 10)
    expect(start).to_be_hidden()


def close_the_first(page: Page, code: int, reason: str) -> list[str]:
    """Close the page's first drive with a code; the addresses of those that were closed."""
    closed: list[str] = []

    def answer(route: WebSocketRoute) -> None:
        if closed:
            route.connect_to_server()
            return
        closed.append(route.url)
        route.close(code=code, reason=reason)

    page.route_web_socket(re.compile("/drive"), answer)
    return closed


def test_a_drive_that_there_is_no_room_for_is_tried_again(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    closed = close_the_first(page, 1013, "no room for this drive")
    page.get_by_role("button", name="Drive", exact=True).click()
    expect(page.locator("#drive-status")).to_contain_text("no room for this drive; trying again in")
    wait_for_frame(page, 10)
    expect(page.locator("#drive-status")).to_have_text("")
    assert len(closed) == 1
    assert "policy=newest" in closed[0]


def test_a_drive_that_stood_still_is_begun_again_on_demand(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    closed = close_the_first(page, 4408, "nothing arrived for 60 s")
    start = page.get_by_role("button", name="Drive", exact=True)
    start.click()
    expect(start).to_be_visible()
    assert len(closed) == 1
    start.click()
    wait_for_frame(page, 10)
    expect(start).to_be_hidden()


def test_a_change_of_mind_while_it_connects(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    expect(page.locator("#start-button")).to_be_visible()
    page.evaluate("for (const id of ['start-button', 'next']) document.getElementById(id).click()")
    wait_for_track(page, 1)
    wait_for_frame(page, 10)


def test_a_policy_that_is_not_there_is_named(open_page: OpenPage, site: Site) -> None:
    page = open_page("#policy=nobody-knows-it")
    expect(page.locator("#drive-status")).to_contain_text("nobody-knows-it")
    page.locator("#policy").select_option("newest")
    wait_for_frame(page, 10)


def test_the_curve(open_page: OpenPage, site: Site) -> None:
    site.publish(8)
    page = open_page()
    page.locator("#curve").scroll_into_view_if_needed()
    drawing = page.locator("#curve svg")
    expect(drawing).to_have_accessible_name("Return per training iteration")
    expect(drawing.locator("desc")).to_contain_text("Iterations 1 to 8, now stabilizing.")
    expect(drawing.locator("text.switch")).to_have_text("stabilizing after 3")
    expect(drawing.locator("text.well")).to_contain_text("900")
    assert drawing.locator("path.mean").count() == 1
    before = drawing.locator("path.mean").get_attribute("d")
    site.publish(9)
    expect(drawing.locator("path.mean")).not_to_have_attribute("d", before or "")
    drawing.hover()
    expect(page.locator("#curve-note")).to_have_text(re.compile(r"^Iteration \d: mean \d+, from"))


def refuse(route: Route) -> None:
    route.fulfill(status=503, json={"detail": "not now"})


def test_a_fault_of_the_curve_is_forgotten_with_the_fault(open_page: OpenPage, site: Site) -> None:
    site.publish(8)
    page = open_page(may_fail="curve.json")
    page.locator("#curve").scroll_into_view_if_needed()
    note = page.locator("#curve-note")
    expect(note).to_contain_text("Mean return")
    page.route(f"{site.url}curve.json", refuse, times=1)
    expect(note).to_have_text("not now")
    expect(note).to_contain_text("Mean return")


def test_policies_are_listed_after_a_look_that_failed(open_page: OpenPage, site: Site) -> None:
    page = open_page(may_fail="policy")
    expect(page.locator("#state")).to_have_attribute("data-state", "ready")
    listed: list[Request] = []
    refused: list[Route] = []

    def note(request: Request) -> None:
        if request.url.endswith("policies?limit=100"):
            listed.append(request)

    def answer(route: Route) -> None:
        if listed and not refused:
            refused.append(route)
            refuse(route)
        else:
            route.continue_()

    page.on("request", note)
    page.route(f"{site.url}policy", answer)
    version = site.publish(8).version
    expect(page.locator("#state")).to_have_text("The service cannot drive: not now")
    expect(page.locator(f'#published tr[title="{version}"]')).to_be_visible()


def test_what_can_be_taken_away(open_page: OpenPage, site: Site) -> None:
    page = open_page("#seed=31", permissions=["clipboard-read", "clipboard-write"])
    wait_for_track(page, 31)
    # The next track has other links.
    page.get_by_role("button", name="Pause").click()
    film = f"gif/{site.bundled.version}/31"
    assert page.locator("#gif-link").get_attribute("href") == f"{film}.gif"
    assert page.locator("#webp-link").get_attribute("href") == f"{film}.webp"
    page.get_by_role("button", name="Copy the curl command").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    command = page.evaluate("navigator.clipboard.readText()")
    assert command == f"curl -o drive-31.gif '{site.url}{film}.gif'"
    code = page.locator("#python").inner_text()
    compile(code, "snippet", "exec")
    assert f'Client("{site.url}")' in code
    assert f'.gif(31, policy="{site.bundled.version}")' in code
    answer = page.request.get(f"{site.url}{film}.gif")
    assert (answer.status, answer.body()[:6]) == (200, b"GIF89a")


@pytest.mark.parametrize("width", [360, 390])
def test_nothing_is_wider_than_a_phone(open_page: OpenPage, site: Site, width: int) -> None:
    site.publish(7)
    page = open_page("#rival=you", viewport={"width": width, "height": 740})
    expect(page.locator(".lane")).to_have_count(2)
    page.locator("#curve").scroll_into_view_if_needed()
    expect(page.locator("#curve svg")).to_be_visible()
    expect(page.locator("#published tbody tr")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    boxes = [lane(page, number).bounding_box() for number in (1, 2)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["x"] == boxes[1]["x"]


def test_everything_can_be_reached_with_the_keyboard(open_page: OpenPage, site: Site) -> None:
    site.publish(7)
    page = open_page("#rival=you")
    expect(page.locator(".lane")).to_have_count(2)
    expect(page.locator("#published tbody tr")).to_have_count(2)
    expect(page.locator("#takeaway-body")).to_be_visible()
    # Tab goes on from the click, and not from the driving area.
    page.get_by_role("heading", level=1).click()
    can = page.evaluate(
        """() => [...document.querySelectorAll("a[href], button, input, select, [tabindex]")]
                 .filter(each => each.checkVisibility())
                 .map((each, index) => each.dataset.place = String(index))"""
    )
    reached = []
    for _ in can:
        page.keyboard.press("Tab")
        focused = page.evaluate(
            """() => [document.activeElement.dataset.place,
                      getComputedStyle(document.activeElement).outlineStyle]"""
        )
        reached.append(focused[0])
        assert focused[1] == "solid"
    assert reached == can
