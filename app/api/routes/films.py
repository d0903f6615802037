"""Films: an address for every drive, and the way to that of a policy that is named."""

# Without postponed annotations: FastAPI reads those of the classes below, which are not global.
import math
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.api.conditional import NOT_MODIFIED, is_known, not_modified
from app.api.service import Service, policy_headers, version_headers
from app.parameters import Seed
from app.policies.names import NAMES, SERVED, PolicyName
from app.problems import invalid, problems
from app.rendering.film_order import FPS, FilmOrder
from training.environment.observation import EPISODE_FRAMES, SIMULATOR_FPS
from training.evaluation.film import WIDTH, FilmFormat

_FOR_EVER = "public, max-age=31536000, immutable"

_ADDRESS: dict[int | str, dict[str, Any]] = {
    307: {
        "description": "The film's own address.",
        "headers": {"Location": {"description": "Relative.", "schema": {"type": "string"}}},
    }
}


def _digits(value: object) -> object:
    """Refuse what Python reads as a number besides: a film has one address."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("it must consist of digits")
    return value


_Version = Annotated[
    str,
    Path(
        description="A policy's version, as `GET /policies` lists them. `served`, `latest`, `best` "
        "and `bundled` lead to that of the version which has the name now."
    ),
]
_FilmSeed = Annotated[Seed, BeforeValidator(_digits), Path(description="The first track.")]


def film_routes(service: Service) -> APIRouter:
    """The routes of films."""
    router = APIRouter(tags=["pictures"])
    settings = service.settings

    at_most = Field(
        ge=1,
        le=settings.film_max_steps,
        description="Simulator frames of an episode at most; 50 are a second.",
    )
    across = Field(
        ge=30,
        le=settings.film_max_width,
        description="In pixels; the height is two thirds of it.",
    )

    class FilmOptions(BaseModel):
        # Defaults of no setting, though one may refuse them: an address means one film for ever.
        model_config = ConfigDict(
            extra="forbid", use_attribute_docstrings=True, validate_default=True
        )

        episodes: Annotated[int, Field(ge=1, le=settings.film_max_episodes)] = 1
        """Each is driven on the seed that follows."""
        max_steps: Annotated[int, at_most] = EPISODE_FRAMES
        fps: Annotated[int, Field(ge=1, le=SIMULATOR_FPS)] = FPS
        """Pictures per second; the film plays at the simulator's speed at any rate."""
        width: Annotated[int, across] = WIDTH

    class FilmQuery(FilmOptions):
        seed: Seed = 0
        """The first episode's track."""
        policy: PolicyName = SERVED
        """Who drives: `served`, `latest`, `best`, `bundled`, or a version."""
        max_steps: Annotated[int, at_most] = settings.film_max_steps
        width: Annotated[int, across] = min(WIDTH, settings.film_max_width)

    defaults = FilmOptions.model_construct().model_dump()

    def check_size(options: FilmOptions, encoding: FilmFormat) -> None:
        pictures = options.episodes * math.ceil(options.max_steps * options.fps / SIMULATOR_FPS)
        pixels = pictures * options.width * round(options.width * 2 / 3)
        if pixels * (1 if encoding == "gif" else 3) > settings.film_max_pixels:
            raise invalid(
                "query.width",
                f"a film of {pictures} pictures this wide is too large; ask for fewer episodes, "
                "steps or pictures per second, or a smaller width",
            )

    async def lead_on(
        name: str, seed: int, given: FilmOptions, encoding: FilmFormat, folder: str
    ) -> Response:
        """To the film of the policy that has this name now."""
        service.policies.served()
        check_size(given, encoding)
        loaded = await service.policies.find(name)
        options = {
            name: value
            for name, default in defaults.items()
            if (value := getattr(given, name)) != default
        }
        # Relative: the service may be below a path that it does not know of.
        address = f"{folder}/{loaded.policy.version}/{seed}.{encoding}"
        headers = {
            "Location": f"{address}?{urlencode(options)}" if options else address,
            "Cache-Control": "no-cache",
            **policy_headers(loaded),
        }
        return Response(status_code=307, headers=headers)

    async def answer(
        request: Request, version: str, seed: int, options: FilmOptions, encoding: FilmFormat
    ) -> Response:
        if version in NAMES:
            return await lead_on(version, seed, options, encoding, "..")
        check_size(options, encoding)
        manifest, source = await service.policies.describe(version)
        order = FilmOrder(
            run=manifest.run,
            version=manifest.version,
            digest=manifest.digest,
            seed=seed,
            encoding=encoding,
            source=source,
            **options.model_dump(),
        )
        headers = {
            "ETag": order.etag,
            "Cache-Control": _FOR_EVER,
            **version_headers(manifest.version, source),
        }
        if is_known(request, order.etag):
            return not_modified(headers)
        async with service.rendering():
            content = await service.renderer.film(
                order, service.policies.served_as(version, source)
            )
        return Response(content, headers=headers, media_type=f"image/{encoding}")

    def describe(encoding: FilmFormat) -> dict[str, Any]:
        """How a film's own route is declared and documented."""
        content = {f"image/{encoding}": {"schema": {"type": "string", "format": "binary"}}}
        return {
            "response_class": Response,
            "responses": {
                200: {"description": "The film.", "content": content},
                **_ADDRESS,
                **NOT_MODIFIED,
                **problems(404, 422, 503),
            },
        }

    redirects: dict[str, Any] = {
        "status_code": 307,
        "response_class": Response,
        "responses": {**_ADDRESS, **problems(404, 422, 503)},
    }

    @router.head("/gif", include_in_schema=False, status_code=307)
    @router.get("/gif", **redirects, summary="Way to a film, GIF")
    async def gif(query: Annotated[FilmQuery, Query()]) -> Response:
        """Where the served policy, or the one that `policy` names, drives this track.

        The film's own address shows it for ever.
        """
        return await lead_on(query.policy, query.seed, query, "gif", "gif")

    @router.head("/webp", include_in_schema=False, status_code=307)
    @router.get("/webp", **redirects, summary="Way to a film, WebP")
    async def webp(query: Annotated[FilmQuery, Query()]) -> Response:
        """The same as `/gif`, in fewer bytes and more colours."""
        return await lead_on(query.policy, query.seed, query, "webp", "gif")

    @router.head("/gif/{policy}/{seed}.gif", include_in_schema=False)
    @router.get("/gif/{policy}/{seed}.gif", **describe("gif"), summary="Film, GIF")
    async def film_gif(
        request: Request,
        policy: _Version,
        seed: _FilmSeed,
        options: Annotated[FilmOptions, Query()],
    ) -> Response:
        """A policy driving a track. This address always shows the same film."""
        return await answer(request, policy, seed, options, "gif")

    @router.head("/gif/{policy}/{seed}.webp", include_in_schema=False)
    @router.get("/gif/{policy}/{seed}.webp", **describe("webp"), summary="Film, WebP")
    async def film_webp(
        request: Request,
        policy: _Version,
        seed: _FilmSeed,
        options: Annotated[FilmOptions, Query()],
    ) -> Response:
        """The same in fewer bytes and more colours."""
        return await answer(request, policy, seed, options, "webp")

    return router
