"""The drive's connection: who gets one, and what follows when there is none."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, WebSocketRoute, expect

from tests.app.page.looking import PATIENCE_MS, OpenPage, wait_for_frame, wait_for_track
from tests.app.page.site import PREFIX, Site, serving


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
    assert "policy=served" in closed[0]


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
    page.locator("#policy").select_option("latest")
    wait_for_frame(page, 10)
