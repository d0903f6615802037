from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from app.api.observations import JSON, NPY, MediaType, decode
from app.problems import ProblemError
from tests.app.conftest import npy, pictures
from training.environment.observation import Pipeline
from training.environment.pipeline import make_env, shrink, to_grey

PIPELINE = Pipeline()
MAX_BATCH = 8


def refused(content: bytes, media: MediaType, status: int, field: str) -> None:
    with pytest.raises(ProblemError) as caught:
        decode(content, media, PIPELINE, MAX_BATCH)
    assert caught.value.status == status, caught.value.detail
    assert [error.field for error in caught.value.errors] == [field]


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
    halves = as_json((black_and_white / 2).tolist(), dtype="uint8")
    refused(halves, JSON, 422, "observations")


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


class Bomb:
    """Goes off when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a request was unpickled",))


def test_pickles_are_never_opened() -> None:
    array = np.empty((84, 84, 4), object)
    array[:] = None
    array[0, 0, 0] = Bomb()
    refused(npy(array), NPY, 422, "observations")


@pytest.mark.parametrize("copies", [1, 40])
def test_json_of_long_strings_costs_no_more_than_itself(copies: int) -> None:
    lists = np.full((84, 84, 4), "").tolist()
    lists[0][0][0] = "a" * 4000
    for observations in (["a" * 4000] + [""] * 50_000 * copies, lists):
        content = as_json(observations)
        tracemalloc.start()
        refused(content, JSON, 422, "observations")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10 * len(content) + 1_000_000
