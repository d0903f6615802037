"""The training curve on the page."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.app.page.looking import OpenPage, refuse
from tests.app.page.site import Site


def test_the_curve(open_page: OpenPage, site: Site) -> None:
    site.publish(8)
    page = open_page()
    page.locator("#curve").scroll_into_view_if_needed()
    drawing = page.locator("#curve svg")
    expect(drawing).to_have_accessible_name("Return per training iteration")
    expect(drawing.locator("desc")).to_contain_text("Iterations 1 to 8, now fine-tuning.")
    expect(drawing.locator("text.switch")).to_have_text("fine-tuning after 3")
    expect(drawing.locator("text.well")).to_contain_text("900")
    assert drawing.locator("path.mean").count() == 1
    before = drawing.locator("path.mean").get_attribute("d")
    site.publish(9)
    expect(drawing.locator("path.mean")).not_to_have_attribute("d", before or "")
    drawing.hover()
    expect(page.locator("#curve-note")).to_have_text(re.compile(r"^Iteration \d: mean \d+, from"))


def test_a_fault_of_the_curve_is_forgotten_with_the_fault(open_page: OpenPage, site: Site) -> None:
    site.publish(8)
    page = open_page(may_fail="curve.json")
    page.locator("#curve").scroll_into_view_if_needed()
    note = page.locator("#curve-note")
    expect(note).to_contain_text("Mean return")
    page.route(f"{site.url}curve.json", refuse, times=1)
    expect(note).to_have_text("not now")
    expect(note).to_contain_text("Mean return")
