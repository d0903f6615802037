"""Swagger UI at ``/docs``, from installed files."""

from __future__ import annotations

from importlib.resources import as_file, files

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException

from app.api.routes.page import PageFile

_FILES = ("swagger-ui-bundle.js", "swagger-ui.css")


def docs_routes(title: str) -> APIRouter:
    """Return the routes of the API reference. All addresses are relative."""
    router = APIRouter(include_in_schema=False)
    script, style = _FILES
    html = get_swagger_ui_html(
        title=title,
        openapi_url="openapi.json",
        swagger_js_url=f"docs/{script}",
        swagger_css_url=f"docs/{style}",
        swagger_favicon_url="page/icon.svg",
    )
    with as_file(files("fastapi_offline") / "static") as folder:
        parts = {name: PageFile.read(folder / name) for name in _FILES}

    @router.head("/docs")
    @router.get("/docs")
    async def docs() -> Response:
        return html

    @router.head("/docs/{file}")
    @router.get("/docs/{file}")
    async def part(request: Request, file: str) -> Response:
        if file not in parts:
            raise HTTPException(404)
        return parts[file].answer(request)

    return router
