"""Measure how long a film takes, with plain libraries and with this project, and over HTTP.

    python -m benchmarks.service.film
    python -m benchmarks.service.film --rounds 1 --frames 80       a quick look

Films the bundled policy. The plain way is CarRacing-v3 with Gymnasium's wrappers and imageio's
encoder; both drive the same actions, with the network beside them, on one core. Over HTTP the whole
service responds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import cv2
import gymnasium as gym
import httpx
import imageio.v3
import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from PIL import Image

from app.policies.loading import load_bundled
from app.rendering.film_order import FPS
from benchmarks.support.running import OURS, running
from training.environment.observation import EPISODE_FRAMES
from training.environment.pipeline import RepeatAction, make_env
from training.evaluation.film import WIDTH, Film
from training.evaluation.rollout import Camera, Shot, drive
from training.policy.acting import Policy

Actions = NDArray[np.float32]
"""(decisions, 3) controls."""

_PARTS: Final = ("simulation", "drawing", "network", "encoding")
_CACHED: Final = 200


@dataclass(frozen=True)
class Options:
    """What is measured."""

    seed: int = 1_000_008
    """The first track; each round has its own."""
    rounds: int = 3
    frames: int = EPISODE_FRAMES
    """Simulator frames of a film at most."""


class Clock:
    """Seconds of processor time by part; what is inside of another part does not count there."""

    def __init__(self, spent: Mapping[str, float] | None = None) -> None:
        self.spent = dict(spent or dict.fromkeys(_PARTS, 0.0))
        self._part: str | None = None
        self._since = 0.0

    @contextmanager
    def during(self, part: str) -> Iterator[None]:
        """Count what happens inside as a part's."""
        around = self._part
        self._go_on_with(part)
        yield
        self._go_on_with(around)

    def _go_on_with(self, part: str | None) -> None:
        now = time.process_time()
        if self._part is not None:
            self.spent[self._part] += now - self._since
        self._part, self._since = part, now


class TimedDrawing(gym.Wrapper[Any, Any, Any, Any]):
    """Counts the drawing of pictures for people."""

    def __init__(self, env: gym.Env[Any, Any], clock: Clock) -> None:
        super().__init__(env)
        self._clock = clock

    def render(self) -> Any:
        """What the environment draws."""
        with self._clock.during("drawing"):
            return self.env.render()


@dataclass(frozen=True)
class Filmed:
    """A film, and what it took."""

    spent: dict[str, float]
    pictures: int
    size: int
    """In bytes."""


def _drive(
    env: gym.Env[Any, Any],
    seed: int,
    actions: Actions,
    decide: Callable[[Any], object],
    clock: Clock,
) -> None:
    with clock.during("simulation"):
        observation, _ = env.reset(seed=seed)
        for action in actions:
            with clock.during("network"):
                decide(observation)
            observation, *_ = env.step(action)
        env.close()  # type: ignore[no-untyped-call]


