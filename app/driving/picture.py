"""The binary message of a live drive: a picture and the state of the car."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import cv2

from training.environment.observation import Pixels

_HEADER: Final = struct.Struct("<BBHIffffffHHI")
_KIND: Final = 1
_OVER, _LAP_FINISHED = 1, 2
_JPEG_QUALITY: Final = 80


def jpeg(picture: Pixels) -> bytes:
    """Encode a picture, (height, width, 3) RGB or (height, width) grey, uint8, as JPEG."""
    ordered = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    _, encoded = cv2.imencode(".jpg", ordered, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return encoded.tobytes()


@dataclass(frozen=True)
class LivePicture:
    """A picture of one car, and the state of the car."""

    lane: int
    frame: int
    """Simulator frames driven so far."""
    over: bool
    """Whether this is the last picture of the car's episode."""
    lap_finished: bool
    steering: float
    gas: float
    brake: float
    speed: float
    """World units per second."""
    score: float
    """Return so far."""
    tiles_left: int
    tiles: int
    picture: bytes
    """The view from above, a JPEG."""
    view: bytes
    """What the policy sees, a JPEG; empty if it has not changed."""

    def pack(self) -> bytes:
        """Encode the message."""
        header = _HEADER.pack(
            _KIND,
            self.lane,
            _OVER * self.over | _LAP_FINISHED * self.lap_finished,
            self.frame,
            self.steering,
            self.gas,
            self.brake,
            self.speed,
            self.score,
            0.0,
            self.tiles_left,
            self.tiles,
            len(self.picture),
        )
        return b"".join((header, self.picture, self.view))

    @classmethod
    def unpack(cls, message: bytes) -> LivePicture:
        """Decode a message."""
        (_, lane, flags, frame, steering, gas, brake, speed, score, _, left, tiles, length) = (
            _HEADER.unpack_from(message)
        )
        end = _HEADER.size + length
        return cls(
            lane=lane,
            frame=frame,
            over=bool(flags & _OVER),
            lap_finished=bool(flags & _LAP_FINISHED),
            steering=steering,
            gas=gas,
            brake=brake,
            speed=speed,
            score=score,
            tiles_left=left,
            tiles=tiles,
            picture=message[_HEADER.size : end],
            view=message[end:],
        )
