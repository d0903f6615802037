from __future__ import annotations

import traceback

import pytest

from app.settings import Settings, SettingsError, load_settings

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRACING_STORAGE", "s3://bucket/cars")
    monkeypatch.setenv("CARRACING_FILM_MAX_EPISODES", "2")
    monkeypatch.setenv("CARRACING_BUNDLED", "0")
    settings = load_settings()
    assert settings.root == "s3://bucket/cars"
    assert settings.film_max_episodes == 2
    assert not settings.bundled


def test_origins_are_parted_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRACING_CORS_ORIGINS", "https://a.example, HTTP://localhost:3000,")
    assert load_settings().cors_origins == ("https://a.example", "http://localhost:3000")
    monkeypatch.setenv("CARRACING_CORS_ORIGINS", "*")
    assert load_settings().cors_origins == ("*",)


@pytest.mark.parametrize(
    "origins",
    ["a.example", "https://a.example/", "https://*.example", "ftp://a.example", "null", "a b"],
)
def test_what_is_no_origin_is_refused(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    monkeypatch.setenv("CARRACING_CORS_ORIGINS", origins)
    with pytest.raises(SettingsError, match="CARRACING_CORS_ORIGINS"):
        load_settings()


@pytest.mark.parametrize(
    "token", ["short", "a" * 15, "with a space in it", "tab\tab\ttab\ttab\ttab"]
)
def test_a_token_that_protects_nothing_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("CARRACING_API_TOKEN", token)
    with pytest.raises(SettingsError, match=r"CARRACING_API_TOKEN.*16") as caught:
        load_settings()
    shown = "".join(traceback.format_exception(caught.value))
    assert "CARRACING_API_TOKEN" in shown
    assert token not in shown


def test_a_token_is_not_shown_where_other_settings_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CARRACING_API_TOKEN", "correct-horse-battery")
    monkeypatch.setenv("CARRACING_FILM_PENDING", "256")
    with pytest.raises(SettingsError, match="CARRACING_FILM_PENDING=256") as caught:
        load_settings()
    assert "battery" not in "".join(traceback.format_exception(caught.value))


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRACING_MAX_BATCH", "")
    assert load_settings().max_batch == Settings().max_batch


def test_unsafe_settings_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRACING_MAX_BATCH", "0")
    monkeypatch.setenv("CARRACING_POLL_INTERVAL_S", "soon")
    monkeypatch.setenv("CARRACING_FILM_MAX_STEPS", "1001")
    monkeypatch.setenv("CARRACING_BUNDLED", "maybe")
    monkeypatch.setenv("CARRACING_FOLLOW", "newest")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert "CARRACING_MAX_BATCH='0'" in message
    assert "CARRACING_POLL_INTERVAL_S='soon'" in message
    assert "CARRACING_BUNDLED='maybe'" in message
    assert "CARRACING_FILM_MAX_STEPS='1001'" in message
    assert "CARRACING_FOLLOW='newest'" in message
