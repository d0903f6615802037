"""The page at ``/`` and the files that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from app.api.conditional import NOT_MODIFIED, answer_if_changed
from app.problems import problems

FOLDER = Path(__file__).parents[2] / "page"
INDEX = "index.html"

# Not from the surroundings, whose tables of types differ between machines.
_MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_SECURITY = {
    # 'self' of connect-src is the WebSocket of the same host too.
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class PageFile:
    """A file of the page as it is answered."""

    content: bytes
    media_type: str

    @classmethod
    def read(cls, path: Path) -> PageFile:
        """Read it; KeyError for a kind of file that the page has none of."""
        return cls(path.read_bytes(), _MEDIA_TYPES[path.suffix])

    def answer(self, request: Request) -> Response:
        """The file, or 304 where the caller has it."""
        # Parts of different releases must not meet, so a copy is always asked about.
        return answer_if_changed(
            request, self.content, headers=_SECURITY, media_type=self.media_type
        )


def page_routes() -> APIRouter:
    """The routes of the page. Its few files are read here, once: no path is ever looked up."""
    router = APIRouter(tags=["status"])
    paths = [path for path in FOLDER.iterdir() if path.suffix in _MEDIA_TYPES]
    files = {path.name: PageFile.read(path) for path in paths}
    index = files.pop(INDEX)

    @router.head("/", include_in_schema=False)
    @router.get(
        "/",
        response_class=HTMLResponse,
        responses=NOT_MODIFIED | problems(),
        summary="Watch it drive",
    )
    async def page(request: Request) -> Response:
        """A page to watch it drive, to drive against it, and to watch it learn."""
        return index.answer(request)

    @router.head("/page/{file}", include_in_schema=False)
    @router.get("/page/{file}", include_in_schema=False)
    async def part(request: Request, file: str) -> Response:
        if file not in files:
            raise HTTPException(404)
        return files[file].answer(request)

    return router
