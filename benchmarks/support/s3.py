"""An S3 server on this machine, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pyarrow import fs

from benchmarks.support.running import free_port

BUCKET: Final = "s3://bucket"
_UP_S: Final = 30.0
_REGION: Final = "us-east-1"


def endpoint(port: int) -> str:
    """The address of what listens there on this machine, as AWS_ENDPOINT_URL has it."""
    return f"http://127.0.0.1:{port}"


@contextmanager
def s3_server() -> Iterator[int]:
    """The port of an S3 server with a bucket, of which this process's variables tell until left.

    Raises:
        OSError: It does not come up.
    """
    port = free_port()
    server = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    before = os.environ.copy()
    try:
        os.environ |= {
            "AWS_ENDPOINT_URL": endpoint(port),
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": _REGION,
        }
        os.environ.pop("AWS_ENDPOINT_URL_S3", None)
        _make_bucket(server, port)
        yield port
    finally:
        os.environ.clear()
        os.environ |= before
        server.terminate()
        server.wait()


def _make_bucket(server: subprocess.Popen[bytes], port: int) -> None:
    above = fs.S3FileSystem(
        region=_REGION, endpoint_override=endpoint(port), allow_bucket_creation=True
    )
    deadline = time.monotonic() + _UP_S
    while True:
        try:
            above.create_dir(BUCKET.partition("://")[2])
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
        else:
            return
