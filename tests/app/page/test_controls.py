"""Driving by hand: with keys, by mouse and by touch."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.app.page.looking import (
    OpenPage,
    frame,
    lane,
    pick,
    score,
    wait_for_frame,
    wait_for_track,
)


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


def test_driving_with_the_mouse(open_page: OpenPage) -> None:
    page = open_page("#rival=you")
    own = lane(page, 2)
    expect(own.locator(".screen")).to_be_focused()
    # Gas comes last: a car that rolls on by itself leaves the field, and its frames end.
    for name, gauge, held in (
        ("Brake", ".brake", "0.80"),
        ("Steer left", ".steering", "-1.00"),
        ("Gas", ".gas", "1.00"),
    ):
        pad = own.get_by_role("button", name=name)
        pad.hover()
        page.mouse.down()
        expect(own.locator(gauge)).to_have_attribute("aria-valuenow", held)
        wait_for_frame(page, frame(page, 2) + 50, 2)
        expect(own.locator(gauge)).to_have_attribute("aria-valuenow", held)
        page.mouse.up()
        expect(own.locator(gauge)).to_have_attribute("aria-valuenow", re.compile(r"^-?0\.00$"))
        expect(own.locator(".screen")).to_be_focused()


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
