from __future__ import annotations

import pytest

from app.observations import NPY
from tests.app.test_observations import refused


def with_header(header: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    length = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + length + header.encode("latin-1") + body


def header(shape: str, descr: str = "'|u1'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


ONE = bytes(84 * 84 * 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "first bytes"),
        (b"\x93NUMP", "first bytes"),
        (b"\x93NUMPY", "version"),
        (b"\x93NUMPY\x01\x00", "cut off"),
        (b"\x93NUMPY\x01\x00\xff", "cut off"),
        (b"\x93NUMPY\x01\x00\xff\x00{", "cut off or too long"),
        (with_header(header("(84, 84, 4)"), ONE, b"\x02\x00")[:11], "cut off"),
        (with_header(header("(84, 84, 4)"), ONE, b"\x03\x00"), "version"),
        (with_header(header("(84, 84, 4)") + " " * 2000, ONE), "too long"),
        (with_header("", ONE), "not a literal"),
        (with_header("__import__('os').abort()", ONE), "not a literal"),
        (with_header("(" * 500, ONE), "not a literal"),
        (with_header("-" * 1000 + "1", ONE), "not a literal"),
        (with_header("{'a': []", ONE), "not a literal"),
        (with_header("{[]: 1}", ONE), "not a literal"),
        (with_header("[1, 2]", ONE), "does not hold descr"),
        (with_header("{'descr': '|u1', 'shape': (84, 84, 4)}", ONE), "does not hold descr"),
        (with_header(header("[84, 84, 4]"), ONE), "shape is not a tuple"),
        (with_header(header("(84, 84, -4)"), ONE), "shape is not a tuple"),
        (with_header(header("(84, 84, True)"), ONE), "shape is not a tuple"),
        (with_header(header("(84.0, 84, 4)"), ONE), "shape is not a tuple"),
        (with_header(header("(84, 84, 4)", order="1"), ONE), "fortran_order"),
        (with_header(header("(84, 84, 4)"), ONE[:-1]), "announces 28224 bytes of numbers, 28223"),
        (with_header(header("(84, 84, 4)"), ONE + b"x"), "28225 came"),
        (with_header(header("(8, 84, 84, 4)"), ONE), "announces 225792 bytes"),
        (with_header(header("(84, 84, 4)", "'<f8'"), ONE), "announces 225792 bytes"),
    ],
)
def test_npy_that_lies_or_is_cut_off(content: bytes, words: str) -> None:
    refused(content, NPY, 400, "body", words)


@pytest.mark.parametrize(
    "shape", ["(1000000000000, 84, 84, 4)", "(84, 84, 4" + "0" * 200 + ")", "(1,) * 9", "()"]
)
def test_npy_that_announces_a_giant_costs_nothing(shape: str) -> None:
    content = with_header(header(shape), ONE)
    status, field = (400, "body") if "*" in shape else (422, "observations")
    refused(content, NPY, status, field, "")


@pytest.mark.parametrize("descr", ["'u1,u1'", "'<f16'", "'|V8'", "'O'", "[('a', '|O')]", "7"])
def test_npy_with_a_dtype_of_its_own(descr: str) -> None:
    refused(with_header(header("(84, 84, 4)", descr), ONE), NPY, 422, "observations", "the dtype")
