"""What is said over ``WS /drive``: parameters and text messages, and how it is closed."""

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
"""The driver who is the client."""


class Close(IntEnum):
    """Why a drive is closed."""

    GOING_AWAY = 1001
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN = 1013
    PROTOCOL_ERROR = 4400
    NO_SUCH_POLICY = 4404
    IDLE = 4408


class DriveClosedError(Exception):
    """Raised anywhere in a drive to close it; the message is the reason that the client gets."""

    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = close_reason(reason)


class _Given(BaseModel):
    """Something that a client gives."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FramesQuery(_Given):
    """The parameters of ``mode=frames``."""

    mode: Literal["frames"]
    policy: Name = SERVED
    seed: Seed | None = None
    """Sample decision k of an episode with ``seed + k``; left out, act greedily."""


class LiveQuery(_Given):
    """The parameters of ``mode=live``."""

    mode: Literal["live"]
    seed: Seed = 0
    """The track."""
    policy: Name = SERVED
    """Who drives in lane 0: a policy, or ``you``."""
    rival: Name | None = None
    """Who drives in lane 1, if anyone."""
    width: Annotated[int, Field(ge=120, le=600)] = 480
    """Of the pictures, in pixels; the height is two thirds of it."""

    @pydantic.model_validator(mode="after")
    def _drives_one_car(self) -> Self:
        if self.policy == self.rival == YOU:
            raise ValueError(f"policy and rival are both {YOU}; you drive one car")
        return self

    @property
    def drivers(self) -> list[str]:
        """Of each lane."""
        return [self.policy] if self.rival is None else [self.policy, self.rival]


class Reset(_Given):
    """Begin a new episode."""

    type: Literal["reset"]


class Track(_Given):
    """Begin anew; what is left out stays as it was, and a rival of null is nobody."""

    type: Literal["track"]
    seed: Seed = 0
    policy: Name = SERVED
    rival: Name | None = None


class Pause(_Given):
    """Stand still, or go on."""

    type: Literal["pause"]
    paused: bool


class Controls(_Given):
    """What the client's own car does from now on."""

    type: Literal["controls"]
    steering: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
    gas: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    brake: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Seen(_Given):
    """The newest frame that the client has shown."""

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
    """The parameters of a connection; raises DriveClosedError."""
    try:
        return _QUERY.validate_python(dict(parameters))
    except pydantic.ValidationError as error:
        raise _refused("query", error, "mode") from error


def read_frames_message(text: str) -> Reset:
    """A text message of ``mode=frames``; raises DriveClosedError."""
    try:
        return _FRAMES_MESSAGE.validate_json(text)
    except pydantic.ValidationError as error:
        raise _refused("message", error) from error


def read_live_message(text: str) -> LiveMessage:
    """A text message of ``mode=live``; raises DriveClosedError."""
    try:
        return _LIVE_MESSAGE.validate_json(text)
    except pydantic.ValidationError as error:
        raise _refused("message", error, "type") from error


def change(query: LiveQuery, track: Track) -> LiveQuery:
    """The parameters with what a message changes; raises DriveClosedError."""
    given = track.model_dump(include=track.model_fields_set - {"type"})
    try:
        return LiveQuery.model_validate(query.model_dump() | given)
    except pydantic.ValidationError as error:
        raise _refused("message", error) from error


def _refused(
    where: str, error: pydantic.ValidationError, tag: str | None = None
) -> DriveClosedError:
    fault = error.errors(include_url=False)[0]
    place, message = fault["loc"], fault["msg"].removeprefix("Value error, ")
    if tag is not None:
        if fault["type"].startswith("union_tag"):
            place, message = ("", tag), f"it is missing or not known; it must be {_TAGS[tag]}"
        # In a tagged union a fault's place begins with the tag.
        place = place[1:]
    field = ".".join([where, *map(str, place)])
    return DriveClosedError(Close.PROTOCOL_ERROR, f"{field}: {message}")


class FramesStart(BaseModel):
    """An episode begins."""

    type: Literal["start"] = "start"
    policy: str
    """Version of the policy that decides until its end."""
    source: Source
    frame_skip: int
    """Simulator frames that each action is to be held for."""
    size: int
    stack: int


class LaneStart(BaseModel):
    """Who drives in a lane; all but the first of a policy only."""

    driver: Literal["policy", "you"]
    policy: str | None = None
    source: Source | None = None
    iteration: int | None = None
    frame_skip: int | None = None


class LiveStart(BaseModel):
    """A track begins."""

    type: Literal["start"] = "start"
    seed: int
    tiles: int
    fps: int
    """Pictures per second of simulated time and lane."""
    width: int
    height: int
    lanes: list[LaneStart]


class LaneEnd(BaseModel):
    """How a lane's episode ended."""

    score: Annotated[float, Field(serialization_alias="return")]
    frames: int
    lap_finished: bool
    tiles_left: int


class LiveEnd(BaseModel):
    """Both lanes' episodes are over."""

    type: Literal["end"] = "end"
    lanes: list[LaneEnd]


def text_of(message: FramesStart | LiveStart | LiveEnd) -> str:
    """A message as it is sent."""
    return message.model_dump_json(by_alias=True, exclude_none=True)
