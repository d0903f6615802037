"""Bodies of ``POST /act`` that are not observations: what is answered, and which part is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.app.conftest import JSON, NPY, Bench, is_problem, npy, pictures
from tests.conftest import PublishPolicy

pytestmark = pytest.mark.anyio

SHAPE = (84, 84, 4)
ONE = bytes(84 * 84 * 4)
SEVENS = np.full(SHAPE, 7)


@pytest.fixture
async def bench(bench: Bench, publish_policy: PublishPolicy) -> Bench:
    publish_policy(bench.store)
    await bench.ready()
    return bench


async def refused(
    bench: Bench, content: bytes, media: dict[str, str], status: int, field: str
) -> str:
    """Assert that a body is refused for this field; the problem's detail."""
    response = await bench.client.post("/act", content=content, headers=media)
    kind = "bad-body" if status == 400 else "invalid"
    body = is_problem(response, status, kind)
    assert [error["field"] for error in body["errors"]] == [field], content[:100]
    return str(body["detail"])


def npy_file(header: str, numbers: bytes = ONE, version: bytes = b"\x01\x00") -> bytes:
    """An npy file with this header, true or not."""
    length = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + length + header.encode("latin-1") + numbers


def header(shape: str = "(84, 84, 4)", descr: str = "'|u1'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\x01\x00\xff\x00{",
        npy_file(header(), version=b"\x03\x00"),
        npy_file(header() + " " * 2000),
        npy_file("__import__('os').abort()"),
        npy_file("(" * 500),
        npy_file("{'descr': '|u1', 'shape': (84, 84, 4)}"),
        npy_file(header(order="1")),
        npy_file(header(), ONE[:-1]),
        npy_file(header(), ONE + b"x"),
        npy_file(header(descr="'<f8'")),
    ],
)
async def test_npy_that_cannot_be_read(bench: Bench, content: bytes) -> None:
    await refused(bench, content, NPY, 400, "body")


@pytest.mark.parametrize(
    "content",
    [
        npy_file(header("(84, 84, -4)")),
        npy_file(header("(84, 84, True)")),
        npy_file(header("(1000000000000, 84, 84, 4)")),
        npy_file(header("(84, 84, 4" + "0" * 200 + ")")),
        npy_file(header(descr="'O'")),
        npy_file(header(descr="[('a', '|O')]")),
        npy(np.zeros((), np.uint8)),
        npy(np.full(SHAPE, 256)),
        npy(np.full(SHAPE, -1)),
        npy(np.full(SHAPE, 1.01)),
        npy(np.full(SHAPE, np.inf)),
        npy(np.zeros((4, 96, 96, 3), np.float32)),
        npy(np.zeros(SHAPE, bool)),
        npy(np.zeros(SHAPE, np.complex64)),
    ],
)
async def test_npy_of_something_else(bench: Bench, content: bytes) -> None:
    await refused(bench, content, NPY, 422, "observations")


async def test_a_wrong_shape_is_told_the_right_ones(bench: Bench) -> None:
    detail = await refused(bench, npy(pictures(96, 96, 3)), NPY, 422, "observations")
    for shape in ("(96, 96, 3)", "(84, 84, 4)", "(4, 96, 96, 3)"):
        assert shape in detail


async def test_one_bad_number_among_many_is_found(bench: Bench) -> None:
    array = np.zeros(SHAPE, np.float32)
    array[40, 40, 2] = np.nan
    await refused(bench, npy(array), NPY, 422, "observations")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"observations": [NaN]}']
)
async def test_what_is_not_json(bench: Bench, content: bytes) -> None:
    await refused(bench, content, JSON, 400, "body")


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], "body"),
        ({}, "body"),
        ({"observations": []}, "observations"),
        ({"observations": "abc"}, "observations"),
        ({"observations": [1], "pixels": 1}, "pixels"),
        ({"observations": [1], "dtype": "float16"}, "dtype"),
        ({"observations": [[], 1]}, "observations"),
        ({"observations": np.full(SHAPE, 256).tolist()}, "observations"),
        ({"observations": np.full(SHAPE, 1.5).tolist()}, "observations"),
    ],
)
async def test_json_of_something_else(bench: Bench, document: Any, field: str) -> None:
    await refused(bench, json.dumps(document).encode(), JSON, 422, field)


def odd_elements() -> Iterator[bytes]:
    """Observations with something else in place of one number."""
    content = json.dumps({"observations": SEVENS.tolist()})
    head, tail = content[:70_000], content[70_000:]
    numbers = ('"1"', "true", "null", "[1]", "1, 1", "18446744073709551615", "1e999")
    for odd in (*numbers, "1" + "0" * 400):
        yield (head + tail.replace("7", odd, 1)).encode()


def odd_lists() -> Iterator[bytes]:
    """Observations with something else in place of one list."""
    others: tuple[Any, ...] = (7, [], {}, "7777")
    for odd in others:
        lists = SEVENS.tolist()
        lists[40][40] = odd
        yield json.dumps({"observations": lists}).encode()


@pytest.mark.parametrize("content", [*odd_elements(), *odd_lists()])
async def test_one_odd_element_among_many(bench: Bench, content: bytes) -> None:
    await refused(bench, content, JSON, 422, "observations")
