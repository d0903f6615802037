"""The web page at ``/`` and its files."""

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

# Fixed: the mimetypes of machines differ.
_MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_SECURITY = {
    # 'self' in connect-src includes WebSockets of the same host.
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
    """A file of the page."""

    content: bytes
    media_type: str

    @classmethod
    def read(cls, path: Path) -> PageFile:
        """Read a file; raises KeyError for an unknown suffix."""
        return cls(path.read_bytes(), _MEDIA_TYPES[path.suffix])

    def answer(self, request: Request) -> Response:
        """Return the file, or 304 if the client has it."""
        # Files of different releases must not mix, so caches revalidate each time.
        return answer_if_changed(
            request, self.content, headers=_SECURITY, media_type=self.media_type
        )


def page_routes() -> APIRouter:
    """Return the routes of the page. All files are read here, once; no request reads the disk."""
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
        """A web page to watch the policy drive, to race it, and to see its training curve."""
        return index.answer(request)

    @router.head("/page/{file}", include_in_schema=False)
    @router.get("/page/{file}", include_in_schema=False)
    async def part(request: Request, file: str) -> Response:
        if file not in files:
            raise HTTPException(404)
        return files[file].answer(request)

    return router
