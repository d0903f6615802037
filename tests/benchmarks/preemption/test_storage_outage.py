from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.preemption import storage_outage
from benchmarks.preemption.killed_training import RUN, Command
from benchmarks.preemption.outage_report import Outage
from benchmarks.preemption.storage_outage import Options, Stored, main, wait_for_return
from tests.conftest import PublishPolicy
from training.store.layout import run_folder
from training.store.policies import PolicyStore


@pytest.fixture
def sleeping(tmp_path: Path) -> Iterator[Command]:
    command = Command([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")
    yield command
    command.end()


def checkpoint(store: PolicyStore, index: int, iteration: int) -> None:
    store.storage.write(f"{run_folder(RUN)}/t-1/checkpoint_{iteration:06d}_{index:016x}.zip", b"")


def test_what_a_run_has_stored(store: PolicyStore, publish_policy: PublishPolicy) -> None:
    stored = Stored(store.storage)
    assert stored.newest_policy() == stored.newest_checkpoint() == 0
    refs = [publish_policy(store, iteration=each, run=RUN) for each in (2, 4)]
    checkpoint(store, 0, 4)
    checkpoint(store, 1, 5)
    assert stored.policies() == dict(zip((2, 4), refs, strict=True))
    assert stored.newest_checkpoint() == 5
    assert stored.lost(refs) == []
    store.storage.write(f"{refs[0].folder}/policy.safetensors", b"x")
    store.delete(refs[1])
    assert [reason.partition(":")[0] for reason in stored.lost(refs)] == [
        each.version for each in refs
    ]


def test_what_was_due_is_waited_for(
    store: PolicyStore, publish_policy: PublishPolicy, sleeping: Command
) -> None:
    publish_policy(store, iteration=4, run=RUN)
    checkpoint(store, 0, 4)
    outage = Outage(gone_after=5, back_after=9)

    def come_back() -> None:
        checkpoint(store, 1, 10)
        publish_policy(store, iteration=10, run=RUN)

    threading.Timer(0.3, come_back).start()
    wait_for_return(sleeping, Stored(store.storage), outage, 4)
    assert outage.published_after == 10
    assert 0 < outage.policy_s < float("inf")
    assert 0 < outage.checkpoint_s < float("inf")


def test_a_run_that_has_ended_is_not_waited_for(store: PolicyStore, sleeping: Command) -> None:
    sleeping.end()
    outage = Outage(gone_after=5, back_after=9)
    wait_for_return(sleeping, Stored(store.storage), outage, 4)
    assert outage.policy_s == outage.checkpoint_s == float("inf")


def test_manners_in_turn() -> None:
    assert Options().manners == ("refused", "hanging")
    assert Options(manner="hanging").manners == ("hanging",)
    with pytest.raises(ValueError, match="--minutes must be above 0"):
        Options(minutes=0.0)


def test_the_exit_status_says_whether_all_held(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dies(_manner: str, _away_s: float, _port: int, log: Path) -> Outage:
        log.write_text("why it died\n")
        return Outage(gone_after=5)

    monkeypatch.setattr(sys, "argv", ["storage_outage", "--manner", "refused"])
    monkeypatch.setattr(storage_outage, "carry_out", dies)
    with pytest.raises(SystemExit, match="connections refused: the run did not live"):
        main()
    assert capsys.readouterr().out.startswith("why it died\n")
