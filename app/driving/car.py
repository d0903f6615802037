"""A car of a live drive: simulates it and encodes its pictures."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import cv2
import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing
from numpy.typing import NDArray

from app.driving.picture import LivePicture, jpeg
from app.driving.protocol import LaneEnd, LaneStart
from app.policies.loading import LoadedPolicy
from training.environment.observation import SIMULATOR_FPS, Pipeline, Pixels
from training.evaluation.rollout import Drive, PolicyDriver

FPS: Final = 25
"""Pictures per second of simulated time."""
FRAMES_PER_PICTURE: Final = SIMULATOR_FPS // FPS

_MANUAL_PIPELINE: Final = Pipeline(frame_skip=FRAMES_PER_PICTURE)


class ManualControls:
    """A driver that repeats the client's latest controls. Any thread may set them."""

    def __init__(self) -> None:
        self._controls = np.zeros(3, np.float32)

    def set(self, steering: float, gas: float, brake: float) -> None:
        """Set the controls: steering from -1 to 1, gas and brake from 0 to 1."""
        self._controls = np.array([steering, gas, brake], np.float32)

    def __call__(self, _: Pixels) -> NDArray[np.float32]:
        """Return the controls, (3,) float32, for any observation."""
        return self._controls


@dataclass(frozen=True)
class _Snapshot:
    """The state of the car at a frame."""

    picture: Pixels
    """(400, 600, 3), uint8 RGB."""
    frame: int
    controls: NDArray[np.float32]
    speed: float
    score: float
    tiles_left: int
    over: bool
    lap_finished: bool


class _SnapshotRecorder(gym.Wrapper[Any, Any, Any, Any]):
    """Records every second simulator frame and the last frame of an episode."""

    def __init__(self, env: gym.Env[Any, Any], taken: deque[_Snapshot]) -> None:
        super().__init__(env)
        self._snapshots = taken
        self._frame = 0
        self._score = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode and record its first frame."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._frame, self._score = 0, 0.0
        self._record(np.zeros(3, np.float32), over=False, lap_finished=False)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and record the frame if it is due."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._frame += 1
        self._score += float(reward)
        over = terminated or truncated
        if over or self._frame % FRAMES_PER_PICTURE == 0:
            self._record(action, over=over, lap_finished=bool(info.get("lap_finished", False)))
        return observation, reward, terminated, truncated, info

    def _record(self, controls: NDArray[np.float32], *, over: bool, lap_finished: bool) -> None:
        racing: CarRacing = self.env.unwrapped  # type: ignore[assignment]
        velocity = racing.car.hull.linearVelocity  # type: ignore[union-attr]
        self._snapshots.append(
            _Snapshot(
                picture=self.env.render(),  # type: ignore[arg-type]
                frame=self._frame,
                controls=controls,
                speed=math.hypot(velocity.x, velocity.y),
                score=self._score,
                tiles_left=len(racing.track) - racing.tile_visited_count,
                over=over,
                lap_finished=lap_finished,
            )
        )


class SimulatedCar:
    """A car that drives one episode on one track. It is not thread-safe."""

    def __init__(
        self, number: int, seed: int, driver: LoadedPolicy | ManualControls, size: tuple[int, int]
    ) -> None:
        """Build the track.

        Args:
            number: Its lane: 0, or 1 for the rival.
            seed: The track's seed.
            driver: The policy or the client's controls.
            size: (width, height) of the pictures, in pixels.
        """
        self._number = number
        self._size = size
        self._snapshots: deque[_Snapshot] = deque()
        self._encoded: deque[tuple[int, bytes]] = deque()
        self._loaded = driver if isinstance(driver, LoadedPolicy) else None
        self._drive = Drive(
            PolicyDriver(driver.policy) if isinstance(driver, LoadedPolicy) else driver,
            seed,
            pipeline=self._pipeline,
            simulator="fast",
            each_frame=lambda env: _SnapshotRecorder(env, self._snapshots),
        )
        self.tiles = self._drive.episode().tiles
        self._encode()

    @property
    def is_finished(self) -> bool:
        """Whether the episode has ended and all its pictures were returned."""
        return self._drive.over and not self._encoded

    @property
    def _pipeline(self) -> Pipeline:
        return (
            _MANUAL_PIPELINE if self._loaded is None else self._loaded.policy.description.pipeline
        )

    def start(self) -> LaneStart:
        """Return the car's part of the start message."""
        if self._loaded is None:
            return LaneStart(driver="you")
        return LaneStart(
            driver="policy",
            policy=self._loaded.ref.version,
            source=self._loaded.source,
            iteration=self._loaded.policy.manifest.iteration,
            frame_skip=self._pipeline.frame_skip,
        )

    def end(self) -> LaneEnd:
        """Return the car's part of the end message."""
        episode = self._drive.episode()
        return LaneEnd(
            score=episode.score,
            frames=episode.frames,
            lap_finished=episode.lap_finished,
            tiles_left=episode.tiles_missed,
        )

    def drive_to(self, frame: int) -> list[bytes]:
        """Drive up to a simulator frame; return the encoded pictures since the previous call."""
        while not self._drive.over and self._drive.frames < frame:
            self._drive.advance()
            self._encode()
        due: list[bytes] = []
        while self._encoded and self._encoded[0][0] <= frame:
            due.append(self._encoded.popleft()[1])
        return due

    def close(self) -> None:
        """Close the environment."""
        self._drive.close()

    def _encode(self) -> None:
        """Encode the snapshots of a decision; the newest includes what the policy sees."""
        while self._snapshots:
            snapshot = self._snapshots.popleft()
            steering, gas, brake = map(float, snapshot.controls)
            sees = self._loaded is not None and not self._snapshots
            message = LivePicture(
                lane=self._number,
                frame=snapshot.frame,
                over=snapshot.over,
                lap_finished=snapshot.lap_finished,
                steering=steering,
                gas=gas,
                brake=brake,
                speed=snapshot.speed,
                score=snapshot.score,
                tiles_left=snapshot.tiles_left,
                tiles=self.tiles,
                picture=jpeg(self._scaled(snapshot.picture)),
                view=jpeg(self._drive.observation[..., -1]) if sees else b"",
            ).pack()
            self._encoded.append((snapshot.frame, message))

    def _scaled(self, picture: Pixels) -> Pixels:
        # Down to half the size, linear interpolation uses every pixel, in a fifth of the time.
        linear = 2 * self._size[0] >= picture.shape[1]
        interpolation = cv2.INTER_LINEAR if linear else cv2.INTER_AREA
        return np.asarray(cv2.resize(picture, self._size, interpolation=interpolation), np.uint8)
