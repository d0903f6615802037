from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.observations import JSON, NPY, MediaType, decode
from app.problems import ProblemError
from tests.app.conftest import npy, pictures
from training.environment import Pipeline, make_env, shrink, to_grey

PIPELINE = Pipeline()
MAX_BATCH = 8


def refused(content: bytes, media: MediaType, status: int, field: str, words: str) -> None:
    with pytest.raises(ProblemError) as caught:
        decode(content, media, PIPELINE, MAX_BATCH)
    assert caught.value.status == status, caught.value.detail
    assert [error.field for error in caught.value.errors] == [field]
    assert words in caught.value.detail


def as_json(observations: Any, **more: Any) -> bytes:
    return json.dumps({"observations": observations, **more}).encode()


@pytest.mark.parametrize("shape", [(84, 84, 4), (1, 84, 84, 4), (8, 84, 84, 4)])
@pytest.mark.parametrize("media", [JSON, NPY])
def test_observations_arrive_as_they_were_sent(shape: tuple[int, ...], media: MediaType) -> None:
    sent = pictures(*shape)
    content = npy(sent) if media == NPY else as_json(sent.tolist())
    got = decode(content, media, PIPELINE, MAX_BATCH)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, sent.reshape(-1, 84, 84, 4))


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8"])
def test_floats_of_any_width_and_order_become_float32(dtype: str) -> None:
    sent = np.random.default_rng(1).random((2, 84, 84, 4)).astype(dtype)
    got = decode(npy(sent), NPY, PIPELINE, MAX_BATCH)
    assert got.dtype == np.float32
    assert got.dtype.isnative
    np.testing.assert_array_equal(got, sent.astype(np.float32))


@pytest.mark.parametrize("dtype", ["|u1", "<i2", ">i4", ">u8", "<i8"])
def test_integers_of_any_width_and_order_become_uint8(dtype: str) -> None:
    sent = pictures(84, 84, 4).astype(dtype)
    got = decode(npy(sent), NPY, PIPELINE, MAX_BATCH)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got[0], sent)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_fortran_order_and_both_versions(version: tuple[int, int]) -> None:
    sent = pictures(3, 84, 84, 4)
    content = npy(np.asfortranarray(sent), version)
    assert b"'fortran_order': True" in content
    np.testing.assert_array_equal(decode(content, NPY, PIPELINE, MAX_BATCH), sent)


def test_json_dtype() -> None:
    black_and_white = (pictures(84, 84, 4) > 127).astype(int)
    as_pixels = decode(as_json(black_and_white.tolist()), JSON, PIPELINE, MAX_BATCH)
    assert as_pixels.dtype == np.uint8
    forced = as_json(black_and_white.tolist(), dtype="float32")
    as_floats = decode(forced, JSON, PIPELINE, MAX_BATCH)
    assert as_floats.dtype == np.float32
    assert as_floats.max() == 1
    halves = as_json((black_and_white / 2).tolist())
    assert decode(halves, JSON, PIPELINE, MAX_BATCH).dtype == np.float32
    refused(
        as_json((black_and_white / 2).tolist(), dtype="uint8"), JSON, 422, "observations", "uint8"
    )


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("media", [JSON, NPY])
def test_raw_frames_go_through_the_pipeline(batch: tuple[int, ...], media: MediaType) -> None:
    frames = pictures(*batch, 4, 96, 96, 3)
    content = npy(frames) if media == NPY else as_json(frames.tolist())
    got = decode(content, media, PIPELINE, MAX_BATCH)
    expected = [
        np.stack([shrink(to_grey(frame), 84) for frame in stack], axis=-1)
        for stack in frames.reshape(-1, 4, 96, 96, 3)
    ]
    np.testing.assert_array_equal(got, np.stack(expected))


def test_raw_frames_of_the_simulator_are_what_training_saw() -> None:
    env = make_env(PIPELINE, simulator="stock")
    observation, _ = env.reset(seed=4)
    frames = []
    for _ in range(4):
        observation, *_ = env.step(np.array([0.3, 0.5, 0], np.float32))
        frames.append(env.unwrapped.look())  # type: ignore[attr-defined]
    env.close()  # type: ignore[no-untyped-call]
    got = decode(npy(np.stack(frames)), NPY, PIPELINE, MAX_BATCH)
    np.testing.assert_array_equal(got[0], observation)


def test_sizes_come_from_the_policys_pipeline() -> None:
    pipeline = Pipeline(size=64, stack=3)
    got = decode(npy(pictures(3, 96, 96, 3)), NPY, pipeline, MAX_BATCH)
    assert got.shape == (1, 64, 64, 3)
    assert decode(npy(pictures(64, 64, 3)), NPY, pipeline, MAX_BATCH).shape == (1, 64, 64, 3)


