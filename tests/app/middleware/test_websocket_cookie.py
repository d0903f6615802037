from __future__ import annotations

import hashlib
import hmac
import time

import pytest
from starlette.datastructures import Headers

from app.middleware.websocket_cookie import LIFETIME_S, WebSocketCookie

TOKEN = b"correct-horse-battery"
NOW = 1_800_000_000.9


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, NOW)


def at(monkeypatch: pytest.MonkeyPatch, moment: float) -> None:
    monkeypatch.setattr(time, "time", lambda: moment)


def shows(cookie: str, token: bytes = TOKEN) -> bool:
    """Whether a service with this token takes a ``Cookie`` header."""
    return WebSocketCookie(token).is_valid(Headers({"Cookie": cookie}))


@pytest.fixture
def cookie() -> str:
    """What a browser sends of a new pass."""
    return WebSocketCookie(TOKEN).cookie(secure=False).partition(";")[0]


def test_what_the_browser_is_told_about_it() -> None:
    pair, *attributes = WebSocketCookie(TOKEN).cookie(secure=False).split("; ")
    # No path: the browser takes the page's folder.
    assert attributes == [f"Max-Age={LIFETIME_S}", "HttpOnly", "SameSite=Strict"]
    assert TOKEN.decode() not in pair
    assert WebSocketCookie(TOKEN).cookie(secure=True).endswith("; Secure")


def test_a_new_one_is_valid(cookie: str) -> None:
    assert shows(cookie)
    assert shows(f"other=1;{cookie}; {cookie.partition('=')[0]}-x=2")


def test_it_lasts_as_long_as_the_browser_keeps_it(
    cookie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, NOW + LIFETIME_S - 1)
    assert shows(cookie)
    at(monkeypatch, NOW + LIFETIME_S)
    assert not shows(cookie)


def test_a_longer_life_is_not_believed(cookie: str) -> None:
    name, _, value = cookie.partition("=")
    expiry, _, signature = value.partition(".")
    for other in (str(int(expiry) + 1), f"0{expiry}", f"{expiry} ", "9" * 5000, "-1", "", "x", "²"):
        assert not shows(f"{name}={other}.{signature}"), other
    assert not shows(f"{name}={expiry}.{signature[:-1]}")
    assert not shows(f"{name}={expiry}.{signature[:-1]}{'0' if signature[-1] != '0' else '1'}")


def test_one_of_another_token_is_not_valid(cookie: str) -> None:
    name, _, value = WebSocketCookie(b"another-horse-battery").cookie(secure=False).partition("=")
    assert not shows(f"{name}={value}")
    assert not shows(f"{cookie.partition('=')[0]}={value}")


def test_a_service_on_another_port_does_not_replace_it(cookie: str) -> None:
    other = WebSocketCookie(b"another-horse-battery").cookie(secure=False).partition(";")[0]
    assert shows(f"{other}; {cookie}")
    assert shows(f"{other}; {cookie}", b"another-horse-battery")


@pytest.mark.parametrize("value", ["", ".", "..", "=", "1", "1.", ".ÿ", '"', "\\000", "a" * 60_000])
def test_what_is_none_is_not_valid(cookie: str, value: str) -> None:
    assert not shows(f"{cookie.partition('=')[0]}={value}")
    assert not shows(value)


def test_its_name_is_no_signature_of_an_expiry(cookie: str) -> None:
    name = cookie.partition("=")[0]
    signature = hmac.new(TOKEN, b"name", hashlib.sha256).hexdigest()
    assert signature.startswith(name.removeprefix("carracing-"))
    assert not shows(f"{name}=name.{signature}")


def test_without_cookies_there_is_none() -> None:
    assert not WebSocketCookie(TOKEN).is_valid(Headers({}))
