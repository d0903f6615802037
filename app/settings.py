"""What can be set about the service, from ``CARRACING_…`` environment variables."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from training.environment import EPISODE_FRAMES
from training.storage import choose_root

PREFIX = "CARRACING_"
KIB = 1024
MIB = 1024 * KIB


class SettingsError(Exception):
    """Settings that the service refuses to start with; the message names every variable."""


class Settings(BaseSettings):
    """The service's settings. A field ``x_y`` is read from ``CARRACING_X_Y``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    storage: str | None = None
    """Where policies are published: a path, ``s3://…`` or ``gs://…``. None: see ``root``."""
    bundled: bool = True
    """Whether the bundled policy drives while storage has none; without it, nothing does."""
    poll_interval_s: Annotated[float, Field(ge=0.1, le=300)] = 2.0
    """Seconds between two looks at ``latest.json``."""
    max_body_bytes: Annotated[int, Field(ge=64 * KIB, le=256 * MIB)] = 8 * MIB
    """Largest body of a query; 64 observations of four raw frames are 6.8 MiB."""
    body_timeout_s: Annotated[float, Field(gt=0, le=300)] = 15.0
    """Longest time that a body may take to arrive: a slow one holds a place that others want."""
    max_batch: Annotated[int, Field(ge=1, le=1024)] = 64
    """Most observations in one query."""
    act_threads: Annotated[int, Field(ge=1, le=32)] = 2
    """Queries that are decoded and decided at the same time, each on one core. Besides, one
    whose body is JSON."""
    act_pending: Annotated[int, Field(ge=1, le=1024)] = 64
    """Queries that are read, waiting or decided at once; more are told to come back."""
    film_max_episodes: Annotated[int, Field(ge=1, le=20)] = 5
    film_max_steps: Annotated[int, Field(ge=1, le=EPISODE_FRAMES)] = EPISODE_FRAMES
    """Simulator frames of an episode."""
    film_max_width: Annotated[int, Field(ge=30, le=600)] = 600
    """In pixels."""
    film_max_pixels: Annotated[int, Field(ge=10_000_000, le=4_000_000_000)] = 256_000_000
    """Pictures × width × height of a film, which is in memory until it is encoded: a byte for
    each pixel of a GIF, three for one of a WebP."""
    film_cache_bytes: Annotated[int, Field(ge=0, le=16 * 1024 * MIB)] = 256 * MIB
    """Finished films that are kept for the next who asks."""
    film_max_waiting: Annotated[int, Field(ge=1, le=256)] = 16
    """Different films that wait while one is rendered; more are told to come back."""
    film_pending: Annotated[int, Field(ge=1, le=1024)] = 128
    """Requests that wait for films and curves at once, equal ones included."""
    film_timeout_s: Annotated[float, Field(ge=1, le=3600)] = 100.0
    """Longest wait for a film or a curve; below Serve's ``request_timeout_s``, which would answer
    without a problem's body."""
    drives_max: Annotated[int, Field(ge=1, le=256)] = 16
    """Drives over WebSockets that are open at once; more are told to come back."""
    drive_idle_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Longest time that a drive stays open without a message from its client."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def root(self) -> str:
        """The storage root, chosen as training chooses it."""
        return choose_root(self.storage)


def load_settings() -> Settings:
    """The settings of this process's environment.

    Raises:
        SettingsError: A variable is out of its bounds or unreadable.
    """
    try:
        return Settings()
    except pydantic.ValidationError as error:
        faults = "; ".join(
            f"{PREFIX}{'.'.join(map(str, fault['loc'])).upper()}={fault['input']!r}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        )
        raise SettingsError(f"the service's settings are refused: {faults}") from error
