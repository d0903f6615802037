"""One car of a live drive: simulated, pictured and packed for the wire."""

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

_BY_HAND: Final = Pipeline(frame_skip=FRAMES_PER_PICTURE)


class ManualControls:
    """A client at the wheel: what was last said holds. Any thread may say it."""

    def __init__(self) -> None:
        self._controls = np.zeros(3, np.float32)

    def set(self, steering: float, gas: float, brake: float) -> None:
        """Hold these from now on."""
        self._controls = np.array([steering, gas, brake], np.float32)

    def __call__(self, _: Pixels) -> NDArray[np.float32]:
        """The controls, (3,) float32."""
        return self._controls


@dataclass(frozen=True)
class _Snapshot:
    """A lane at some frame."""

    picture: Pixels
    """(400, 600, 3)."""
    frame: int
    controls: NDArray[np.float32]
    speed: float
    score: float
    tiles_left: int
    over: bool
    lap_finished: bool


class _Dashcam(gym.Wrapper[Any, Any, Any, Any]):
    """Takes a snapshot of every second simulator frame, and of an episode's last one."""

    def __init__(self, env: gym.Env[Any, Any], taken: deque[_Snapshot]) -> None:
        super().__init__(env)
        self._taken = taken
        self._frame = 0
        self._score = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode with a snapshot of its first frame."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._frame, self._score = 0, 0.0
        self._take(np.zeros(3, np.float32), over=False, lap_finished=False)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and take a snapshot where one is due."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._frame += 1
        self._score += float(reward)
        over = terminated or truncated
        if over or self._frame % FRAMES_PER_PICTURE == 0:
            self._take(action, over=over, lap_finished=bool(info.get("lap_finished", False)))
        return observation, reward, terminated, truncated, info

    def _take(self, controls: NDArray[np.float32], *, over: bool, lap_finished: bool) -> None:
        racing: CarRacing = self.env.unwrapped  # type: ignore[assignment]
        velocity = racing.car.hull.linearVelocity  # type: ignore[union-attr]
        self._taken.append(
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
    """One episode on one track. Everything in it is for one thread at a time."""

    def __init__(
        self, number: int, seed: int, driver: LoadedPolicy | ManualControls, size: tuple[int, int]
    ) -> None:
        """Put the car at the start.

        Args:
            number: Of the lane.
            seed: The track's.
            driver: Who drives.
            size: Of the pictures for people, (width, height) in pixels.
        """
        self._number = number
        self._size = size
        self._taken: deque[_Snapshot] = deque()
        self._packed: deque[tuple[int, bytes]] = deque()
        self._loaded = driver if isinstance(driver, LoadedPolicy) else None
        self._drive = Drive(
            PolicyDriver(driver.policy) if isinstance(driver, LoadedPolicy) else driver,
            seed,
            pipeline=self._pipeline,
            simulator="fast",
            each_frame=lambda env: _Dashcam(env, self._taken),
        )
        self.tiles = self._drive.episode().tiles
        self._pack()

    @property
    def over(self) -> bool:
        """Whether everything was driven and taken."""
        return self._drive.over and not self._packed

    @property
    def _pipeline(self) -> Pipeline:
        return _BY_HAND if self._loaded is None else self._loaded.policy.description.pipeline

    def start(self) -> LaneStart:
        """What is said of it at the start."""
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
        """What is said of it at the end."""
        episode = self._drive.episode()
        return LaneEnd(
            score=episode.score,
            frames=episode.frames,
            lap_finished=episode.lap_finished,
            tiles_left=episode.tiles_missed,
        )

    def until(self, frame: int) -> list[bytes]:
        """Drive up to a simulator frame; the pictures up to there that were not taken yet."""
        while not self._drive.over and self._drive.frames < frame:
            self._drive.advance()
            self._pack()
        due: list[bytes] = []
        while self._packed and self._packed[0][0] <= frame:
            due.append(self._packed.popleft()[1])
        return due

    def close(self) -> None:
        """Close the environment."""
        self._drive.close()

    def _pack(self) -> None:
        """Pack the snapshots of a decision; the newest shows what the policy sees there."""
        while self._taken:
            snapshot = self._taken.popleft()
            steering, gas, brake = map(float, snapshot.controls)
            sees = self._loaded is not None and not self._taken
            packed = LivePicture(
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
            self._packed.append((snapshot.frame, packed))

    def _scaled(self, picture: Pixels) -> Pixels:
        # Down to a half it misses no pixel, and takes a fifth of the time of averaging.
        enough = 2 * self._size[0] >= picture.shape[1]
        interpolation = cv2.INTER_LINEAR if enough else cv2.INTER_AREA
        return np.asarray(cv2.resize(picture, self._size, interpolation=interpolation), np.uint8)
