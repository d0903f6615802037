"""What is to be seen on the page, and how to wait for it."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, Route, expect

from tests.support.waiting import PATIENCE_S

PATIENCE_MS = 1000 * PATIENCE_S
"""Machines that test are slow, and their browsers draw without a GPU."""

OpenPage = Callable[..., Page]


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


def pick(page: Page, name: str, driver: str) -> None:
    """Choose a driver, as a person does: with the focus on the picker."""
    picker = page.locator(f"#{name}")
    picker.focus()
    picker.select_option(driver)


def refuse(route: Route) -> None:
    route.fulfill(status=503, json={"detail": "not now"})
