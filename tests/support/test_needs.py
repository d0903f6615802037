from __future__ import annotations

import sys

import pytest

from tests.support.needs import lacks


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere HAProxy is not there")
def test_nothing_is_skipped_in_continuous_integration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no chromium"):
        lacks("there is no chromium")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no chromium"):
        lacks("there is no chromium")
