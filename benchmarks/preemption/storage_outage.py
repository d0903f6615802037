"""Take storage away while a policy is trained, and bring it back: does training continue?

    python -m benchmarks.preemption.storage_outage
    python -m benchmarks.preemption.storage_outage --minutes 0.5 --manner refused     a quick look

A real run, small enough that an iteration takes about a second, stores in a bucket of an S3 server
on this machine through a TCP proxy, which refuses connections for a while, or accepts and never
answers them. A reader checks the published policies past the proxy all the time. Once storage is
back and the run has trained on, it is stopped with SIGTERM.

Training tolerates ten minutes of this. A checkpoint that storage refuses is replaced by the next
one, and its policy is not published: the newest checkpoint is stored and published as soon as
storage works again. No published policy may be lost, and no row of a table missing. Exits with
status 1 if something did not hold.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import tyro

from benchmarks.preemption.killed_training import INTERVAL, RUN, Command, reader, training
from benchmarks.preemption.outage_report import Outage, table
from benchmarks.preemption.run_ending import end
from benchmarks.support.door import Door
from benchmarks.support.s3 import BUCKET, endpoint, s3_server
from training.policy.published import BrokenPolicyError
from training.store.checkpoint import list_checkpoints
from training.store.layout import PolicyRef, run_folder
from training.store.policies import PolicyStore
from training.store.storage import Storage

Manner = Literal["refused", "hanging"]

_SOME: Final = 3 * INTERVAL
"""Iterations before storage goes away, and after it is back."""
_BACK_S: Final = 120.0
"""How long what was due is waited for."""
_POLL_S: Final = 0.1
_TAIL: Final = 4000
"""Characters of the run's log that are shown where something did not hold."""


@dataclass(frozen=True)
class Options:
    """How storage goes away, and how long."""

    minutes: float = 5.0
    """How long it is away, each time."""
    manner: Literal["refused", "hanging", "both"] = "both"
    """Whether connections are refused, or taken and never answered; or a run of each in turn."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.minutes <= 0:
            raise ValueError("--minutes must be above 0")

    @property
    def manners(self) -> tuple[Manner, ...]:
        """In turn."""
        return ("refused", "hanging") if self.manner == "both" else (self.manner,)


class Stored:
    """What a run has in storage."""

    def __init__(self, storage: Storage) -> None:
        self._store = PolicyStore(storage)

    def policies(self) -> dict[int, PolicyRef]:
        """Those published, by iteration."""
        listing = self._store.listing(run=RUN)
        return {m.iteration: PolicyRef(run=m.run, version=m.version) for m in listing.policies}

    def newest_policy(self) -> int:
        """Its iteration; 0 where there is none."""
        return max(self.policies(), default=0)

    def newest_checkpoint(self) -> int:
        """The iteration of the newest one; 0 where there is none."""
        storage, run = self._store.storage, run_folder(RUN)
        found = (list_checkpoints(storage, f"{run}/{name}") for name in storage.folders(run))
        return max((files[0].iteration for files in found if files), default=0)

    def lost(self, refs: Iterable[PolicyRef]) -> list[str]:
        """Why some of these cannot be read, if so."""
        reasons = []
        for ref in refs:
            try:
                self._store.fetch(ref)
            except (BrokenPolicyError, FileNotFoundError) as error:
                reasons.append(f"{ref.version}: {error}")
        return reasons


def wait_for_return(command: Command, stored: Stored, outage: Outage, newest: int) -> None:
    """Wait until what was due when storage came back is stored and published, and note when.

    Args:
        command: The run; where it has ended, nothing is waited for.
        stored: What it has in storage.
        outage: Where it is noted.
        newest: The iteration of the newest policy and checkpoint before.
    """
    due = max(outage.back_after // INTERVAL * INTERVAL, newest + 1)
    began = time.monotonic()
    while command.alive() and (passed := time.monotonic() - began) < _BACK_S:
        if math.isinf(outage.policy_s) and (published := stored.newest_policy()) >= due:
            outage.policy_s, outage.published_after = passed, published
        if math.isinf(outage.checkpoint_s) and stored.newest_checkpoint() >= due:
            outage.checkpoint_s = passed
        if not math.isinf(outage.policy_s + outage.checkpoint_s):
            return
        time.sleep(_POLL_S)


@contextmanager
def storage_away(door: Door, manner: Manner) -> Iterator[None]:
    """Storage is away until left."""
    if manner == "refused":
        door.shut()
    else:
        door.hang()
    try:
        yield
    finally:
        door.open()


def carry_out(manner: Manner, away_s: float, port: int, log: Path) -> Outage:
    """Train, take storage away and bring it back; and see what comes of it.

    Args:
        manner: How it goes away.
        away_s: How long.
        port: Of the S3 server.
        log: Where the run's own log goes.
    """
    root = f"{BUCKET}/{manner}"
    storage = Storage.open(root)
    stored = Stored(storage)
    with Door(port) as door:
        command = Command(training(root), log, {"AWS_ENDPOINT_URL": endpoint(door.port)})
        try:
            if not command.wait_for(_SOME):
                raise SystemExit(log.read_text()[-_TAIL:])
            pid = command.process.pid
            outage = Outage(gone_after=0)
            with reader(root, outage.looks):
                with storage_away(door, manner):
                    began = time.monotonic()
                    outage.gone_after = command.iterations()[-1]
                    published = stored.policies()
                    while command.alive() and time.monotonic() - began < away_s:
                        time.sleep(_POLL_S)
                    newest = max(stored.newest_policy(), stored.newest_checkpoint())
                    outage.back_after = command.iterations()[-1]
                    outage.away_s = time.monotonic() - began
                wait_for_return(command, stored, outage, newest)
                command.wait_for(len(command.iterations()) + _SOME)
                outage.stayed = command.alive() and command.process.pid == pid
                outage.ending = end(command, storage)
            outage.told = command.iterations()
        finally:
            command.end()
    outage.published = set(stored.policies())
    outage.lost = stored.lost(published.values())
    return outage


def main() -> None:
    """Train with storage away for a while, and say what did not hold."""
    options = tyro.cli(Options, description=__doc__)
    outages: dict[str, Outage] = {}
    faults: list[str] = []
    with (
        s3_server() as port,
        tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder,
    ):
        for manner in options.manners:
            log = Path(folder) / manner
            outages[manner] = carry_out(manner, 60 * options.minutes, port, log)
            if found := outages[manner].broken_promises():
                print(log.read_text()[-_TAIL:])
                faults += [f"connections {manner}: {fault}" for fault in found]
    print(table(outages))
    if faults:
        raise SystemExit("did not hold:\n" + "\n".join(faults))


if __name__ == "__main__":
    main()
