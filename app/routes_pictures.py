"""Films of the newest policy, and the training curve that it came from."""

# Without postponed annotations: FastAPI reads those of the class below, which is not global.
import hashlib
import math
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.conditional import is_known, not_modified
from app.films import FPS, FilmOrder
from app.policy_watcher import LoadedPolicy
from app.problems import invalid, problems
from app.renderer import CurveEncoding
from app.schemas import CurveData, Seed
from app.service import Service, policy_headers
from training.environment import SIMULATOR_FPS
from training.film import WIDTH, FilmFormat

CURVE_TYPES: dict[CurveEncoding, str] = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "json": "application/json",
}
_NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The caller has it already."}
}


def _headers(etag: str, loaded: LoadedPolicy) -> dict[str, str]:
    # The newest policy may be another one at the next request, so a copy is always asked about.
    return {"ETag": etag, "Cache-Control": "no-cache", **policy_headers(loaded)}


def film_routes(service: Service) -> APIRouter:
    """The routes of films."""
    router = APIRouter(tags=["pictures"])
    settings = service.settings

    class FilmQuery(BaseModel):
        model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

        seed: Seed = 0
        """The first episode's track; the next ones are driven on the seeds that follow."""
        episodes: Annotated[int, Field(ge=1, le=settings.film_max_episodes)] = 1
        max_steps: Annotated[int, Field(ge=1, le=settings.film_max_steps)] = settings.film_max_steps
        """Simulator frames of an episode at most; 50 are a second."""
        fps: Annotated[int, Field(ge=1, le=SIMULATOR_FPS)] = FPS
        """Pictures per second; the film plays at the simulator's speed at any rate."""
        width: Annotated[int, Field(ge=30, le=settings.film_max_width)] = min(
            WIDTH, settings.film_max_width
        )
        """In pixels; the height is two thirds of it."""

    def order_of(query: FilmQuery, encoding: FilmFormat, loaded: LoadedPolicy) -> FilmOrder:
        pictures = query.episodes * math.ceil(query.max_steps * query.fps / SIMULATOR_FPS)
        pixels = pictures * query.width * round(query.width * 2 / 3)
        if pixels * (1 if encoding == "gif" else 3) > settings.film_max_pixels:
            raise invalid(
                "query.width",
                f"a film of {pictures} pictures this wide is too large; ask for fewer episodes, "
                "steps or pictures per second, or a smaller width",
            )
        manifest = loaded.policy.manifest
        return FilmOrder(
            run=manifest.run,
            version=manifest.version,
            digest=manifest.digest,
            encoding=encoding,
            source=loaded.source,
            **query.model_dump(),
        )

    async def answer(request: Request, query: FilmQuery, encoding: FilmFormat) -> Response:
        loaded = service.loaded()
        order = order_of(query, encoding, loaded)
        media = f"image/{encoding}"
        headers = _headers(order.etag, loaded)
        if is_known(request, order.etag):
            return not_modified(headers)
        if request.method == "HEAD":
            return Response(headers=headers, media_type=media)
        async with service.rendering():
            content = await service.renderer.film(order)
        return Response(content, headers=headers, media_type=media)

    def describe(encoding: FilmFormat) -> dict[int | str, dict[str, Any]]:
        binary = {"schema": {"type": "string", "format": "binary"}}
        film = {"description": "The film.", "content": {f"image/{encoding}": binary}}
        return {200: film, **_NOT_MODIFIED, **problems(422, 503)}

    @router.head("/gif", include_in_schema=False)
    @router.get("/gif", response_class=Response, responses=describe("gif"), summary="Film, GIF")
    async def gif(request: Request, query: Annotated[FilmQuery, Query()]) -> Response:
        """The newest policy driving a track. The same query and policy give the same bytes."""
        return await answer(request, query, "gif")

    @router.head("/webp", include_in_schema=False)
    @router.get("/webp", response_class=Response, responses=describe("webp"), summary="Film, WebP")
    async def webp(request: Request, query: Annotated[FilmQuery, Query()]) -> Response:
        """The same as `/gif`, in fewer bytes and more colours."""
        return await answer(request, query, "webp")

    return router


class CurveQuery(BaseModel):
    """The query parameters of the curve's routes."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    finetune_at: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """The iteration at which to mark the switch of phases; left out, where it took place."""


def curve_routes(service: Service) -> APIRouter:
    """The routes of the training curve."""
    router = APIRouter(tags=["pictures"])

    async def answer(request: Request, query: CurveQuery, encoding: CurveEncoding) -> Response:
        loaded = service.loaded()
        manifest = loaded.policy.manifest
        async with service.rendering():
            content = await service.renderer.curve(
                manifest.run, manifest.trial, encoding, query.finetune_at, loaded.source
            )
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = _headers(etag, loaded)
        if is_known(request, etag):
            return not_modified(headers)
        return Response(content, headers=headers, media_type=CURVE_TYPES[encoding])

    def describe(encoding: CurveEncoding) -> dict[int | str, dict[str, Any]]:
        schema = {"schema": {"type": "string", "format": "binary"}}
        curve = {"description": "The curve.", "content": {CURVE_TYPES[encoding]: schema}}
        return {200: curve, **_NOT_MODIFIED, **problems(404, 422, 503)}

    @router.head("/curve.png", include_in_schema=False)
    @router.get("/curve.png", response_class=Response, responses=describe("png"))
    async def curve_png(request: Request, query: Annotated[CurveQuery, Query()]) -> Response:
        """Return per iteration of the trial that the policy came from, as a picture."""
        return await answer(request, query, "png")

    @router.head("/curve.svg", include_in_schema=False)
    @router.get("/curve.svg", response_class=Response, responses=describe("svg"))
    async def curve_svg(request: Request, query: Annotated[CurveQuery, Query()]) -> Response:
        """The same as a drawing."""
        return await answer(request, query, "svg")

    @router.head("/curve.json", include_in_schema=False)
    @router.get(
        "/curve.json",
        response_model=CurveData,
        responses=_NOT_MODIFIED | problems(404, 422, 503),
    )
    async def curve_json(request: Request, query: Annotated[CurveQuery, Query()]) -> Response:
        """The same as numbers."""
        return await answer(request, query, "json")

    return router
