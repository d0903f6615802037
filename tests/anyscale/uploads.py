"""Where the working directory goes: a bucket of the cloud."""

from __future__ import annotations

from typing import Any

from tests.anyscale.account import CLOUD, ORGANIZATION
from tests.anyscale.bodies import internal, read
from tests.anyscale.operations import Operations, Request


class Uploads:
    """Gives addresses in a bucket that files are put to."""

    def __init__(self, bucket: str, endpoint: str) -> None:
        """Give addresses in this bucket of the S3 server at ``endpoint``."""
        self._bucket = bucket
        self._endpoint = endpoint
        self.uris: list[str] = []
        """Every address that was given, in turn."""

    def operations(self) -> Operations:
        """What can be asked."""
        path = f"/api/v2/clouds/{CLOUD}/generate_cloud_data_bucket_presigned_url"
        return {("POST", path): self._presign}

    def _presign(self, request: Request) -> Any:
        wanted = read(internal, "CloudDataBucketPresignedUrlRequest", request.body)
        path = f"{ORGANIZATION}/{CLOUD}/{wanted.file_type}/{wanted.file_name}"
        uri = f"s3://{self._bucket}/{path}"
        known = uri in self.uris
        self.uris.append(uri)
        return internal.CloudDataBucketPresignedUrlResponse(
            file_uri=uri,
            url=f"{self._endpoint}/{self._bucket}/{path}",
            file_exists=known,
            bucket_name=self._bucket,
            bucket_path=path,
            url_scheme="http",
        )
