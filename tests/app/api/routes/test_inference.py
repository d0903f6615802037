"""``/v2``: the Open Inference Protocol, spoken by Triton's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from app.api.application import build_api
from app.policies.watcher import PolicyWatcher
from app.settings import Settings
from tests.app.conftest import INTERVAL_S, FakeRenderer, pictures
from tests.app.live import listen
from tests.conftest import PublishPolicy
from training.policy.acting import Policy
from training.store.policies import PolicyStore

TOKEN = "sixteen-characters-or-more"


@pytest.fixture
def policies(store: PolicyStore, publish_policy: PublishPolicy) -> list[Policy]:
    """Two published policies, the older one first."""
    refs = [publish_policy(store, iteration=iteration) for iteration in (1, 2)]
    return [Policy.from_published(store.fetch(ref)) for ref in refs]


@pytest.fixture
def url(store: PolicyStore, policies: list[Policy]) -> Iterator[str]:
    watcher = PolicyWatcher(store, INTERVAL_S)
    with listen(build_api(Settings(), watcher, FakeRenderer(), store)) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


def infer(
    client: triton.InferenceServerClient,
    observations: np.ndarray,
    *,
    binary: bool = True,
    version: str = "",
    **options: object,
) -> np.ndarray:
    datatype = "UINT8" if observations.dtype == np.uint8 else "FP32"
    tensor = triton.InferInput("observations", list(observations.shape), datatype)
    tensor.set_data_from_numpy(observations, binary_data=binary)
    wanted = triton.InferRequestedOutput("actions", binary_data=binary)
    result = client.infer(
        "carracing", [tensor], model_version=version, outputs=[wanted], request_id="7", **options
    )
    assert result.get_response()["id"] == "7"
    return np.asarray(result.as_numpy("actions"))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(1, 84, 84, 4), (3, 84, 84, 4), (2, 4, 96, 96, 3)])
def test_its_actions_are_those_of_act(
    client: triton.InferenceServerClient, url: str, shape: tuple[int, ...], binary: bool
) -> None:
    observations = pictures(*shape)
    expected = httpx.post(f"{url}/act", json={"observations": observations.tolist()}).json()
    actions = infer(client, observations, binary=binary)
    np.testing.assert_array_equal(actions, np.array(expected["actions"], np.float32))


def test_floats_versions_and_seeds(
    client: triton.InferenceServerClient, policies: list[Policy]
) -> None:
    older, newer = policies
    observations = pictures(2, 84, 84, 4)
    np.testing.assert_array_equal(infer(client, observations), newer.act(observations))
    np.testing.assert_array_equal(
        infer(client, observations, version=older.version), older.act(observations)
    )
    floats = (observations / 255).astype(np.float32)
    np.testing.assert_array_equal(infer(client, floats), newer.act(floats))
    sampled = infer(client, observations, parameters={"seed": 3})
    np.testing.assert_array_equal(sampled, newer.act(observations, seed=3))


def test_metadata_and_health(client: triton.InferenceServerClient, policies: list[Policy]) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata("carracing")
    assert metadata["versions"] == [policies[1].version]
    (tensor,) = metadata["inputs"]
    assert (tensor["name"], tensor["shape"]) == ("observations", [-1, 84, 84, 4])
    assert metadata["outputs"] == [{"name": "actions", "datatype": "FP32", "shape": [-1, 3]}]
    older = policies[0].version
    assert client.get_model_metadata("carracing", older)["versions"] == [older]
    assert client.is_model_ready("carracing")
    assert client.is_model_ready("carracing", older)
    assert not client.is_model_ready("other")
    assert not client.is_model_ready("carracing", "run-a-000009-abcdef")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("observations", "said"),
    [
        (np.zeros((1, 3), np.uint8), "the shape is (1, 3)"),
        (np.zeros((65, 84, 84, 4), np.uint8), "from 1 to 64"),
        (np.full((1, 84, 84, 4), 2, np.float32), "outside 0 to 1"),
    ],
)
def test_an_observation_that_is_none_is_refused_in_the_protocols_shape(
    client: triton.InferenceServerClient, observations: np.ndarray, said: str, binary: bool
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        infer(client, observations, binary=binary)
    assert said in refused.value.message()
    assert refused.value.status() == "422"


def document(**changes: object) -> bytes:
    tensor = {"name": "observations", "shape": [1, 84, 84, 4], "datatype": "UINT8", **changes}
    return json.dumps({"inputs": [tensor]}).encode()


@pytest.mark.parametrize(
    ("content", "length", "status", "said"),
    [
        (b"{", None, 400, "not JSON"),
        (b"{}", None, 422, "inputs"),
        (b"{}", "3", 400, "Inference-Header-Content-Length"),
        (b"{}", "-1", 400, "Inference-Header-Content-Length"),
        (document(), None, 422, "either data or the parameter binary_data_size"),
        (document(name="x", data=[0]), None, 422, "'observations'"),
        (document(datatype="BYTES", data=[0]), None, 422, "datatype"),
        (document(data=[0, 0]), None, 422, "2 numbers"),
        (document(shape=[1, 84, 84, -4], data=[0]), None, 422, "greater than or equal"),
        (document(shape=[2**31] * 8, parameters={"binary_data_size": 1}), None, 422, "shape"),
        (document(parameters={"binary_data_size": 28224}), None, 422, "0 follow"),
    ],
)
def test_a_bad_request_is_refused_in_the_protocols_shape(
    url: str, content: bytes, length: str | None, status: int, said: str
) -> None:
    headers = {} if length is None else {"Inference-Header-Content-Length": length}
    address = f"{url}/v2/models/carracing/infer"
    response = httpx.post(address, content=content, headers=headers)
    assert response.status_code == status
    assert said in response.json()["error"]


def test_what_the_middlewares_refuse_has_the_protocols_shape_too(
    store: PolicyStore, policies: list[Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARRACING_API_TOKEN", TOKEN)
    monkeypatch.setenv("CARRACING_MAX_BODY_BYTES", "65536")
    watcher = PolicyWatcher(store, INTERVAL_S)
    with listen(build_api(Settings(), watcher, FakeRenderer(), store)) as url:
        assert httpx.get(f"{url}/v2/health/ready").status_code == 200
        refused = httpx.get(f"{url}/v2")
        shown = {"Authorization": f"Bearer {TOKEN}"}
        address = f"{url}/v2/models/carracing/infer"
        too_large = httpx.post(address, content=bytes(70_000), headers=shown)
        compressed = httpx.post(
            address, content=b"{}", headers={**shown, "Content-Encoding": "gzip"}
        )
        nowhere = httpx.get(f"{url}/v2/repository", headers=shown)
    answers = (refused, too_large, compressed, nowhere)
    assert [each.status_code for each in answers] == [401, 413, 415, 404]
    assert all(set(each.json()) == {"error"} for each in answers)
