"""``WS /drive``: drive the client's environment, or one that the service simulates."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.api.service import Service
from app.driving.connection import ClientConnection
from app.driving.drives import until_first
from app.driving.frames import FramesDrive
from app.driving.live import LiveDrive
from app.driving.protocol import Close, DriveClosedError, FramesQuery, read_query
from app.errors import (
    NoPolicyLoadedError,
    OverloadedError,
    PolicyNotFoundError,
    StorageUnavailableError,
)

logger = logging.getLogger(__name__)


def drive_routes(service: Service) -> APIRouter:
    """Return the route of drives."""
    router = APIRouter()
    compute = partial(service.compute, reads_json=False)

    async def run(socket: WebSocket) -> None:
        with service.drives.enter():
            query = read_query(socket.query_params)
            connection = ClientConnection(socket, service.settings.drive_idle_s)
            drive = (
                FramesDrive(connection, query, service.policies, compute)
                if isinstance(query, FramesQuery)
                else LiveDrive(connection, query, service.policies, service.simulation)
            )
            with service.meters.driving(query.mode):
                await until_first(drive.run(), service.drives.going_away())

    async def end(socket: WebSocket) -> DriveClosedError | None:
        """Run a drive; return why it is closed, or None if the client disconnected."""
        try:
            await run(socket)
        except DriveClosedError as closed:
            return closed
        except WebSocketDisconnect:
            return None
        except PolicyNotFoundError as error:
            return DriveClosedError(Close.NO_SUCH_POLICY, str(error))
        except (OverloadedError, NoPolicyLoadedError, StorageUnavailableError) as error:
            return DriveClosedError(Close.TRY_AGAIN, str(error))
        except Exception:
            logger.exception("a drive failed")
        return DriveClosedError(Close.INTERNAL_ERROR, "the service failed; its log says why")

    @router.websocket("/drive")
    async def drive(socket: WebSocket) -> None:
        # Accept before any check: browsers do not show the close code of a refused connection.
        await socket.accept()
        closed = await end(socket)
        if closed is not None:
            with suppress(WebSocketDisconnect):
                await socket.close(closed.code, closed.reason)

    return router
