"""The service's settings, from ``CARRACING_…`` environment variables."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.limits import HEALTH_REQUESTS, LISTINGS, MAX_ONGOING_REQUESTS
from training.environment.observation import EPISODE_FRAMES
from training.store.storage import choose_root

PREFIX = "CARRACING_"
KIB = 1024
MIB = 1024 * KIB

ANY_ORIGIN: Final = "*"
_ORIGIN = re.compile(r"https?://[^\s/?#@,*]+", re.IGNORECASE)
_TOKEN = re.compile(r"[!-~]{16,}")


def _split(value: object) -> object:
    """``a, b`` as a variable says it → its parts."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin != ANY_ORIGIN and not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin!r} is not an origin; write https://HOST or https://HOST:PORT without a "
                "path, several separated by commas, or * for all"
            )
    return tuple(origin.lower() for origin in origins)


def _check_token(token: SecretStr) -> SecretStr:
    if not _TOKEN.fullmatch(token.get_secret_value()):
        raise ValueError(
            "it must have 16 or more ASCII letters, digits or signs, without spaces; "
            "`openssl rand -hex 32` makes one"
        )
    return token


class SettingsError(Exception):
    """Settings that are not valid; the message names every variable."""


class Settings(BaseSettings):
    """The service's settings. A field ``x_y`` is read from ``CARRACING_X_Y``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    storage: str | None = None
    """Where policies are published: a path, ``s3://…`` or ``gs://…``. None: see ``root``."""
    bundled: bool = True
    """Whether the bundled policy drives while storage has none. Otherwise no policy does."""
    bundled_folder: str | None = None
    """Folder of another policy to use as the bundled one, such as `python -m training.export`
    writes: a path, ``s3://…`` or ``gs://…``. None: the one in this repository."""
    poll_interval_s: Annotated[float, Field(ge=0.1, le=300)] = 2.0
    """Seconds between two checks of ``latest.json`` and ``best.json``."""
    follow: Literal["latest", "best"] = "latest"
    """Which policy is served: the latest, as training publishes them, or the one with the best
    validation score of all runs in storage."""
    max_body_bytes: Annotated[int, Field(ge=64 * KIB, le=256 * MIB)] = 8 * MIB
    """Largest body of a query; 64 observations of four raw frames are 6.8 MiB."""
    body_timeout_s: Annotated[float, Field(gt=0, le=300)] = 15.0
    """Longest time in seconds that a body may take to arrive."""
    max_batch: Annotated[int, Field(ge=1, le=1024)] = 64
    """Most observations in one query."""
    act_threads: Annotated[int, Field(ge=1, le=32)] = 2
    """Queries that are decoded and decided at the same time, each on one core. One more query
    may be decoded from JSON meanwhile."""
    act_pending: Annotated[int, Field(ge=1, le=1024)] = 64
    """Queries that are read, waiting or decided at once; more get 503."""
    film_max_episodes: Annotated[int, Field(ge=1, le=20)] = 5
    film_max_steps: Annotated[int, Field(ge=1, le=EPISODE_FRAMES)] = EPISODE_FRAMES
    """Simulator frames of an episode."""
    film_max_width: Annotated[int, Field(ge=30, le=600)] = 600
    """In pixels."""
    film_max_pixels: Annotated[int, Field(ge=10_000_000, le=4_000_000_000)] = 256_000_000
    """Pictures × width × height of a film, which is in memory until it is encoded: a byte for
    each pixel of a GIF, three for one of a WebP."""
    film_cache_bytes: Annotated[int, Field(ge=0, le=16 * 1024 * MIB)] = 256 * MIB
    """Size of the finished films that are kept: as much in memory, and below ``films/`` in the
    storage root if the service may write there; the oldest are deleted."""
    film_max_waiting: Annotated[int, Field(ge=1, le=256)] = 16
    """Different films that wait while one is rendered; more get 503."""
    film_pending: Annotated[int, Field(ge=1, le=1024)] = 128
    """Requests that wait for films and curves at once, equal ones included."""
    film_timeout_s: Annotated[float, Field(ge=1, le=3600)] = 100.0
    """Longest wait in seconds for a film or a curve. Must be below Serve's ``request_timeout_s``,
    which answers in plain text."""
    drives_max: Annotated[int, Field(ge=1, le=256)] = 16
    """Drives over WebSockets that are open at once; more are closed with 1013."""
    drive_idle_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Longest time that a drive stays open without a message from its client."""
    api_token: Annotated[SecretStr, AfterValidator(_check_token)] | None = None
    """Token that requests must send, except health probes; None: no authentication."""
    cors_origins: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_check_origins)
    ] = ()
    """Origins whose pages may use the service from a browser, besides its own; ``*`` is all."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_encoding: Literal["TEXT", "JSON"] = "TEXT"
    """Format of the log files of ``app.local``; service.yaml sets its own."""

    @model_validator(mode="after")
    def _leave_room_for_probes(self) -> Settings:
        wanted = {
            name: getattr(self, name) for name in ("act_pending", "film_pending", "drives_max")
        }
        room = MAX_ONGOING_REQUESTS - HEALTH_REQUESTS - LISTINGS
        if sum(wanted.values()) > room:
            named = ", ".join(f"{PREFIX}{name.upper()}={value}" for name, value in wanted.items())
            raise ValueError(
                f"{named} exceed what a replica holds beside health probes and listings; their sum "
                f"may be at most {room}"
            )
        return self

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
        faults = "; ".join(_describe(fault) for fault in error.errors(include_url=False))
        raise SettingsError(f"invalid settings: {faults}") from error


def _describe(fault: ErrorDetails) -> str:
    """One error in words. It names the value, unless that is a secret or all settings."""
    if not fault["loc"]:
        return fault["msg"]
    name = str(fault["loc"][0])
    value = "…" if name == "api_token" else repr(fault["input"])
    return f"{PREFIX}{name.upper()}={value}: {fault['msg']}"