def plain(policy: Policy, seed: int, actions: Actions) -> tuple[Filmed, Filmed]:
    """The plain way, as large as the simulator draws and as small as ours."""
    clock, pictures = Clock(), list[NDArray[np.uint8]]()
    pipeline = policy.description.pipeline
    env: gym.Env[Any, Any] = TimedDrawing(gym.make("CarRacing-v3", render_mode="rgb_array"), clock)
    env = Camera(env, FPS, lambda shot: pictures.append(shot.picture))
    env = gym.wrappers.GrayscaleObservation(RepeatAction(env, pipeline.frame_skip))
    env = gym.wrappers.ResizeObservation(env, (pipeline.size, pipeline.size))
    env = gym.wrappers.FrameStackObservation(env, pipeline.stack)
    _drive(env, seed, actions, lambda stack: policy.act(stack.transpose(1, 2, 0)[None]), clock)

    small = Clock(clock.spent)
    with small.during("drawing"):
        size = (WIDTH, WIDTH * 2 // 3)
        shrunk = [np.asarray(Image.fromarray(picture).resize(size)) for picture in pictures]
    return _encode(pictures, clock), _encode(shrunk, small)


def _encode(pictures: list[NDArray[np.uint8]], clock: Clock) -> Filmed:
    with clock.during("encoding"):
        film = imageio.v3.imwrite(
            "<bytes>", pictures, extension=".gif", duration=1000 / FPS, loop=0
        )
    return Filmed(clock.spent, len(pictures), len(film))


def ours(policy: Policy, seed: int, actions: Actions) -> Filmed:
    """This project's."""
    clock, film = Clock(), Film()

    def shoot(shot: Shot) -> None:
        with clock.during("drawing"):
            film.add(shot)

    env = make_env(
        policy.description.pipeline,
        scaled_rewards=False,
        each_frame=lambda env: Camera(TimedDrawing(env, clock), FPS, shoot),
        render_mode="rgb_array",
    )
    _drive(env, seed, actions, lambda observation: policy.act(observation[None]), clock)
    with clock.during("encoding"):
        content = film.encode()
    return Filmed(clock.spent, len(film), len(content))


def film_all(options: Options) -> dict[str, list[Filmed]]:
    """Every way's films, alternating."""
    policy = load_bundled()
    films: dict[str, list[Filmed]] = {}
    for seed in range(options.seed, options.seed + options.rounds):
        episode = drive(policy, seed, simulator="fast", max_frames=options.frames)
        end = "a whole lap" if episode.lap_finished else "no whole lap"
        print(f"track {seed}: {episode.frames} frames, {end}, score {episode.score:.1f}")
        large, small = plain(policy, seed, episode.actions)
        films.setdefault("the plain way, 600×400", []).append(large)
        films.setdefault("the plain way, shrunk to 300×200", []).append(small)
        films.setdefault("ours, 300×200", []).append(ours(policy, seed, episode.actions))
    return films


def table(films: dict[str, list[Filmed]]) -> str:
    """The medians as Markdown."""
    lines = [f"| film | {' | '.join(_PARTS)} | in all | pictures | size |", "|---" * 8 + "|"]
    for name, rounds in films.items():
        parts = [median(each.spent[part] for each in rounds) for part in _PARTS]
        whole = median(sum(each.spent.values()) for each in rounds)
        lines.append(
            f"| {name} | {' | '.join(f'{part:.2f}' for part in parts)} | **{whole:.2f} s** "
            f"| {median(each.pictures for each in rounds):.0f} "
            f"| {median(each.size for each in rounds) / 1e6:.2f} MB |"
        )
    return "\n".join(lines)


def _seconds(client: httpx.Client, address: str, status: int, headers: dict[str, str]) -> float:
    begin = time.perf_counter()
    response = client.get(address, headers=headers)
    if response.status_code != status:
        raise ValueError(f"{address} was answered with {response.status_code}, not {status}")
    return time.perf_counter() - begin


def over_http(options: Options) -> None:
    """Ask the service for the same films, and print how long it takes."""
    with running(OURS) as server, httpx.Client(base_url=server.url, timeout=120) as client:
        query = f"max_steps={options.frames}"
        version = client.get("/policy").json()["version"]
        # Another film, so that what a process does once is done.
        client.get(f"/gif/{version}/0.gif?max_steps=40").raise_for_status()
        addresses = [
            f"/gif/{version}/{options.seed + number}.gif?{query}"
            for number in range(options.rounds)
        ]
        cold = [_seconds(client, address, 200, {}) for address in addresses]
        whole = client.get(addresses[0])
        known = {"If-None-Match": whole.headers["ETag"]}
        asked = {
            "cached": (200, {}),
            "known to the caller": (304, known),
        }
        print(f"\n| over HTTP | median of {options.rounds} films, or of {_CACHED} requests |")
        print("|---|---|")
        print(f"| cold | {median(cold):.2f} s |")
        for name, (status, headers) in asked.items():
            taken = [_seconds(client, addresses[0], status, headers) for _ in range(_CACHED)]
            print(f"| {name} | {1000 * median(taken):.1f} ms |")


def main() -> None:
    """Film the same laps both ways, then ask the service for them."""
    options = tyro.cli(Options, description=__doc__)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    films = film_all(options)
    print(f"\nseconds of one core's time, median of {options.rounds} laps, {FPS} pictures a second")
    print(f"(load of the machine: {load:.1f} before, {os.getloadavg()[0]:.1f} after)\n")
    print(table(films))
    over_http(options)


if __name__ == "__main__":
    main()
