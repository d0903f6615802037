"""The filesystems of buckets, with bounded patience and the usual variables of their vendors."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from pyarrow import fs

from training.store.filesystems.s3 import below_a_prefix

CONNECT_S: Final = 2.0
REQUEST_S: Final = 3.0
"""Without a byte from S3, after which a request is made again."""
ATTEMPTS: Final = 3
"""Of a request to S3, with growing pauses: where the server hangs a read fails after some ten
seconds, and a write after thirty.

As many as pyarrow's default: a filesystem that was sent to another process has that again."""
GCS_RETRY_S: Final = 10
"""How long a request to Google's storage is repeated; pyarrow's default is fifteen minutes."""

_PARAMETERS: Final = frozenset("?#")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")


def open_bucket(
    scheme: str, location: str, environ: Mapping[str, str] | None = None
) -> fs.FileSystem:
    """The filesystem of an address, in which the location is a path.

    A bucket need not exist, and nothing is asked of the network, but for the region of an Amazon
    bucket where no variable says it.

    Args:
        scheme: ``s3`` or ``gs``.
        location: The bucket and, behind a slash, what is in front of all names in it.
        environ: Where the vendors' variables are read, by default this process's: for S3
            ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL``, ``AWS_REGION``, ``AWS_DEFAULT_REGION``
            and ``AWS_CA_BUNDLE``, for Google's storage ``CLOUD_STORAGE_EMULATOR_ENDPOINT``;
            credentials are read by the vendors' own code.

    Raises:
        ValueError: No bucket can have that name, what is behind it is no path, an endpoint is no
            address, or the file of certificates does not exist.
        OSError: The bucket's region cannot be found out.
    """
    environ = os.environ if environ is None else environ
    bucket, *folders = location.split("/")
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"{bucket!r} is not a valid bucket name")
    if not all(folders) or _PARAMETERS.intersection(location):
        raise ValueError(
            f"{location!r} has an empty part, or '?' or '#' in it; what a bucket needs besides its "
            "name is said by variables, as AWS_ENDPOINT_URL and AWS_REGION"
        )
    return _s3(bucket, environ) if scheme == "s3" else _gcs(environ)


def _s3(bucket: str, environ: Mapping[str, str]) -> fs.FileSystem:
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise ValueError(f"the endpoint {endpoint!r} does not begin with http:// or https://")
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
    if not region:
        # Servers other than Amazon's have the one region that is the default everywhere.
        region = "us-east-1" if endpoint else fs.resolve_s3_region(bucket)
    options: dict[str, Any] = {}
    if certificates := environ.get("AWS_CA_BUNDLE"):
        if not Path(certificates).is_file():
            raise ValueError(
                f"AWS_CA_BUNDLE is {certificates!r}, which is not a file; it must be the path of "
                "a file with certificates in PEM format"
            )
        options["tls_ca_file_path"] = certificates
    s3 = fs.S3FileSystem(
        region=region,
        endpoint_override=endpoint.rstrip("/") if endpoint else None,
        connect_timeout=CONNECT_S,
        request_timeout=REQUEST_S,
        # A small file is one request then, and no upload of parts that could be left unfinished.
        allow_delayed_open=True,
        # Copies to a bucket run in the threads that would write in the background, and wait for
        # them.
        background_writes=False,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        **options,
    )
    return below_a_prefix(s3)


def _gcs(environ: Mapping[str, str]) -> fs.GcsFileSystem:
    # The variable is Google's own, and an emulator knows no accounts.
    emulated = bool(environ.get("CLOUD_STORAGE_EMULATOR_ENDPOINT"))
    return fs.GcsFileSystem(anonymous=emulated, retry_time_limit=timedelta(seconds=GCS_RETRY_S))
