"""The reference at ``/docs`` in a browser that has no internet access, below a path prefix."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.app.page.looking import OpenPage
from tests.app.page.site import Site


def test_an_operation_is_tried_out(open_page: OpenPage, site: Site) -> None:
    page = open_page("docs")
    page.locator("#operations-status-ready_health_ready_get").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".request-url")).to_contain_text(f"{site.url}health/ready")
    expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
