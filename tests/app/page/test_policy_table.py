"""The table of published policies, which new ones enter by themselves."""

from __future__ import annotations

from playwright.sync_api import Request, Route, expect

from tests.app.page.looking import OpenPage, lane, refuse, wait_for_frame
from tests.app.page.site import Site
from tests.conftest import give_scores


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
    expect(page.locator("#state")).to_have_text("Ready: iteration 4 is the latest")
    assert page.locator(f'#policy option[value="{ref.version}"]').count() == 1
    page.get_by_role("button", name="Next track").click()
    expect(lane(page, 1).locator(".name")).to_have_text("Served · iteration 4")
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


def test_a_score_appears_beside_its_policy_when_it_comes(open_page: OpenPage, site: Site) -> None:
    first, second = site.publish(4), site.publish(6)
    page = open_page()
    score = page.locator(f'#published tr[title="{first.version}"] td').nth(1)
    expect(score).to_have_text("—")
    give_scores(site.store, {first: 812.4, second: 40.0})
    expect(score).to_have_text("812")
    expect(score).to_have_class("best")
    expect(page.locator("#published .best")).to_have_count(1)
    option = page.locator(f'#policy option[value="{first.version}"]')
    expect(option).to_have_text("Iteration 4 · score 812")
    page.locator("#policy").select_option("best")
    expect(lane(page, 1).locator(".name")).to_have_text("Best · iteration 4")
