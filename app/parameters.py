"""Types of request parameters that the HTTP API and the WebSocket protocol share."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

SEED_LIMIT: Final = 2**31 - 1

Seed = Annotated[int, Field(ge=0, le=SEED_LIMIT)]
