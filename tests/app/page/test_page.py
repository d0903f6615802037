"""The page as a whole: what is to be driven, how wide it is, what the keyboard reaches."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.app.page.looking import OpenPage, lane, pick, wait_for_frame, wait_for_track
from tests.app.page.site import Site


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
    pick(page, "policy", "latest")
    expect(box).to_have_value("12")
    assert "seed=12&policy=latest" in page.url
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