def test_observations_win_where_frames_look_the_same() -> None:
    pipeline = Pipeline(size=96, stack=3)
    assert decode(npy(pictures(3, 96, 96, 3)), NPY, pipeline, MAX_BATCH).shape == (3, 96, 96, 3)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((84, 84, 3), np.uint8), "must be (84, 84, 4) or (N, 84, 84, 4)"),
        (np.zeros((4, 84, 84), np.uint8), "(4, 96, 96, 3) or (N, 4, 96, 96, 3)"),
        (np.zeros((), np.uint8), "the shape is ()"),
        (np.zeros((0, 84, 84, 4), np.uint8), "a batch of 0; it must hold from 1 to 8"),
        (np.zeros((9, 84, 84, 4), np.uint8), "a batch of 9; it must hold from 1 to 8"),
        (np.full((84, 84, 4), 256), "outside 0 to 255"),
        (np.full((84, 84, 4), -1), "outside 0 to 255"),
        (np.full((84, 84, 4), 1.01), "outside 0 to 1, or not finite"),
        (np.full((84, 84, 4), -0.01), "outside 0 to 1, or not finite"),
        (np.full((84, 84, 4), np.nan), "outside 0 to 1, or not finite"),
        (np.full((84, 84, 4), np.inf), "outside 0 to 1, or not finite"),
        (np.zeros((4, 96, 96, 3), np.float32), "raw frames must be integers"),
        (np.zeros((84, 84, 4), bool), "the dtype is '|b1'"),
        (np.zeros((84, 84, 4), np.complex64), "the dtype is '<c8'"),
        (np.zeros((84, 84, 4), "S4"), "the dtype is '|S4'"),
        (np.zeros((84, 84, 4), "<M8[s]"), "the dtype is"),
        (np.zeros((84, 84, 4), [("a", "u1")]), "the dtype is"),
    ],
)
def test_npy_of_the_wrong_kind(array: NDArray[Any], words: str) -> None:
    refused(npy(array), NPY, 422, "observations", words)


def test_one_bad_number_among_many_is_found() -> None:
    array = np.zeros((84, 84, 4), np.float32)
    array[40, 40, 2] = np.nan
    refused(npy(array), NPY, 422, "observations", "not finite")


class Bomb:
    """Goes off when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a request was unpickled",))


def test_pickles_are_never_opened() -> None:
    array = np.empty((84, 84, 4), object)
    array[:] = None
    array[0, 0, 0] = Bomb()
    refused(npy(array), NPY, 422, "observations", "'|O'")


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


@pytest.mark.parametrize(
    ("content", "status", "field", "words"),
    [
        (b"", 400, "body", "not JSON"),
        (b"{", 400, "body", "not JSON"),
        (b"\xff\xfe", 400, "body", "not JSON"),
        (b"[" * 100_000, 400, "body", "not JSON"),
        (b'{"observations": [NaN]}', 400, "body", "not JSON"),
        (b'{"observations": [Infinity]}', 400, "body", "not JSON"),
        (b"[]", 422, "body", "valid dictionary"),
        (b"{}", 422, "observations", "required"),
        (b'{"observations": []}', 422, "observations", "at least 1 item"),
        (b'{"observations": "abc"}', 422, "observations", "valid list"),
        (b'{"observations": [1], "pixels": 1}', 422, "pixels", "not permitted"),
        (b'{"observations": [1], "dtype": "float16"}', 422, "dtype", "'uint8' or 'float32'"),
        (b'{"observations": [[1, 2], [3]]}', 422, "observations", "equal lengths"),
        (b'{"observations": [[1], 2]}', 422, "observations", "equal lengths"),
        (b'{"observations": ["1"]}', 422, "observations", "something else"),
        (b'{"observations": [true]}', 422, "observations", "something else"),
        (b'{"observations": [null]}', 422, "observations", "something else"),
        (b'{"observations": [{}]}', 422, "observations", "something else"),
        (b'{"observations": [1' + b"0" * 400 + b"]}", 422, "observations", ""),
        (b'{"observations": [18446744073709551615, -1]}', 422, "observations", ""),
        (b'{"observations": [1]}', 422, "observations", "the shape is (1,)"),
        (b'{"observations": ' + b"[" * 60 + b"1" + b"]" * 60 + b"}", 422, "observations", "shape"),
        (b'{"observations": ' + b"[" * 99 + b"1" + b"]" * 99 + b"}", 422, "observations", ""),
    ],
)
def test_json_of_the_wrong_kind(content: bytes, status: int, field: str, words: str) -> None:
    refused(content, JSON, status, field, words)


def test_json_numbers_out_of_range() -> None:
    refused(as_json(np.full((84, 84, 4), 256).tolist()), JSON, 422, "observations", "0 to 255")
    refused(as_json(np.full((84, 84, 4), 1.5).tolist()), JSON, 422, "observations", "0 to 1")
    huge = as_json(np.full((84, 84, 4), 7).tolist()).replace(b"7", b"1e999", 1)
    refused(huge, JSON, 422, "observations", "")
