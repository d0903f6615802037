"""CarRacing with the same physics to the bit, and pictures drawn in a fraction of the time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d.car_racing import FPS, PLAYFIELD, STATE_H, STATE_W, CarRacing
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils import EzPickle
from numpy.typing import NDArray
from PIL import Image

from training.simulator.drawing.film_view import FilmView
from training.simulator.drawing.palette import GREY, RED_GREEN_BLUE, Ground
from training.simulator.drawing.shrinker import Shrinker
from training.simulator.drawing.view import View
from training.simulator.kernels import load_kernels
from training.simulator.physics.contacts import TileContacts
from training.simulator.physics.fast_car import FastCar
from training.simulator.physics.track import create_track


class FastCarRacing(CarRacing):
    """A drop-in for ``gymnasium.envs.box2d.CarRacing``.

    Tracks, physics, rewards and the ends of episodes are Gymnasium's to the bit. Pictures are
    drawn in another way, and are close to Gymnasium's: what the driver sees differs by a tenth of
    a grey level on average. If numba cannot run, they are drawn as Gymnasium draws them, slowly.

    Args:
        render_mode: None; ``"rgb_array"`` for pictures of (400, 600, 3) uint8; ``"state_pixels"``
            for what the driver sees, (96, 96, 3) uint8; or ``"human"`` for Gymnasium's window,
            which is drawn at Gymnasium's speed.
        verbose: Print how tracks are generated.
        lap_complete_percent: As in Gymnasium.
        domain_randomize: Draw other colours of road, field and grass at each reset.
        continuous: Steering, gas and brake (True), or five discrete actions.
        lazy: Let ``step`` and ``reset`` draw nothing; they return what ``look`` drew last.

    Raises:
        ValueError: Another ``render_mode``.
    """

    car: FastCar | None

    def __init__(
        self,
        render_mode: str | None = None,
        verbose: bool = False,
        lap_complete_percent: float = 0.95,
        domain_randomize: bool = False,
        continuous: bool = True,
        lazy: bool = False,
    ) -> None:
        modes = (None, *self.metadata["render_modes"])
        if render_mode not in modes:
            raise ValueError(f"render_mode {render_mode!r}: supported are {modes}")
        arguments = render_mode, verbose, lap_complete_percent, domain_randomize, continuous
        super().__init__(*arguments)
        EzPickle.__init__(self, *arguments, lazy)
        self.lazy = lazy
        self.state: NDArray[np.uint8] = np.zeros((STATE_H, STATE_W, 3), np.uint8)
        # Tiles are sensors, which Box2D's search for times of impact leaves out.
        self.world.continuousPhysics = False
        self._road_body: Any = None
        self._kernels = load_kernels()
        self._grey: View | None = None
        self._colour: View | None = None
        self._shrinker: Shrinker | None = None
        self._film = FilmView()
        # The score in the picture: that of the frame's end before the frame is paid for.
        self._score = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start an episode on a new track; see Gymnasium's ``reset``.

        With ``domain_randomize``, ``options={"randomize": False}`` keeps the colours.
        """
        gym.Env.reset(self, seed=seed)
        self._destroy()
        # A new one, since unpickling moves everything here from another environment.
        self._contacts = TileContacts(self)
        self.world.contactListener = self._contacts
        self.reward = self.prev_reward = 0.0
        self.tile_visited_count = 0
        self.t = 0.0
        self.new_lap = False
        self.road_poly: list[Any] = []
        if self.domain_randomize:
            self._reinit_colors((options or {}).get("randomize", True))  # type: ignore[no-untyped-call]
        self._ground = Ground.of(self.bg_color, self.grass_color, self.road_color)
        while not self._create_track():
            pass
        self.car = FastCar(self.world, *self.track[0][1:4], traces=self.render_mode is not None)
        self._contacts.start(self.road or [], self.car.wheels)
        return self.step(None)[0], {}

    def _create_track(self) -> bool:
        if self._kernels is None or self.verbose:
            closed = bool(super()._create_track())  # type: ignore[no-untyped-call]
            tiles: Iterable[Any] = self.road or ()
            for tile in tiles:
                tile.fixtures[0].userData = tile.idx
            return closed
        self._road_body = create_track(self, self._kernels.trace)
        return self._road_body is not None

    def _destroy(self) -> None:
        if self._road_body is None:
            super()._destroy()  # type: ignore[no-untyped-call]
        else:
            self.world.DestroyBody(self._road_body)
            self._road_body = None
            self.road = []  # type: ignore[assignment]
            if self.car is not None:
                self.car.destroy()  # type: ignore[no-untyped-call]

    def step(
        self, action: NDArray[np.float32] | int | None
    ) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Drive one frame of 1/50 s; see Gymnasium's ``step``."""
        car = self.car
        if car is None:
            raise ResetNeeded("call reset() before step()")
        if action is not None:
            self._act(car, action)
        car.step(1.0 / FPS)
        self.world.Step(1.0 / FPS, 6 * 30, 2 * 30)
        self.t += 1.0 / FPS
        self._score = self.reward
        if not self.lazy:
            self.state = self.look()

        if action is None:
            self._show_people()
            return self.state, 0, False, False, {}
        self.reward -= 0.1
        car.fuel_spent = 0.0
        step_reward = self.reward - self.prev_reward
        self.prev_reward = self.reward
        terminated = False
        info: dict[str, Any] = {}
        if self.tile_visited_count == len(self.track) or self.new_lap:
            terminated = True
            info["lap_finished"] = True
        place = car.hull.position
        if abs(place.x) > PLAYFIELD or abs(place.y) > PLAYFIELD:
            terminated = True
            info["lap_finished"] = False
            step_reward = -100
        self._show_people()
        return self.state, step_reward, terminated, False, info

    def _act(self, car: FastCar, action: NDArray[np.float32] | int) -> None:
        if self.continuous:
            car.drive(*np.asarray(action, np.float64).tolist())
            return
        if not self.action_space.contains(action):
            raise InvalidAction(f"action {action!r}: supported is {self.action_space}")
        car.drive(
            0.6 * (action == 1) - 0.6 * (action == 2), 0.2 * (action == 3), 0.8 * (action == 4)
        )

    def look(self) -> NDArray[np.uint8]:
        """What the driver sees now, the observation: (96, 96, 3) uint8."""
        self.state = self._draw(self._score)
        return self.state

    def look_grey(self, size: int) -> NDArray[np.uint8]:
        """What the driver sees now, grey, square and small: (size, size) uint8."""
        if self._kernels is None:
            grey = Image.fromarray(GREY.of(self._draw(self._score)))
            return np.asarray(grey.resize((size, size), Image.Resampling.BILINEAR))
        self._grey = self._grey or View(self._kernels, (GREY,))
        if self._shrinker is None or self._shrinker.size != size:
            self._shrinker = Shrinker(self._kernels, size)
        return self._shrinker.shrink(self._look(self._grey, self._score)[0])

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """The picture of the render mode; None without one, and of the window."""
        if self.render_mode == "rgb_array":
            return self._film.draw(self)
        if self.render_mode == "state_pixels":
            return self._draw(self.reward)
        super().render()  # type: ignore[no-untyped-call]  # the window, or Gymnasium's warning
        return None

    def _show_people(self) -> None:
        if self.render_mode == "human":
            self.render()

    def _draw(self, score: float) -> NDArray[np.uint8]:
        """What the driver sees with ``score`` in it: (96, 96, 3) uint8."""
        if self._kernels is None:
            return self._draw_with_pygame(score)
        self._colour = self._colour or View(self._kernels, RED_GREEN_BLUE)
        planes = np.rint(self._look(self._colour, score))
        return planes.transpose(1, 2, 0).astype(np.uint8, order="C")

    def _look(self, view: View, score: float) -> NDArray[np.float32]:
        if self.car is None:
            raise ResetNeeded("call reset() before looking")
        view.show(self.road_poly, self._contacts.touched, self._ground)
        return view.look(self.car, self.t, score)

    def _draw_with_pygame(self, score: float) -> NDArray[np.uint8]:
        if self.car is None:
            raise ResetNeeded("call reset() before looking")
        reward, self.reward = self.reward, score
        picture = super()._render("state_pixels")
        self.reward = reward
        return np.asarray(picture, np.uint8)

    def close(self) -> None:
        """Close the window and free the world's bodies; a reset makes them again.

        Box2D's Python bindings would keep the bodies of a world that is dropped: 85 kB.
        """
        super().close()  # type: ignore[no-untyped-call]
        self.screen = None
        self._destroy()
        self.car = None
        self._grey = self._colour = None
