"""Valid and invalid requests that schemathesis generates from the service's OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase, strategies
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Err
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from benchmarks.attacks.hostile_bodies import bad_arrays, npy, npy_file, npy_headers, odd_arrays

Case = schemathesis.Case[Any]

_CHECKS: Final = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


@dataclass(frozen=True)
class Generated:
    """A request, and what it was made for."""

    case: Case
    request: httpx.Request

    def fault(self, response: httpx.Response) -> str:
        """How the answer departs from the document; nothing is an empty string."""
        try:
            self.case.validate_response(response, checks=_CHECKS)
        except FailureGroup as group:
            return "; ".join(map(_in_words, group.exceptions))
        return ""


def _in_words(fault: Exception) -> str:
    message = fault.message if isinstance(fault, Failure) else ""
    return " ".join(f"{fault}: {message}".split())


def generated(
    document: Mapping[str, Any], url: str, examples: int, seed: int | None
) -> Iterator[Generated]:
    """Requests to every operation: such as fit the document, and such as do not.

    Args:
        document: The OpenAPI document.
        url: Where the service is.
        examples: Of each kind and operation at most.
        seed: Of the choice; None is the same every time.
    """
    schemathesis.openapi.media_type("application/x-npy", _npy_bodies())
    schema = schemathesis.openapi.from_dict(dict(document))
    for found in schema.get_all_operations():
        if isinstance(found, Err):
            raise found.err()
        operation = found.ok()
        for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
            for case in _draw(operation.as_strategy(generation_mode=mode), examples, seed):
                yield Generated(case, _request(case, url))


def _npy_bodies() -> strategies.SearchStrategy[bytes]:
    arrays = [npy(array) for array in (*bad_arrays(), *odd_arrays())]
    files = [npy_file(header, bytes(84 * 84 * 4)) for header in npy_headers()]
    return strategies.sampled_from(arrays + files) | strategies.binary(max_size=64)


def _draw(strategy: strategies.SearchStrategy[Case], examples: int, seed: int | None) -> list[Case]:
    cases: list[Case] = []

    @hypothesis.settings(
        max_examples=examples,
        derandomize=seed is None,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(strategy)
    def collect(case: Case) -> None:
        cases.append(case)

    try:
        (collect if seed is None else hypothesis.seed(seed)(collect))()
    except hypothesis.errors.Unsatisfiable:
        # Nothing about this operation can be wrong.
        return []
    return cases


def _request(case: Case, url: str) -> httpx.Request:
    parts = case.as_transport_kwargs(base_url=url)
    content = json.dumps(parts["json"]).encode() if "json" in parts else parts.get("data")
    return httpx.Request(
        parts["method"],
        parts["url"],
        params=parts["params"] or None,
        headers=dict(parts["headers"]),
        cookies=parts["cookies"] or None,
        content=content,
    )
