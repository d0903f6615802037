"""The service's metrics for Prometheus. Ray exports them on every node, as ``ray_…``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

if TYPE_CHECKING:
    from app.policies.loading import LoadedPolicy


@dataclass(frozen=True)
class Metric:
    """A metric; its name ends with its unit. Ray adds ``_total`` to the names of counters."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    about: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_NO_LABELS: Final[Mapping[str, str]] = {}
_ANSWER = ("method", "path", "status")

REQUESTS: Final = Metric(
    "carracing_requests",
    "counter",
    "Requests answered, and WebSockets ended, with their close code as the status.",
    _ANSWER,
)
REQUEST_SECONDS: Final = Metric(
    "carracing_request_duration_seconds",
    "histogram",
    "From a request's arrival in a replica to the last byte of its answer; no WebSockets.",
    _ANSWER,
    _SECONDS,
)
ACT_OBSERVATIONS: Final = Metric(
    "carracing_act_observations", "counter", "Observations in answered queries."
)
POLICY: Final = Metric(
    "carracing_policy_info",
    "gauge",
    "1 for the policy that is served, 0 for earlier ones.",
    ("version", "source", "run", "iteration"),
)
POLICY_AGE: Final = Metric(
    "carracing_policy_age_seconds", "gauge", "Time since the served policy was published."
)
RELOADS: Final = Metric(
    "carracing_policy_reloads",
    "counter",
    "Policies loaded from storage (ok), and attempts that failed because one was broken (failed).",
    ("outcome",),
)
OPEN_DRIVES: Final = Metric(
    "carracing_open_drives", "gauge", "Open WebSockets that drive.", ("mode",)
)
FILMS_WAITING: Final = Metric(
    "carracing_films_waiting", "gauge", "Distinct films that wait or are being rendered."
)
FILMS_RENDERED: Final = Metric("carracing_films_rendered", "counter", "Films rendered.")
FILM_REQUESTS: Final = Metric(
    "carracing_film_cache_requests",
    "counter",
    "Requests for films: in memory (hit), already being rendered (joined), or neither (miss).",
    ("result",),
)
FILM_CACHE_BYTES: Final = Metric("carracing_film_cache_bytes", "gauge", "Size of the cached films.")

METRICS: Final = (
    REQUESTS,
    REQUEST_SECONDS,
    ACT_OBSERVATIONS,
    POLICY,
    POLICY_AGE,
    RELOADS,
    OPEN_DRIVES,
    FILMS_WAITING,
    FILMS_RENDERED,
    FILM_REQUESTS,
    FILM_CACHE_BYTES,
)


@dataclass
class FilmCounts:
    """Counts of the film renderer since it started."""

    waiting: int = 0
    """Distinct films that wait or are being rendered."""
    rendered: int = 0
    """Films rendered."""
    hits: int = 0
    """Requests for films in the cache."""
    joined: int = 0
    """Requests for films that were waiting or being rendered already."""
    misses: int = 0
    """Requests for all other films."""
    cache_bytes: int = 0
    """Size of the cached films."""


class Sink(Protocol):
    """Receives measurements, from any thread."""

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Add to a counter, set a gauge, or observe a value in a histogram."""
        ...


class Meters:
    """Records the service's measurements in a sink; without a sink it drops them."""

    def __init__(self, sink: Sink | None = None) -> None:
        self._sink = sink
        self._shown: dict[str, str] | None = None
        self._films = FilmCounts()
        self._drives: Counter[str] = Counter()

    def answered(self, method: str, path: str, status: str, seconds: float | None) -> None:
        """A request was answered; ``seconds`` is None for a WebSocket."""
        labels = {"method": method, "path": path, "status": status}
        self._record(REQUESTS, 1, labels)
        if seconds is not None:
            self._record(REQUEST_SECONDS, seconds, labels)

    def acted(self, observations: int) -> None:
        """A query with this number of observations was answered."""
        self._record(ACT_OBSERVATIONS, observations)

    def serves(self, loaded: LoadedPolicy | None) -> None:
        """Record the served policy and its age. Call it every few seconds, from one thread."""
        if loaded is None:
            return
        manifest = loaded.policy.manifest
        labels = {
            "version": manifest.version,
            "source": loaded.source,
            "run": manifest.run,
            "iteration": str(manifest.iteration),
        }
        if self._shown not in (None, labels):
            self._record(POLICY, 0, self._shown)
        self._shown = labels
        self._record(POLICY, 1, labels)
        self._record(POLICY_AGE, (datetime.now(UTC) - manifest.created_at).total_seconds())

    def reloaded(self, ok: bool) -> None:
        """A policy was loaded, or turned out to be broken."""
        self._record(RELOADS, 1, {"outcome": "ok" if ok else "failed"})

    @contextmanager
    def driving(self, mode: str) -> Iterator[None]:
        """Count a WebSocket of this mode as open inside the block. Use it from one event loop."""
        self._drive(mode, 1)
        try:
            yield
        finally:
            self._drive(mode, -1)

    def _drive(self, mode: str, more: int) -> None:
        self._drives[mode] += more
        self._record(OPEN_DRIVES, self._drives[mode], {"mode": mode})

    def films(self, counts: FilmCounts) -> None:
        """Record the film renderer's counts. Call it from one thread."""
        before, self._films = self._films, replace(counts)
        self._record(FILMS_WAITING, counts.waiting)
        self._record(FILM_CACHE_BYTES, counts.cache_bytes)
        self._add(FILMS_RENDERED, counts.rendered - before.rendered)
        self._add(FILM_REQUESTS, counts.hits - before.hits, {"result": "hit"})
        self._add(FILM_REQUESTS, counts.joined - before.joined, {"result": "joined"})
        self._add(FILM_REQUESTS, counts.misses - before.misses, {"result": "miss"})

    def _add(self, metric: Metric, value: int, labels: Mapping[str, str] = _NO_LABELS) -> None:
        if value:
            self._record(metric, value, labels)

    def _record(self, metric: Metric, value: float, labels: Mapping[str, str] = _NO_LABELS) -> None:
        if self._sink is not None:
            self._sink.record(metric, value, labels)


class RaySink:
    """Passes measurements to Ray, which exports them with the replica's labels."""

    def __init__(self, measured: Iterable[Metric]) -> None:
        """Create Ray's instruments of these metrics."""
        from ray.serve import metrics

        self._instruments: dict[Metric, Any] = {}
        for metric in measured:
            options: dict[str, Any] = {"description": metric.about, "tag_keys": metric.labels}
            if metric.kind == "histogram":
                options["boundaries"] = list(metric.buckets)
            kind = {
                "counter": metrics.Counter,
                "gauge": metrics.Gauge,
                "histogram": metrics.Histogram,
            }[metric.kind]
            self._instruments[metric] = kind(metric.name, **options)

    def record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """See :meth:`Sink.record`."""
        instrument = self._instruments[metric]
        if metric.kind == "counter":
            instrument.inc(value, tags=dict(labels))
        elif metric.kind == "gauge":
            instrument.set(value, tags=dict(labels))
        else:
            instrument.observe(value, tags=dict(labels))


def serve_meters() -> Meters:
    """Meters that Ray exports, if this process is a replica; otherwise they drop everything."""
    from ray import serve
    from ray.serve.exceptions import RayServeException

    try:
        serve.get_replica_context()
    except RayServeException:
        return Meters()
    return Meters(RaySink(METRICS))
