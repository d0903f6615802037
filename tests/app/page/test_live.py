"""The live drive: it moves, in one lane or two, and stops when somebody wants it to."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.app.page.looking import (
    PATIENCE_MS,
    OpenPage,
    frame,
    lane,
    picture,
    score,
    wait_for_frame,
    wait_for_track,
)
from tests.app.page.site import Site


def test_the_car_drives_by_itself(open_page: OpenPage, site: Site) -> None:
    page = open_page()
    wait_for_frame(page, 20)
    before = picture(page, ".view"), picture(page, ".eyes"), score(page), frame(page)
    wait_for_frame(page, before[3] + 60)
    after = picture(page, ".view"), picture(page, ".eyes"), score(page), frame(page)
    assert all(old != new for old, new in zip(before, after, strict=True))
    driver = lane(page, 1)
    iteration = site.bundled.manifest.iteration
    expect(driver.locator(".name")).to_have_text(f"Served · iteration {iteration}")
    expect(driver.locator(".version")).to_have_text(site.bundled.version)
    expect(driver.locator(".speed dd")).to_have_text(re.compile(r"^[1-9]\d* km/h$"))
    expect(driver.locator(".tiles dd")).to_have_text(re.compile(r"^\d+ of \d+$"))
    expect(driver.locator(".gas")).not_to_have_attribute("aria-valuenow", "0")
    expect(page.locator("#state")).to_contain_text("the bundled policy drives until")
    expect(page.locator("#facts dl")).to_contain_text(site.bundled.version)


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
