from __future__ import annotations

import json
from typing import Any

import pytest

from app.driving.protocol import (
    Close,
    Controls,
    DriveClosedError,
    FramesQuery,
    LaneEnd,
    LaneStart,
    LiveEnd,
    LiveQuery,
    LiveStart,
    Pause,
    Reset,
    Seen,
    Track,
    change,
    read_frames_message,
    read_live_message,
    read_query,
    text_of,
)


def test_parameters_have_defaults() -> None:
    assert read_query({"mode": "frames"}) == FramesQuery(mode="frames", policy="served", seed=None)
    live = read_query({"mode": "live"})
    assert live == LiveQuery(mode="live", seed=0, policy="served", rival=None, width=480)


def test_parameters_are_read_from_text() -> None:
    assert read_query({"mode": "frames", "policy": "best", "seed": "7"}) == FramesQuery(
        mode="frames", policy="best", seed=7
    )
    live = read_query(
        {"mode": "live", "policy": "you", "rival": "a-1.b_2", "seed": "3", "width": "600"}
    )
    assert live == LiveQuery(mode="live", policy="you", rival="a-1.b_2", seed=3, width=600)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({}, "query.mode"),
        ({"mode": "both"}, "query.mode"),
        ({"mode": "live", "seed": "-1"}, "query.seed"),
        ({"mode": "frames", "seed": str(2**31)}, "query.seed"),
        ({"mode": "live", "width": "601"}, "query.width"),
        ({"mode": "live", "policy": "../x"}, "query.policy"),
        ({"mode": "live", "rival": ""}, "query.rival"),
        ({"mode": "frames", "rival": "best"}, "query.rival"),
        ({"mode": "live", "policy": "you", "rival": "you"}, "query"),
    ],
)
def test_other_parameters_are_refused_by_name(parameters: dict[str, str], field: str) -> None:
    with pytest.raises(DriveClosedError) as caught:
        read_query(parameters)
    assert caught.value.code == Close.PROTOCOL_ERROR
    assert caught.value.reason.startswith(f"{field}: ")


def test_messages_are_read() -> None:
    assert read_frames_message('{"type": "reset"}') == Reset(type="reset")
    for message in (
        Track(type="track", seed=4, policy="best"),
        Pause(type="pause", paused=True),
        Controls(type="controls", steering=-1, gas=0.5, brake=0),
        Seen(type="seen", frame=10**12),
    ):
        assert read_live_message(message.model_dump_json(exclude_unset=True)) == message


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("no", "message"),
        ("[]", "message"),
        ("[" * 4000, "message"),
        ("{}", "message.type"),
        ('{"type": "reset"}', "message.type"),
        ('{"type": "pause"}', "message.paused"),
        ('{"type": "seen", "frame": -1}', "message.frame"),
        ('{"type": "track", "seed": 1e99}', "message.seed"),
        ('{"type": "track", "width": 100}', "message.width"),
        ('{"type": "controls", "steering": NaN, "gas": 0, "brake": 0}', "message.steering"),
        ('{"type": "controls", "steering": 0, "gas": 0, "brake": 1.01}', "message.brake"),
    ],
)
def test_other_live_messages_are_refused_by_field(text: str, field: str) -> None:
    with pytest.raises(DriveClosedError) as caught:
        read_live_message(text)
    assert caught.value.code == Close.PROTOCOL_ERROR
    assert caught.value.reason.startswith(f"{field}: ")


def test_other_messages_about_frames_are_refused() -> None:
    with pytest.raises(DriveClosedError, match=r"message\.type: "):
        read_frames_message('{"type": "seen", "frame": 1}')


def test_a_reason_fits_into_its_frame() -> None:
    error = DriveClosedError(Close.NO_SUCH_POLICY, "…" * 100)
    assert error.reason == "…" * 41


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({}, {}),
        ({"seed": 9}, {"seed": 9}),
        ({"policy": "you"}, {"policy": "you"}),
        ({"rival": None}, {"rival": None}),
        ({"policy": "a", "rival": "you", "seed": 0}, {"policy": "a", "rival": "you", "seed": 0}),
    ],
)
def test_a_track_changes_what_it_names(given: dict[str, Any], changed: dict[str, Any]) -> None:
    query = LiveQuery(mode="live", seed=5, policy="latest", rival="best", width=300)
    message = read_live_message(json.dumps({"type": "track", **given}))
    assert isinstance(message, Track)
    assert change(query, message) == query.model_copy(update=changed)


def test_a_track_may_not_give_two_cars_to_one_driver() -> None:
    query = LiveQuery(mode="live", rival="you")
    with pytest.raises(DriveClosedError, match="policy and rival are both you"):
        change(query, Track(type="track", policy="you"))


def test_what_is_sent_has_the_documented_names() -> None:
    policy = LaneStart(driver="policy", policy="v", source="storage", iteration=3, frame_skip=4)
    lanes = [policy, LaneStart(driver="you")]
    start = LiveStart(seed=1, tiles=300, fps=25, width=480, height=320, lanes=lanes)
    assert json.loads(text_of(start)) == {
        "type": "start",
        "seed": 1,
        "tiles": 300,
        "fps": 25,
        "width": 480,
        "height": 320,
        "lanes": [
            {
                "driver": "policy",
                "policy": "v",
                "source": "storage",
                "iteration": 3,
                "frame_skip": 4,
            },
            {"driver": "you"},
        ],
    }
    end = LiveEnd(lanes=[LaneEnd(score=1.5, frames=2, lap_finished=True, tiles_left=0)])
    assert json.loads(text_of(end)) == {
        "type": "end",
        "lanes": [{"return": 1.5, "frames": 2, "lap_finished": True, "tiles_left": 0}],
    }
