"""``POST /act``: actions for observations."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.api.observations import FORM, JSON, NPY, decode, media_type
from app.api.pictures import read_form
from app.api.schemas import ActBody, Actions, ActQuery
from app.api.service import Service, policy_headers
from app.problems import problems

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": (
            "Observations (size, size, stack) as training makes them, or the last raw frames "
            "(stack, 96, 96, 3) of CarRacing-v3, oldest first; one, or a batch with a leading "
            "axis. `GET /policy` returns the size and stack of the policy. Integers are "
            "pixels from 0 to 255, floats from 0 to 1."
        ),
        "content": {
            JSON: {"schema": ActBody.model_json_schema()},
            NPY: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "What `numpy.save` writes; a quarter of the size of JSON.",
                }
            },
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "frames": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "The last raw frames, oldest first, as PNG or JPEG.",
                        }
                    },
                    "required": ["frames"],
                }
            },
        },
    }
}


def act_routes(service: Service) -> APIRouter:
    """Return the route of queries."""
    router = APIRouter(tags=["act"])
    max_batch = service.settings.max_batch

    @router.post(
        "/act",
        response_model=Actions,
        responses=problems(400, 404, 408, 413, 415, 422, 503),
        openapi_extra=_BODY,
        summary="Act",
    )
    async def act(request: Request, query: Annotated[ActQuery, Query()]) -> Response:
        """Return actions; greedy, or sampled if `seed` is given.

        The served policy decides, or the one that `policy` names.
        """
        media = media_type(request)
        # app.middleware.admission has read it whole, within the limits.
        content = await read_form(request) if media == FORM else await request.body()
        # After the body has arrived: a newer policy may have been loaded meanwhile.
        loaded = await service.policies.find(query.policy)

        def decide() -> list[list[float]]:
            observations = decode(content, media, loaded.policy.manifest.pipeline, max_batch)
            actions: list[list[float]] = loaded.policy.act(observations, seed=query.seed).tolist()
            return actions

        actions = await service.compute(decide, reads_json=media == JSON)
        service.meters.acted(len(actions))
        answer = Actions(actions=actions, policy=loaded.policy.version, source=loaded.source)
        # A Response, so that FastAPI does not validate and copy it again.
        return Response(
            answer.model_dump_json(),
            headers={**policy_headers(loaded), "Cache-Control": "no-store"},
            media_type=JSON,
        )

    return router
