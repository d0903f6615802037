"""A browser, a service, and the page in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from tests.app.page.looking import PATIENCE_MS, OpenPage
from tests.app.page.site import Site, serving
from tests.support.needs import lacks

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        lacks("there is no chromium; as root on Debian `make chromium` installs it")
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
