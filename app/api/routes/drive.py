"""``WS /drive``: closed-loop driving, of the client's environment or of the service's own."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.api.service import Service
from app.driving.drives import Line, until_first
from app.driving.frames import FramesDrive
from app.driving.live import LiveDrive
from app.driving.protocol import Close, DriveClosedError, FramesQuery, read_query
from app.policies.shelf import UnknownPolicyError
from app.rendering.films import BusyError
from training.store.policies import NoPolicyError

logger = logging.getLogger(__name__)


def drive_routes(service: Service) -> APIRouter:
    """The route of drives."""
    router = APIRouter()
    compute = partial(service.compute, reads_json=False)

    async def run(socket: WebSocket) -> None:
        with service.drives.enter():
            query = read_query(socket.query_params)
            line = Line(socket, service.settings.drive_idle_s)
            drive = (
                FramesDrive(line, query, service.shelf, compute)
                if isinstance(query, FramesQuery)
                else LiveDrive(line, query, service.shelf, service.simulation)
            )
            with service.meters.driving(query.mode):
                await until_first(drive.run(), service.drives.going_away())

    async def end(socket: WebSocket) -> DriveClosedError | None:
        """Why a drive ended; None where the client has left."""
        try:
            await run(socket)
        except DriveClosedError as closed:
            return closed
        except WebSocketDisconnect:
            return None
        except UnknownPolicyError as error:
            return DriveClosedError(Close.NO_SUCH_POLICY, str(error))
        except (BusyError, NoPolicyError) as error:
            return DriveClosedError(Close.TRY_AGAIN, str(error))
        except OSError as error:
            return DriveClosedError(Close.TRY_AGAIN, f"storage cannot be read: {error}")
        except Exception:
            logger.exception("a drive failed")
        return DriveClosedError(Close.UNFORESEEN, "something failed here; it is logged")

    @router.websocket("/drive")
    async def drive(socket: WebSocket) -> None:
        # Before anything can be wrong: browsers see the code of no connection that is refused.
        await socket.accept()
        closed = await end(socket)
        if closed is not None:
            with suppress(WebSocketDisconnect):
                await socket.close(closed.code, closed.reason)

    return router
