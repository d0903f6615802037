"""``GET /curve.*``: the training curve of the served policy's trial."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.api.conditional import NOT_MODIFIED, answer_if_changed
from app.api.schemas import CurveData
from app.api.service import Service, policy_headers
from app.problems import problems
from app.rendering.renderer import CurveEncoding, CurveOrder

CURVE_TYPES: dict[CurveEncoding, str] = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "json": "application/json",
}


class CurveQuery(BaseModel):
    """The query parameters of the curve."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    finetune_at: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """The iteration at which to mark the change of phase; default: where it took place."""


def curve_routes(service: Service) -> APIRouter:
    """Return the routes of the training curve."""
    router = APIRouter(tags=["pictures"])

    async def answer(request: Request, query: CurveQuery, encoding: CurveEncoding) -> Response:
        loaded = service.policies.served()
        manifest = loaded.policy.manifest
        async with service.rendering():
            content = await service.renderer.curve(
                CurveOrder(
                    run=manifest.run,
                    trial=manifest.trial,
                    encoding=encoding,
                    finetune_at=query.finetune_at,
                    source=loaded.source,
                )
            )
        return answer_if_changed(
            request, content, headers=policy_headers(loaded), media_type=CURVE_TYPES[encoding]
        )

    def describe(encoding: CurveEncoding) -> dict[int | str, dict[str, Any]]:
        schema = {"schema": {"type": "string", "format": "binary"}}
        curve = {"description": "The curve.", "content": {CURVE_TYPES[encoding]: schema}}
        return {200: curve, **NOT_MODIFIED, **problems(404, 422, 503)}

    @router.head("/curve.png", include_in_schema=False)
    @router.get("/curve.png", response_class=Response, responses=describe("png"))
    async def curve_png(request: Request, query: Annotated[CurveQuery, Query()]) -> Response:
        """Training curve of the served policy's trial: return per iteration, as PNG."""
        return await answer(request, query, "png")

    @router.head("/curve.svg", include_in_schema=False)
    @router.get("/curve.svg", response_class=Response, responses=describe("svg"))
    async def curve_svg(request: Request, query: Annotated[CurveQuery, Query()]) -> Response:
        """The same as SVG."""
        return await answer(request, query, "svg")

    @router.head("/curve.json", include_in_schema=False)
    @router.get(
        "/curve.json",
        response_model=CurveData,
        responses=NOT_MODIFIED | problems(404, 422, 503),
    )
    async def curve_json(request: Request, query: Annotated[CurveQuery, Query()]) -> Response:
        """The same as JSON."""
        return await answer(request, query, "json")

    return router
