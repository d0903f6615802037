"""A server on loopback that speaks S3, for what has to find a bucket."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

from pyarrow import fs

_KEY, _SECRET, _REGION = "key", "secret", "us-east-1"

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    endpoint: str

    @property
    def variables(self) -> dict[str, str]:
        """The environment in which AWS's libraries and pyarrow find it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_DEFAULT_REGION": _REGION,
        }

    def filesystem(self, **options: Any) -> fs.S3FileSystem:
        """What it holds, whatever the environment; a bucket is a folder at its top."""
        return fs.S3FileSystem(
            endpoint_override=self.endpoint,
            access_key=_KEY,
            secret_key=_SECRET,
            region=_REGION,
            allow_bucket_creation=True,
            **options,
        )


@contextmanager
def serve_s3(
    *, limit: Callable[[Application], Application] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[S3Server]:
    """An S3 without buckets.

    Args:
        limit: Wraps the server's application, see :func:`limited_to`.
        tls: The server's certificate; without one it speaks HTTP.
    """
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    application: Application = DomainDispatcherApplication(create_backend_app)
    server = make_server(
        "127.0.0.1",
        0,
        limit(application) if limit else application,
        threaded=True,
        request_handler=MotoRequestHandler,
        ssl_context=tls,
    )
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield S3Server(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def limited_to(bucket: str, prefix: str) -> Callable[[Application], Application]:
    """Answers 403 as S3 does for a key that may use and list only what is below a prefix.

    A missing object is a 403 too: S3 tells that it is missing only to keys that may list the whole
    bucket.
    """

    def limit(application: Application) -> Application:
        def limited(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            def deny() -> Iterable[bytes]:
                body = b"" if environ["REQUEST_METHOD"] == "HEAD" else _DENIED
                start("403 Forbidden", [("Content-Type", "application/xml")])
                return [body]

            below = environ["PATH_INFO"].removeprefix(f"/{bucket}").removeprefix("/")
            query = parse_qs(environ["QUERY_STRING"])
            lists = environ["REQUEST_METHOD"] == "GET" and not below
            named = query.get("prefix", [""])[0] if lists else below
            deletes = environ["REQUEST_METHOD"] == "POST" and "delete" in environ["QUERY_STRING"]
            if not named.startswith(prefix) and not deletes:
                return deny()
            answered: list[Any] = []
            content = application(environ, lambda *head: answered.append(head))
            if answered[0][0].startswith("404"):
                return deny()
            start(*answered[0])
            return content

        return limited

    return limit


_DENIED = (
    b"<?xml version='1.0' encoding='UTF-8'?>"
    b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
)
