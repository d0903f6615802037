"""What can be taken away from a drive."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.app.page.looking import OpenPage, wait_for_track
from tests.app.page.site import Site


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
