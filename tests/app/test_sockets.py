from __future__ import annotations

import pytest
from starlette.types import Receive, Scope, Send

from app.sockets import refuse_socket
from tests.app.conftest import knock

pytestmark = pytest.mark.anyio


async def test_a_long_reason_is_cut_to_what_a_frame_holds() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await refuse_socket(receive, send, 4400, "x" + "é" * 100)

    accepted, closed = await knock(app)
    assert accepted["type"] == "websocket.accept"
    assert (closed["type"], closed["code"]) == ("websocket.close", 4400)
    assert closed["reason"] == "x" + "é" * 61
