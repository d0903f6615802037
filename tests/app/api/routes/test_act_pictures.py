"""``POST /act`` with frames as PNG or JPEG."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import gymnasium as gym
import httpx
import numpy as np
import pytest
from PIL import Image

from tests.app.conftest import NPY, Bench, is_problem, npy, pictures
from tests.conftest import PublishPolicy

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(bench: Bench, publish_policy: PublishPolicy) -> Bench:
    publish_policy(bench.store)
    await bench.ready()
    return bench


def encoded(frame: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, kind)
    return file.getvalue()


def as_json(files: list[bytes], prefix: str = "") -> dict[str, list[str]]:
    return {"frames": [prefix + base64.b64encode(file).decode() for file in files]}


def as_form(files: list[bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("frames", ("frame", file)) for file in files]


async def by_arrays(bench: Bench, frames: np.ndarray) -> dict[str, object]:
    response = await bench.client.post("/act", content=npy(frames), headers=NPY)
    assert response.status_code == 200
    return dict(response.json())


@pytest.mark.parametrize("batch", [1, 3])
async def test_pictures_get_the_actions_of_their_pixels(bench: Bench, batch: int) -> None:
    frames = pictures(batch, 4, 96, 96, 3)
    expected = await by_arrays(bench, frames)
    files = [encoded(frame) for frame in frames.reshape(-1, 96, 96, 3)]
    for answer in (
        await bench.client.post("/act", json=as_json(files)),
        await bench.client.post("/act", json=as_json(files, "data:image/png;base64,")),
        await bench.client.post("/act", files=as_form(files)),
    ):
        assert answer.json() == expected


async def test_a_jpeg_of_a_real_frame_gets_nearly_the_same_action(bench: Bench) -> None:
    env = gym.make("CarRacing-v3")
    frame, _ = env.reset(seed=3)
    env.close()  # type: ignore[no-untyped-call]
    frames = np.stack([frame] * 4)
    file = encoded(frame, "JPEG")
    answer = await bench.client.post("/act", files=as_form([file] * 4))
    expected = await by_arrays(bench, frames)
    assert np.asarray(answer.json()["actions"]) == pytest.approx(
        np.asarray(expected["actions"]), abs=0.1
    )


def a_bomb() -> bytes:
    """A PNG of a few bytes that says it has 30,000 × 30,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


GOOD = encoded(np.zeros((96, 96, 3), np.uint8))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([GOOD] * 3, "there are 3 frames"),
        ([GOOD] * 5, "there are 5 frames"),
        ([GOOD] * 4 * 65, "up to 64"),
        ([GOOD, encoded(np.zeros((84, 84, 3), np.uint8)), GOOD, GOOD], "frame 2 has 84 × 84"),
        ([GOOD, GOOD, GOOD, a_bomb()], "frame 4 "),
        ([GOOD, GOOD, b"GIF89a", GOOD], "frame 3 is not a PNG or JPEG"),
        ([GOOD, GOOD, GOOD[:-30], GOOD], "frame 3 is not a PNG or JPEG"),
        ([encoded(np.zeros((96, 96), np.uint16)), GOOD, GOOD, GOOD], "frame 1 has mode I;16"),
    ],
)
async def test_what_is_no_frame_is_refused(bench: Bench, files: list[bytes], said: str) -> None:
    for answer in (
        await bench.client.post("/act", json=as_json(files)),
        await bench.client.post("/act", files=as_form(files)),
    ):
        problem = is_problem(answer, 422, "invalid")
        assert said in problem["detail"]
        assert [error["field"] for error in problem["errors"]] == ["frames"]


async def post_form(bench: Bench, content: bytes) -> httpx.Response:
    media = {"Content-Type": "multipart/form-data; boundary=b"}
    return await bench.client.post("/act", content=content, headers=media)


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"", 422, "invalid"),
        (b"no form", 400, "bad-body"),
        (b"--b--\r\n", 422, "invalid"),
        (b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--b--\r\n', 422, "invalid"),
    ],
)
async def test_a_bad_form_is_refused(bench: Bench, content: bytes, status: int, kind: str) -> None:
    is_problem(await post_form(bench, content), status, kind)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"frames": []},
        {"frames": ["no base64!"] * 4},
        {"frames": [1, 2, 3, 4]},
        {"frames": ["", "", "", ""], "observations": [1]},
    ],
)
async def test_json_has_either_observations_or_frames(bench: Bench, body: object) -> None:
    is_problem(await bench.client.post("/act", json=body), 422, "invalid")
