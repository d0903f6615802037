from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from app.api.routes.page import FOLDER
from tests.app.conftest import Bench, is_problem

pytestmark = pytest.mark.anyio

PARTS = sorted(path.name for path in FOLDER.iterdir() if path.name != "index.html")
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class Page(HTMLParser):
    """What the page's HTML refers to, and its labels."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.modules: list[str] = []
        self.labelled: set[str] = set()
        self.inputs: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.attributes |= set(given)
        self.addresses += [given[name] for name in ("href", "src") if name in given]
        if given.get("rel") == "modulepreload" or tag == "script":
            self.modules.append(given.get("href") or given["src"])
        if tag == "label":
            self.labelled.add(given["for"])
        if tag in ("input", "select"):
            self.inputs.add(given["id"])


async def page(bench: Bench) -> Page:
    return Page((await bench.client.get("/")).text)


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in PARTS)])
async def test_every_file_is_served_and_known_again(bench: Bench, path: str) -> None:
    response = await bench.client.get(path)
    assert response.status_code == 200
    content_type = response.headers["Content-Type"].split(";")[0]
    assert content_type == TYPES.get(path.rpartition(".")[2], "text/html")
    assert response.headers["Cache-Control"] == "no-cache"
    head = await bench.client.head(path)
    assert head.headers == response.headers
    known = {"If-None-Match": response.headers["ETag"]}
    again = await bench.client.get(path, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == response.headers["ETag"]
    other = await bench.client.get(path, headers={"If-None-Match": '"other"'})
    assert other.content == response.content


@pytest.mark.parametrize("path", ["/", "/page/page.js"])
async def test_browsers_are_told_to_be_careful(bench: Bench, path: str) -> None:
    headers = (await bench.client.get(path)).headers
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page/index.html",
        "/page/nothing.js",
        "/page/..%2Froutes_page.py",
        "/page/%2Fetc%2Fpasswd",
    ],
)
async def test_nothing_else_is_served(bench: Bench, path: str) -> None:
    is_problem(await bench.client.get(path), 404)


async def test_the_page_brings_everything_along(bench: Bench) -> None:
    addresses = (await page(bench)).addresses
    assert "page/page.css" in addresses
    for address in addresses:
        # Relative, for a service that is not at the root of its host.
        assert re.fullmatch(r"[a-z][\w/.]*", address), address
        assert (await bench.client.get(f"/{address}")).status_code in (200, 503), address
    for name in PARTS:
        text = (FOLDER / name).read_text(encoding="utf-8")
        foreign = re.findall(r"https?://[^\s\"]+|@import|url\(", text)
        assert set(foreign) <= {"http://www.w3.org/2000/svg"}, name


async def test_every_module_is_loaded_beforehand(bench: Bench) -> None:
    modules = (await page(bench)).modules
    assert sorted(modules) == [f"page/{name}" for name in PARTS if name.endswith(".js")]
    for name in PARTS:
        text = (FOLDER / name).read_text(encoding="utf-8")
        for imported in re.findall(r'from "(.+)"', text):
            assert f"page/{imported.removeprefix('./')}" in modules, name


async def test_every_input_has_a_label_and_nothing_is_inline(bench: Bench) -> None:
    html = await page(bench)
    assert html.labelled == html.inputs != set()
    assert not {name for name in html.attributes if name.startswith("on") or name == "style"}


def contrast(one: str, other: str) -> float:
    """Of two colours, #rrggbb, as WCAG defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


async def test_text_on_a_card_can_be_read_in_light_and_dark() -> None:
    css = (FOLDER / "page.css").read_text(encoding="utf-8")
    schemes = [
        dict(re.findall(r"--([\w-]+): (#\w{6})", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    inks = set(re.findall(r"\b(?:color|fill): var\(--([\w-]+)\)", css))
    # --colour is --one or --two, and what lies on it is not on a card.
    inks -= {"colour", "on-colour"}
    assert {"ink", "quiet", "one", "two", "bad"} <= inks
    assert len(schemes) == 2
    for scheme in schemes:
        for ink in inks:
            assert contrast(scheme[ink], scheme["card"]) >= 4.5, ink


async def test_light_and_dark_and_reduced_motion() -> None:
    css = (FOLDER / "page.css").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in css
    assert "prefers-reduced-motion: reduce" in css
