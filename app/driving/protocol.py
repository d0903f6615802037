"""The protocol of ``WS /drive``: parameters, text messages and close codes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated, Final, Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.middleware.websockets import close_reason
from app.parameters import Seed
from app.policies.names import SERVED, Source
from training.policy.name import Name

YOU: Final = "you"
"""The name of the client as a driver."""


class Close(IntEnum):
    """Close codes."""

    GOING_AWAY = 1001
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN = 1013
    PROTOCOL_ERROR = 4400
    NO_SUCH_POLICY = 4404
    IDLE = 4408


class DriveClosedError(Exception):
    """Closes a drive; the message is the reason that the client receives."""

    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = close_reason(reason)


class _FromClient(BaseModel):
    """Base of what a client sends."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FramesQuery(_FromClient):
    """Parameters of ``mode=frames``."""

    mode: Literal["frames"]
    policy: Name = SERVED
    seed: Seed | None = None
    """Sample decision k of an episode with ``seed + k``; if omitted, act greedily."""


class LiveQuery(_FromClient):
    """Parameters of ``mode=live``."""

    mode: Literal["live"]
    seed: Seed = 0
    """The track's seed."""
    policy: Name = SERVED
    """Driver of lane 0: a policy, or ``you``."""
    rival: Name | None = None
    """Driver of lane 1, if any."""
    width: Annotated[int, Field(ge=120, le=600)] = 480
    """Width of the pictures in pixels; the height is two thirds of it."""

    @pydantic.model_validator(mode="after")
    def _drives_one_car(self) -> Self:
        if self.policy == self.rival == YOU:
            raise ValueError(f"policy and rival are both {YOU}; only one of them may be")
        return self

    @property
    def drivers(self) -> list[str]:
        """The driver of each lane."""
        return [self.policy] if self.rival is None else [self.policy, self.rival]


class Reset(_FromClient):
    """Start a new episode."""

    type: Literal["reset"]


class Track(_FromClient):
    """Start a track. Omitted fields keep their values; a rival of null means no rival."""

    type: Literal["track"]
    seed: Seed = 0
    policy: Name = SERVED
    rival: Name | None = None


class Pause(_FromClient):
    """Pause or continue."""

    type: Literal["pause"]
    paused: bool


class Controls(_FromClient):
    """Controls of the client's car from now on."""

    type: Literal["controls"]
    steering: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
    gas: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    brake: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Seen(_FromClient):
    """The newest frame that the client has shown, for flow control."""

    type: Literal["seen"]
    frame: Annotated[int, Field(ge=0)]


LiveMessage = Track | Pause | Controls | Seen

_QUERY: TypeAdapter[FramesQuery | LiveQuery] = TypeAdapter(
    Annotated[FramesQuery | LiveQuery, Field(discriminator="mode")]
)
_FRAMES_MESSAGE: TypeAdapter[Reset] = TypeAdapter(Reset)
_LIVE_MESSAGE: TypeAdapter[LiveMessage] = TypeAdapter(
    Annotated[LiveMessage, Field(discriminator="type")]
)
_TAGS: Final = {"mode": "frames or live", "type": "track, pause, controls or seen"}


def read_query(parameters: Mapping[str, str]) -> FramesQuery | LiveQuery:
    """Parse the parameters of a connection; raises DriveClosedError."""
    try:
        return _QUERY.validate_python(dict(parameters))
    except pydantic.ValidationError as error:
        raise _protocol_error("query", error, "mode") from error


def read_frames_message(text: str) -> Reset:
    """Parse a text message of ``mode=frames``; raises DriveClosedError."""
    try:
        return _FRAMES_MESSAGE.validate_json(text)
    except pydantic.ValidationError as error:
        raise _protocol_error("message", error) from error


def read_live_message(text: str) -> LiveMessage:
    """Parse a text message of ``mode=live``; raises DriveClosedError."""
    try:
        return _LIVE_MESSAGE.validate_json(text)
    except pydantic.ValidationError as error:
        raise _protocol_error("message", error, "type") from error


def change(query: LiveQuery, track: Track) -> LiveQuery:
    """Return the parameters changed by a message; raises DriveClosedError."""
    given = track.model_dump(include=track.model_fields_set - {"type"})
    try:
        return LiveQuery.model_validate(query.model_dump() | given)
    except pydantic.ValidationError as error:
        raise _protocol_error("message", error) from error


def _protocol_error(
    where: str, error: pydantic.ValidationError, tag: str | None = None
) -> DriveClosedError:
    fault = error.errors(include_url=False)[0]
    place, message = fault["loc"], fault["msg"].removeprefix("Value error, ")
    if tag is not None:
        if fault["type"].startswith("union_tag"):
            place, message = ("", tag), f"it is missing or unknown; it must be {_TAGS[tag]}"
        # In a tagged union the location of a fault starts with the tag.
        place = place[1:]
    field = ".".join([where, *map(str, place)])
    return DriveClosedError(Close.PROTOCOL_ERROR, f"{field}: {message}")


class FramesStart(BaseModel):
    """Message: an episode starts."""

    type: Literal["start"] = "start"
    policy: str
    """Version of the policy of this episode."""
    source: Source
    frame_skip: int
    """Simulator frames for which the client repeats each action."""
    size: int
    stack: int


class LaneStart(BaseModel):
    """The driver of a lane; all fields but the first are for policies only."""

    driver: Literal["policy", "you"]
    policy: str | None = None
    source: Source | None = None
    iteration: int | None = None
    frame_skip: int | None = None


class LiveStart(BaseModel):
    """Message: a track starts."""

    type: Literal["start"] = "start"
    seed: int
    tiles: int
    fps: int
    """Pictures per second of simulated time, per lane."""
    width: int
    height: int
    lanes: list[LaneStart]


class LaneEnd(BaseModel):
    """Result of a lane's episode."""

    score: Annotated[float, Field(serialization_alias="return")]
    frames: int
    lap_finished: bool
    tiles_left: int


class LiveEnd(BaseModel):
    """Message: every car has finished."""

    type: Literal["end"] = "end"
    lanes: list[LaneEnd]


def text_of(message: FramesStart | LiveStart | LiveEnd) -> str:
    """Encode a message."""
    return message.model_dump_json(by_alias=True, exclude_none=True)
