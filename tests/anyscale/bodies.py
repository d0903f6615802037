"""The bodies of Anyscale's HTTP API, by the models of its own SDK.

A model cannot be made without a field that it requires, so a stand-in that leaves one out fails by
itself; and what the command line sends is read by the types that it was written with.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

# The API below /api/v2 and the one below /ext/v0.
from anyscale.client import openapi_client as internal
from anyscale.sdk import anyscale_client as external

__all__ = ["encode", "external", "internal", "now", "read"]


def encode(answer: Any) -> Any:
    """An answer, made of models of either API, lists and dicts, as JSON has it."""
    return internal.ApiClient().sanitize_for_serialization(answer)


def read(api: ModuleType, kind: str, body: Any) -> Any:
    """A body as that API's model of this name; raises ValueError where a field is missing."""
    return api.ApiClient().deserialize(SimpleNamespace(data=json.dumps(body)), kind)


def now() -> datetime:
    """The time, as the API's dates have it."""
    return datetime.now(UTC)
