from __future__ import annotations

import os

import pytest

from benchmarks.support.s3 import BUCKET, endpoint, s3_server
from training.store.storage import Storage


def test_a_bucket_is_there_and_variables_tell_of_it_until_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://elsewhere")
    before = os.environ.copy()
    with s3_server() as port:
        assert os.environ["AWS_ENDPOINT_URL"] == endpoint(port)
        assert "AWS_ENDPOINT_URL_S3" not in os.environ
        storage = Storage.open(f"{BUCKET}/root")
        storage.write("folder/file", b"content")
        assert storage.read("folder/file") == b"content"
    assert os.environ == before
