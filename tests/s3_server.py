"""A server on loopback that speaks S3, for what has to find a bucket."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyarrow import fs

_KEY, _SECRET, _REGION = "key", "secret", "us-east-1"


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

    def filesystem(self) -> fs.S3FileSystem:
        """What it holds, whatever the environment; a bucket is a folder at its top."""
        return fs.S3FileSystem(
            endpoint_override=self.endpoint,
            access_key=_KEY,
            secret_key=_SECRET,
            region=_REGION,
            allow_bucket_creation=True,
        )


@contextmanager
def serve_s3() -> Iterator[S3Server]:
    """An S3 without buckets."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()
