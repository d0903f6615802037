"""A client of the service. It needs neither Ray nor PyTorch.

::

    with Client("http://127.0.0.1:8000") as client:
        print(client.drive(gymnasium.make("CarRacing-v3"), seed=7).score)
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from time import monotonic, sleep
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from app.client.drive import FRAME_SHAPE, DriveConnection, DrivenEpisode, drive_episode
from app.client.errors import ServiceError, refusal, too_late, unreachable
from app.client.retries import ATTEMPTS, pause_s

if TYPE_CHECKING:
    import gymnasium as gym

T = TypeVar("T")


@dataclass(frozen=True)
class Decision:
    """Actions, and the policy that decided."""

    actions: NDArray[np.float32]
    """(3,) for one observation, (N, 3) for a batch: steering from -1 to 1, gas and brake from 0
    to 1."""
    policy: str
    """Version of the policy."""
    source: str
    """``storage`` or ``bundled``."""


def to_npy(array: NDArray[Any]) -> bytes:
    """An array as an npy file; raises ValueError for one that holds objects."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def is_loopback(host: str) -> bool:
    """Return whether a host name or an IP address is this machine's."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class Client:
    """A thread-safe client and context manager.

    It retries after a 503 or 429, a lost connection, and a 404, 500 or 502 of a proxy: with
    exponential backoff, not before ``Retry-After``, at most 26 attempts, and within ``timeout_s``.
    No request changes anything in the service, so retries are safe.

    It connects to loopback addresses directly. For other addresses it uses ``HTTP_PROXY``,
    ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``.

    Every method raises:
        ServiceError: The service refused, still does, or ended the drive.
        ConnectionError: It cannot be reached.
        TimeoutError: It does not answer.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_s: float = 120.0) -> None:
        """Prepare a client; it connects with its first request.

        Args:
            url: URL of the service, ``http://…`` or ``https://…``.
            token: Sent as a bearer token.
            timeout_s: Timeout of a request, all attempts and pauses included.

        Raises:
            ValueError: ``url`` is not such an address.
        """
        address = httpx.URL(url)
        if address.scheme not in ("http", "https") or not address.host:
            raise ValueError(f"url is {url!r}; it must begin with http:// or https:// and a host")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout_s = timeout_s
        self._direct = is_loopback(address.host)
        self._http = httpx.Client(
            base_url=address,
            headers=self._headers,
            follow_redirects=True,
            mounts={f"all://{address.netloc.decode()}": None} if self._direct else None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def act(
        self, observation: NDArray[Any], *, seed: int | None = None, policy: str | None = None
    ) -> Decision:
        """Return actions for observations.

        Args:
            observation: What ``POST /act`` takes: (84, 84, 4), the last raw frames
                (4, 96, 96, 3) uint8, or a batch of either.
            seed: Sample with this seed; None acts greedily.
            policy: ``latest``, ``best``, ``bundled``, or a version; None takes the served one.
        """
        given = {"seed": seed, "policy": policy}
        answer = self._request(
            "POST",
            "act",
            content=to_npy(observation),
            headers={"Content-Type": "application/x-npy"},
            params={name: value for name, value in given.items() if value is not None},
        ).json()
        actions = np.array(answer["actions"], np.float32)
        frames = observation.ndim == 4 and observation.shape[1:] == FRAME_SHAPE
        if (observation.ndim == 3 or frames) and len(actions) == 1:
            actions = actions[0]
        return Decision(actions, answer["policy"], answer["source"])

    def policy(self, policy: str | None = None) -> dict[str, Any]:
        """What a policy says about itself, as ``GET /policy`` answers.

        Args:
            policy: ``latest``, ``best``, ``bundled``, or a version; None takes the served one.
        """
        params = {} if policy is None else {"policy": policy}
        facts: dict[str, Any] = self._request("GET", "policy", params=params).json()
        return facts

    def gif(self, seed: int, policy: str | None = None, **options: int) -> bytes:
        """A GIF of a policy driving a track.

        Args:
            seed: The track.
            policy: ``latest``, ``best``, ``bundled``, or a version; None takes the served one.
            options: ``episodes``, ``max_steps``, ``fps``, ``width``, as ``GET /gif`` takes them.
        """
        if policy is None:
            return self._request("GET", "gif", params={"seed": seed, **options}).content
        return self._request(
            "GET", f"gif/{quote(policy, safe='')}/{seed}.gif", params=options
        ).content

    def drive(
        self, env: gym.Env[Any, Any], seed: int | None = None, *, policy: str = "served"
    ) -> DrivenEpisode:
        """Let a policy drive one episode of an environment here, over ``WS /drive``.

        The score is the policy's own: what ``training.evaluation.rollout.drive`` gives for the
        same seed.

        Args:
            env: CarRacing-v3, one simulator frame per step. Its observations are (96, 96, 3)
                uint8, or prepared pictures, (84, 84) uint8. It is not closed.
            seed: Seed of ``env.reset``; None drives a random track.
            policy: ``served``, ``latest``, ``best``, ``bundled``, or a version.

        Raises:
            ValueError: The environment has other observations.
        """

        def connect(left_s: float) -> DriveConnection:
            url = self._http.base_url
            return DriveConnection(
                url, policy, self._headers, left_s, self._timeout_s, direct=self._direct
            )

        with self._retry(connect) as connection:
            return drive_episode(connection, env, seed)

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request, with retries."""

        def attempt(left_s: float) -> httpx.Response:
            try:
                response = self._http.request(method, path, timeout=left_s, **options)
            except httpx.TimeoutException as error:
                raise too_late(self._http.base_url, left_s) from error
            except httpx.TransportError as error:
                raise unreachable(self._http.base_url, error) from error
            if not response.is_success:
                raise refusal(response)
            return response

        return self._retry(attempt)

    def _retry(self, attempt: Callable[[float], T]) -> T:
        """Call ``attempt`` with the remaining seconds until it succeeds or must not be retried."""
        deadline = monotonic() + self._timeout_s
        number, left_s = 1, self._timeout_s
        while True:
            try:
                return attempt(left_s)
            except (ServiceError, ConnectionError) as error:
                least_s = error.retry_after_s if isinstance(error, ServiceError) else 0.0
                if least_s is None or number == ATTEMPTS:
                    raise
                wait_s = pause_s(number, least_s)
                left_s = deadline - monotonic() - wait_s
                if left_s <= 0:
                    raise
            sleep(wait_s)
            number += 1
