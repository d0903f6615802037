"""Films: a permanent address for each film, and redirects from names of policies."""

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
from training.evaluation.film import WIDTH, FilmFormat, check_format
from training.extras import MissingExtraError

_MEDIA_TYPES: dict[FilmFormat, str] = {
    "gif": "image/gif",
    "webp": "image/webp",
    "mp4": "video/mp4",
}
_FOR_EVER = "public, max-age=31536000, immutable"

_ADDRESS: dict[int | str, dict[str, Any]] = {
    307: {
        "description": "Redirect to the film's permanent address.",
        "headers": {"Location": {"description": "Relative.", "schema": {"type": "string"}}},
    }
}


def _digits(value: object) -> object:
    """Accept digits only, so that a film has one address."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("it must consist of digits")
    return value


_Version = Annotated[
    str,
    Path(
        description="A policy's version, as `GET /policies` lists them. `served`, `latest`, `best` "
        "and `bundled` redirect to the version that has the name now."
    ),
]
_FilmSeed = Annotated[Seed, BeforeValidator(_digits), Path(description="Seed of the first track.")]


def film_routes(service: Service) -> APIRouter:
    """Return the routes of films."""
    router = APIRouter(tags=["pictures"])
    settings = service.settings

    at_most = Field(
        ge=1,
        le=settings.film_max_steps,
        description="Longest episode in simulator frames; 50 are a second.",
    )
    across = Field(
        ge=30,
        le=settings.film_max_width,
        description="Width in pixels; the height is two thirds of it.",
    )

    class FilmOptions(BaseModel):
        # The defaults do not depend on settings: an address always shows the same film.
        model_config = ConfigDict(
            extra="forbid", use_attribute_docstrings=True, validate_default=True
        )

        episodes: Annotated[int, Field(ge=1, le=settings.film_max_episodes)] = 1
        """Episodes; each uses the next seed."""
        max_steps: Annotated[int, at_most] = EPISODE_FRAMES
        fps: Annotated[int, Field(ge=1, le=SIMULATOR_FPS)] = FPS
        """Pictures per second; the film always plays in real time."""
        width: Annotated[int, across] = WIDTH

    class FilmQuery(FilmOptions):
        seed: Seed = 0
        """Seed of the first track."""
        policy: PolicyName = SERVED
        """The driver: `served`, `latest`, `best`, `bundled`, or a version."""
        max_steps: Annotated[int, at_most] = settings.film_max_steps
        width: Annotated[int, across] = min(WIDTH, settings.film_max_width)

    defaults = FilmOptions.model_construct().model_dump()

    def check(options: FilmOptions, encoding: FilmFormat) -> None:
        try:
            check_format(encoding)
        except MissingExtraError as error:
            raise invalid("path", f"this service makes no MP4 films: {error}") from error
        pictures = options.episodes * math.ceil(options.max_steps * options.fps / SIMULATOR_FPS)
        pixels = pictures * options.width * round(options.width * 2 / 3)
        if pixels * (1 if encoding == "gif" else 3) > settings.film_max_pixels:
            raise invalid(
                "query.width",
                f"a film of {pictures} pictures of this width is too large; request fewer "
                "episodes, steps or pictures per second, or a smaller width",
            )

    async def redirect(
        name: str, seed: int, given: FilmOptions, encoding: FilmFormat, folder: str
    ) -> Response:
        """Redirect to the film of the policy that has this name now."""
        service.policies.served()
        check(given, encoding)
        loaded = await service.policies.find(name)
        options = {
            name: value
            for name, default in defaults.items()
            if (value := getattr(given, name)) != default
        }
        # Relative: the service may be below a path prefix.
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
            return await redirect(version, seed, options, encoding, "..")
        check(options, encoding)
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
                order, service.policies.served_files(version, source)
            )
        return Response(content, headers=headers, media_type=_MEDIA_TYPES[encoding])

    def describe(encoding: FilmFormat) -> dict[str, Any]:
        """Declaration and documentation of a film's route."""
        content = {_MEDIA_TYPES[encoding]: {"schema": {"type": "string", "format": "binary"}}}
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
    @router.get("/gif", **redirects, summary="Redirect to a film, GIF")
    async def gif(query: Annotated[FilmQuery, Query()]) -> Response:
        """Redirect to a film of the served policy, or of the one that `policy` names.

        The film's address always shows the same film.
        """
        return await redirect(query.policy, query.seed, query, "gif", "gif")

    @router.head("/webp", include_in_schema=False, status_code=307)
    @router.get("/webp", **redirects, summary="Redirect to a film, WebP")
    async def webp(query: Annotated[FilmQuery, Query()]) -> Response:
        """The same as `/gif` as WebP: fewer bytes and more colours."""
        return await redirect(query.policy, query.seed, query, "webp", "gif")

    @router.head("/mp4", include_in_schema=False, status_code=307)
    @router.get("/mp4", **redirects, summary="Redirect to a film, MP4")
    async def mp4(query: Annotated[FilmQuery, Query()]) -> Response:
        """The same as `/gif` as MP4, where the service has the extra `video`."""
        return await redirect(query.policy, query.seed, query, "mp4", "gif")

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
        """The same as WebP: fewer bytes and more colours."""
        return await answer(request, policy, seed, options, "webp")

    @router.head("/gif/{policy}/{seed}.mp4", include_in_schema=False)
    @router.get("/gif/{policy}/{seed}.mp4", **describe("mp4"), summary="Film, MP4")
    async def film_mp4(
        request: Request,
        policy: _Version,
        seed: _FilmSeed,
        options: Annotated[FilmOptions, Query()],
    ) -> Response:
        """The same as MP4 (H.264), where the service has the extra `video`.

        Its width and height are rounded down to even numbers.
        """
        return await answer(request, policy, seed, options, "mp4")

    return router
