"""Hostile bodies of queries: wrong types, wrong lengths, too large."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.attacks.malice import JSON, NPY, Headers, Malice

SHAPE: Final = (84, 84, 4)


def hostile_bodies(max_body: int) -> Iterator[Malice]:
    """All of them; the largest body that is taken has so many bytes."""
    good = npy(np.zeros(SHAPE, np.uint8))
    for header in npy_headers():
        yield _act("npy headers", NPY, npy_file(header, bytes(84 * 84 * 4)), 400, 422)
        yield _act("npy headers", NPY, npy_file(header, b""), 400, 422)
    for array in bad_arrays():
        yield _act("npy numbers", NPY, npy(array), 422)
    for array in odd_arrays():
        yield _act("npy of any width and order", NPY, npy(array), 200)
    for body in (b"", good[:6], good[:9], good[:100], good[:-1], good + b"\x00", good * 2):
        yield _act("bodies cut short or too long", NPY, body, 400)
    for body in json_bodies():
        yield _act("JSON", JSON, body, 400, 422)
    picture = huge_png()
    for type_ in ("image/png", "", "application/pickle", "a" * 1000, "\xff"):
        yield _act("types of bodies", (("Content-Type", type_),), picture, 415)
    for type_ in ("multipart/form-data", "multipart/form-data; boundary=b"):
        yield _act("types of bodies", (("Content-Type", type_),), picture, 400)
    yield _act("types of bodies", NPY, picture, 400)
    yield _act("types of bodies", JSON, picture, 400)
    bomb = gzip.compress(bytes(16 * max_body))
    for encoding in ("gzip", "deflate", "br", "identity, gzip", "\xff", "chunked"):
        yield _act("types of bodies", (*NPY, ("Content-Encoding", encoding)), bomb, 415)
    zeros = ("Content-Length", "0" * 5000 + str(len(good)))
    yield _act("lengths", (*NPY, zeros), good, 200)
    yield _act("lengths", NPY, bytes(max_body + 1), 413)


def _act(kind: str, headers: Headers, body: bytes, *statuses: int) -> Malice:
    return Malice(kind, "POST", "/act", frozenset(statuses), headers, body)


def npy(array: NDArray[Any]) -> bytes:
    """An array as ``numpy.save`` writes it; objects are pickled."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npy_file(header: str, numbers: bytes) -> bytes:
    """A file with this header, true or not."""
    content = header.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content + numbers


def _header(shape: str = "(84, 84, 4)", descr: str = "'|u1'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"


def npy_headers() -> Iterator[str]:
    """Headers of npy files that are not to be believed."""
    for shape in (
        "(85, 84, 4)",
        "(1000000000,)",
        "(65536, 65536, 65536)",
        "(99999, 84, 84, 4)",
        f"(0x{'f' * 900},)",
        f"({'9' * 900}, 84, 84, 4)",
        "(1e400, 84, 4)",
        "(-1, 84, 84, 4)",
        "(True, 84, 84, 4)",
        "(0, 84, 84, 4)",
        "[84, 84, 4]",
        "()",
        "'84'",
        "None",
    ):
        yield _header(shape)
    for descr in (
        *("'|O'", "'<f4'", "'<f16'", "'|b1'", "'<c8'", "'|S4'", "'<U1'", "'<M8[s]'", "'|V4'"),
        *("'\\ud800'", "'<f4\\n'", "[('a', '<i4')]", "('|u1', (9, 9))", f"0x{'f' * 900}", "None"),
    ):
        yield _header(descr=descr)
    yield _header(order="0")
    yield _header()[:-1] + ", 'more': 1}"
    # Longer than such a header may be.
    yield _header() + " " * 65_000
    yield from (
        *("", "\x00", "{}", "{[]: 1}", "9" * 1000, "b'\xff'", "'\\N{no such name}'"),
        *("(" * 1000, "-" * 1000 + "1", "[" * 300 + "]" * 300, "{'descr': " * 60),
        *("__import__('os').system('true')", "(lambda: 0)()"),
    )


def bad_arrays() -> Iterator[NDArray[Any]]:
    """Whole arrays that are none of observations."""
    for value in (np.nan, np.inf, -np.inf, -0.5, 7):
        for dtype in ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8"):
            yield np.full(SHAPE, value, dtype)
    yield np.full(SHAPE, 1 + 1e-12)
    yield np.full(SHAPE, 256, "<u2")
    yield np.full(SHAPE, -1, ">i8")
    yield np.full(SHAPE, 2**64 - 1, "<u8")
    yield np.full(SHAPE, None, object)
    for dtype in ("|b1", "<c16", "|S1", "<U1"):
        yield np.zeros(SHAPE, dtype)
    yield np.zeros((4, 96, 96, 3), "<f4")
    yield np.zeros((96, 96, 3), "|u1")
    yield np.zeros((10_000, 1, 1, 1), "|u1")


def odd_arrays() -> Iterator[NDArray[Any]]:
    """Arrays of all types that are observations."""
    for dtype in ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8"):
        yield np.full(SHAPE, 0.5, dtype)
    for dtype in ("|u1", "<u2", ">u2", ">i4", "<i8", ">u8"):
        yield np.full(SHAPE, 255, dtype)
    yield np.full(SHAPE, 5e-324)
    yield np.zeros((4, 96, 96, 3), ">i2", order="F")


def json_bodies() -> Iterator[bytes]:
    """Bodies that say they are JSON of observations."""
    sevens = json.dumps(np.full(SHAPE, 7).tolist())
    yield from (
        *(b"", b"{", b"null", b"1", b'"a"', b"[1][1]", b"\x00" * 100, b"\xff\xfe"),
        *(b"[" * 100_000 + b"]" * 100_000, b'{"observations":' * 50_000),
        '{"observations": [1]}'.encode("utf-16"),
        b'\xef\xbb\xbf{"observations": [1]}',
        b'{"observations": [1]}\x00',
        b'{"observations": [1], "observations": [2]}',
        b'{"observations": [1], "\\ud800": 1}',
        b'{"observations": [1], "' + b"a" * 1_000_000 + b'": 1}',
        b"{" + b",".join(b'"%d": 1' % number for number in range(50_000)) + b"}",
        b'{"observations": [1], "dtype": "float16"}',
    )
    for inside in (
        *("[1e400]", "[1e99999999999999999999]", "[NaN]", "[-Infinity]", "[-0]", '["\\ud800"]'),
        *("{}", "[]", "[[], 1]", "[" * 100_000 + "]" * 100_000, "[" + "[]," * 100_000 + "[]]"),
        *("[" + "9" * 5000 + "]", "[0." + "1" * 100_000 + "]"),
        json.dumps(np.full(SHAPE, 1e308).tolist()),
        json.dumps(np.full((84, 84, 3), 1).tolist()),
        sevens.replace("7", "null", 1),
        sevens.replace("7", "9" * 4000, 1),
    ):
        yield f'{{"observations": {inside}}}'.encode()


def huge_png() -> bytes:
    """A picture of 100 megapixels in a few KiB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    size = struct.pack(">IIBBBBB", 10_000, 10_000, 1, 0, 0, 0, 0)
    # A bit for each pixel, and a byte for each row's filter.
    rows = zlib.compress(bytes(1251 * 10_000), 9)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", size) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
