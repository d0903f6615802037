"""Send one request of any kind, check its response, and record both."""

from __future__ import annotations

import random
from urllib.parse import unquote

import httpx

from benchmarks.attacks.documented import Answer, Documented
from benchmarks.attacks.generated import Generated
from benchmarks.attacks.malice import Harm, Malice
from benchmarks.attacks.ordinary import Ordinary
from benchmarks.attacks.tally import Tally
from benchmarks.attacks.wire import NoAnswerError, line, wire


class Sender:
    """Sends to one service; whatever comes of it, nothing is raised."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        port: int,
        documented: Documented,
        ordinary: Ordinary,
        chance: random.Random,
        tally: Tally,
    ) -> None:
        """Get ready.

        Args:
            http: A client of the service.
            port: Of the service.
            documented: What answers are held against.
            ordinary: Asks what anybody would, and knows the right answers.
            chance: Draws what is asked and how harm is done.
            tally: Where it is noted.
        """
        self._http = http
        self._port = port
        self._documented = documented
        self._ordinary = ordinary
        self._chance = chance
        self._tally = tally

    async def ask(self, kind: str) -> None:
        """Send an ordinary request, and check its answer."""
        try:
            answer, fault = await self._ordinary.ask(self._chance)
        except (httpx.HTTPError, OSError) as error:
            answer, fault = "none", type(error).__name__
        self._tally.note(kind, answer, fault)

    async def send_generated(self, kind: str, made: Generated) -> None:
        """Send a request that schemathesis has made."""
        request = made.request
        try:
            response = await self._http.send(request)
        except httpx.HTTPError as error:
            self._tally.note(kind, "none", f"{request.method} {request.url}: {error!r}")
            return
        answer = Answer(response.status_code, dict(response.headers), response.content)
        fault = self._documented.fault(request.method, request.url.path, answer)
        # It takes a 503 for a fault of the service.
        if not fault and response.status_code != 503:
            fault = made.fault(response)
        about = f"{request.method} {str(request.url)[:80]}: {fault}" if fault else ""
        self._tally.note(kind, f"{response.status_code}", about)

    async def send(self, malice: Malice) -> None:
        """Send a request made by hand, which has its own kind."""
        try:
            async with line(self._port) as connection:
                connection.send(wire(malice))
                answer = await connection.answer(malice.method)
        except (NoAnswerError, OSError) as error:
            self._tally.note(malice.kind, "none", f"{malice.method} {malice.target[:80]}: {error}")
            return
        path = unquote(malice.target.partition("?")[0])
        fault = self._documented.fault(malice.method, path, answer)
        if not fault and answer.status not in (*malice.statuses, 503):
            fault = f"status {answer.status}; it must be one of {sorted(malice.statuses)}"
        about = f"{malice.method} {malice.target[:80]}: {fault}" if fault else ""
        self._tally.note(malice.kind, f"{answer.status}", about)

    async def harm(self, kind: str, harm: Harm) -> None:
        """Do harm over a connection or a drive."""
        try:
            answer, fault = await harm(self._port, self._chance)
        except Exception as error:  # noqa: BLE001
            # Also what goes wrong in another way than was foreseen is the service's doing.
            answer, fault = "none", f"{type(error).__name__}: {error}"
        self._tally.note(kind, answer, fault)
