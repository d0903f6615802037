"""A pass for the page's WebSocket, in a cookie.

Some browsers (WebKit) show Basic's password wherever HTTP asks for it, and never in a WebSocket's
handshake. Cookies they send there.
"""

from __future__ import annotations

import hmac
import time
from typing import Final

from starlette.datastructures import Headers

LIFETIME_S: Final = 12 * 60 * 60


class SocketPass:
    """Makes passes and checks them: a pass says how long it is valid, signed with the token."""

    def __init__(self, token: bytes) -> None:
        self._token = token
        # The ports of a host share their cookies: a service beside this one has its own.
        self._name = f"carracing-{self._sign('name')[:16]}"

    def cookie(self, *, secure: bool) -> str:
        """A new pass, as ``Set-Cookie`` says it; ``secure``: never to be sent without TLS."""
        expiry = str(int(time.time()) + LIFETIME_S)
        # Its path is left out, and so the page's folder: only the browser knows where a proxy has
        # put that.
        parts = [
            f"{self._name}={expiry}.{self._sign_expiry(expiry)}",
            f"Max-Age={LIFETIME_S}",
            "HttpOnly",
            "SameSite=Strict",
        ]
        return "; ".join([*parts, "Secure"] if secure else parts)

    def is_shown(self, headers: Headers) -> bool:
        """Whether a request's headers show a valid one."""
        cookies = (each.strip().partition("=") for each in headers.get("Cookie", "").split(";"))
        shown = next((value for name, _, value in cookies if name == self._name), "")
        expiry, _, signature = shown.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign_expiry(expiry).encode()):
            return False
        # What is signed was written above: it is a number, and a short one.
        return time.time() < int(expiry)

    def _sign_expiry(self, expiry: str) -> str:
        return self._sign(f"expiry {expiry}")

    def _sign(self, text: str) -> str:
        return hmac.new(self._token, text.encode(), "sha256").hexdigest()
