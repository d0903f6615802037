"""A signed cookie that authenticates the page's WebSocket.

Some browsers (WebKit) send the password of Basic authentication with HTTP requests, but not in the
handshake of a WebSocket. They do send cookies there.
"""

from __future__ import annotations

import hmac
import time
from typing import Final

from starlette.datastructures import Headers

LIFETIME_S: Final = 12 * 60 * 60


class WebSocketCookie:
    """Makes and checks cookies. A cookie holds its expiry time, signed with the token."""

    def __init__(self, token: bytes) -> None:
        self._token = token
        # The ports of a host share their cookies: each service uses a name of its own.
        self._name = f"carracing-{self._sign('name')[:16]}"

    def cookie(self, *, secure: bool) -> str:
        """A new cookie for ``Set-Cookie``; with ``secure`` browsers send it over TLS only."""
        expiry = str(int(time.time()) + LIFETIME_S)
        # Without a path, the browser uses the page's folder; a proxy may have added a prefix.
        parts = [
            f"{self._name}={expiry}.{self._sign_expiry(expiry)}",
            f"Max-Age={LIFETIME_S}",
            "HttpOnly",
            "SameSite=Strict",
        ]
        return "; ".join([*parts, "Secure"] if secure else parts)

    def is_valid(self, headers: Headers) -> bool:
        """Whether a request's headers hold a valid cookie."""
        cookies = (each.strip().partition("=") for each in headers.get("Cookie", "").split(";"))
        shown = next((value for name, _, value in cookies if name == self._name), "")
        expiry, _, signature = shown.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign_expiry(expiry).encode()):
            return False
        # The signature is ours, so this is a number, and a short one.
        return time.time() < int(expiry)

    def _sign_expiry(self, expiry: str) -> str:
        return self._sign(f"expiry {expiry}")

    def _sign(self, text: str) -> str:
        return hmac.new(self._token, text.encode(), "sha256").hexdigest()
